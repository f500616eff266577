import os
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from benchmarks.errors import DidNotStart
from benchmarks.memory import measure_memory
from benchmarks.process import Launched, launched, wait_until_healthy
from benchmarks.product import SOURCE, free_port
from benchmarks.start import run_starts
from benchmarks.system import SERVERS_UP, CommandSystem
from benchmarks.target import Target


def standin(port: int) -> tuple[str, ...]:
    return (sys.executable, "-m", "tests.benchmarks.standin", str(port))


def at(port: int) -> Target:
    return Target(base=f"http://127.0.0.1:{port}", api_key="k", jwt="j")


@asynccontextmanager
async def started(tmp_path: Path, *command: str) -> AsyncIterator[Launched]:
    log = tmp_path / "log"
    async with launched(command, environment=os.environ, directory=SOURCE, log=log) as process:
        yield process


async def test_a_process_is_healthy_after_it_was_launched_and_gone_in_the_end(tmp_path: Path) -> None:
    port = free_port()
    async with started(tmp_path, *standin(port)) as process:
        healthy_at = await wait_until_healthy(at(port), process, name="standin", timeout_s=30)
        assert healthy_at > process.at
        children = psutil.Process(process.process.pid).children()
        assert len(children) == 1
    assert process.process.returncode == 0
    assert not children[0].is_running()


async def test_a_process_that_ends_is_told_with_its_last_words(tmp_path: Path) -> None:
    script = "import sys; print('what a pity'); sys.exit(3)"
    async with started(tmp_path, sys.executable, "-c", script) as process:
        with pytest.raises(DidNotStart, match=r"(?s)ended with 3.*what a pity"):
            await wait_until_healthy(at(free_port()), process, name="pity", timeout_s=30)


async def test_a_process_that_never_serves_is_given_up_and_stopped(tmp_path: Path) -> None:
    async with started(tmp_path, sys.executable, "-c", "import sys; sys.stdin.read(); input()") as process:
        with pytest.raises(DidNotStart):
            await wait_until_healthy(at(free_port()), process, name="mute", timeout_s=0.1)
    assert process.process.returncode is not None


async def test_what_the_leader_leaves_behind_is_stopped_too(tmp_path: Path) -> None:
    orphan = "import signal; signal.pause()"
    script = (
        f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {orphan!r}]); print(p.pid, flush=True)"
    )
    async with started(tmp_path, sys.executable, "-c", script) as process:
        process.process.wait()
        left = psutil.Process(int(process.last_words))
    left.wait(timeout=10)
    assert not left.is_running()


async def test_memory_counts_the_tree_and_not_its_shell(tmp_path: Path) -> None:
    port = free_port()
    shell = f"{shlex.join(standin(port))}; true"
    async with started(tmp_path, "sh", "-c", shell) as process:
        await wait_until_healthy(at(port), process, name="standin", timeout_s=30)
        use = measure_memory(process.process.pid, when="idle")
        for child in psutil.Process(process.process.pid).children():
            child.terminate()  # the shell itself would leave it to the end of the group
        process.process.wait()
    assert (use.product_processes, use.server_processes, use.servers_mb) == (2, 0, None)
    assert use.product_mb is not None
    assert use.product_mb > 5


async def test_a_command_is_started_as_often_as_it_is_timed(tmp_path: Path) -> None:
    port = free_port()
    system = CommandSystem(
        name="standin",
        command=f"exec {shlex.join(standin(port))}",
        target=at(port),
        directory=SOURCE,
        log=tmp_path / "log",
    )
    runs = await run_starts(system, repeats=2)
    assert [run.how for run in runs] == [SERVERS_UP] * 2
    assert all(0 < run.health_s < run.trade_s for run in runs)
    assert (tmp_path / "log").read_text().count("listening") == 2
