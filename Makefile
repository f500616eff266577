# `make run` and `make test` need Python 3 and make, and nothing else: what they use is put into .uv/ and .venv/.
# PORT and HOST say where to listen, TRENDEDGE_HOME where to keep data, ARGS what else to tell pytest or the benchmark,
# BENCH_PEERS which Pythons have other libraries for it to measure, with colons or spaces between them.

.DEFAULT_GOAL := help
.PHONY: help run dev test lint format bench simulate lock clean ready

# The first Python 3 that works: pyenv's stand-in fails where it does not have the version that .python-version names.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 /usr/local/bin/python3 /usr/bin/python3; do \
	"$$python" -c '' >/dev/null 2>&1 && echo "$$python" && break; done)
VENV := .venv/bin/python
colon := :
PEERS = $(foreach python,$(subst $(colon), ,$(BENCH_PEERS)),--peers-python $(python))
COMPILE := .uv/bin/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --upgrade

help: ## show this
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1|\2/p' Makefile | while IFS='|' read -r name text; do \
		printf '%-14s %s\n' "$$name" "$$text"; done

run: ready ## set up and serve on http://127.0.0.1:8000
	@exec $(VENV) -m trendedge serve --stop-with-parent

dev: ready ## as run, and start again when a source file changes
	@exec $(VENV) -m trendedge dev --stop-with-parent

test: ready ## set up and run the whole suite, with coverage
	@exec $(VENV) -m pytest -n 2 --cov --cov-report=term $(ARGS)

lint: ready ## style, types and import contracts
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-cache

format: ready ## mend what a program can mend
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

bench: ready ## start the product, load it, print a table
	@$(VENV) -m benchmarks $(ARGS)
	@[ -n "$(ARGS)$(BENCH_PEERS)" ] || echo "Without other libraries: BENCH_PEERS names Pythons that have them, see docs/explanation/performance.md."
	@[ -n "$(ARGS)" ] || exec $(VENV) -m benchmarks runtime $(PEERS)

simulate: ready ## run SEEDS=1000 seeds of each simulation, or SEED=123 with its trace
	@exec $(VENV) -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),1000)) $(ARGS)

lock: ready ## resolve the dependencies anew
	$(COMPILE) --python-version 3.12 --all-extras pyproject.toml -o requirements-dev.lock
	$(COMPILE) --python-version 3.12 --extra container --constraint requirements-dev.lock pyproject.toml -o requirements.lock
	echo uv | $(COMPILE) --python-version 3.8 - -o requirements-uv.lock

clean: ## remove what make has put here; data in .trendedge/ stays
	rm -rf .uv .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.* htmlcov

ready:
	@[ -n "$(PYTHON)" ] || { echo "make: there is no python3 here; install Python 3" >&2; exit 1; }
	@$(PYTHON) scripts/prepare.py
