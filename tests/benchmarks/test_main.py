"""The command line as a process of its own: what it prints, and how it ends."""

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks.product import SOURCE, free_port
from benchmarks.target import Target
from tests.benchmarks.fake_server import Faults, fake_server
from tests.benchmarks.test_process import at, standin

LOAD = ("--only", "webhooks", "--rates", "100", "--seconds", "0.6", "--quick")


async def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return await asyncio.to_thread(subprocess.run, command, cwd=SOURCE, capture_output=True, text=True, timeout=120)


def attached(target: Target) -> tuple[str, ...]:
    return ("--base", target.base, "--api-key", target.api_key, "--jwt", target.jwt)


async def test_the_table_is_on_stdout_and_the_rest_on_stderr(tmp_path: Path) -> None:
    async with fake_server() as (_, target):
        done = await bench(*attached(target), *LOAD, "--json", str(tmp_path / "all.json"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("## http://127.0.0.1:")
    assert "| 100      |   60 |       60 |       0 |      0 |        60 |    0 |       0 |     0 |" in done.stdout
    assert "webhooks at 100/s" in done.stderr
    assert json.loads((tmp_path / "all.json").read_text())["webhooks"][0]["counts"]["lost"] == 0


async def test_a_doubled_event_ends_it_with_1(tmp_path: Path) -> None:
    async with fake_server(Faults(double=frozenset({55}))) as (_, target):
        done = await bench(*attached(target), *LOAD)
    assert done.returncode == 1
    assert "PROBLEM webhooks at 100/s: 1 doubled" in done.stderr
    assert "### Webhooks" in done.stdout


async def test_a_slow_server_does_not_end_it_with_1() -> None:
    async with fake_server(Faults(event_delay_s=0.3)) as (_, target):
        done = await bench(*attached(target), *LOAD)
    assert done.returncode == 0, done.stderr


async def test_what_cannot_be_measured_ends_it_with_1_and_a_sentence() -> None:
    async with fake_server() as (_, target):
        pass
    done = await bench("--base", target.base, "--rival-cmd", "echo no luck; exit 4", *LOAD)
    assert done.returncode == 1
    assert "could not measure" in done.stderr
    assert "ended with 4" in done.stderr
    assert "no luck" in done.stderr
    assert done.stdout == ""


async def test_wrong_options_end_it_with_2() -> None:
    for wrong in (("--rates", "fast"), ("--rates", "-1"), ("--rival-cmd", "true"), ("--only", "nonsense")):
        assert (await bench(*wrong)).returncode == 2, wrong


async def test_two_systems_are_compared_round_by_round(tmp_path: Path) -> None:
    described: list[str] = []
    for name in ("one", "two"):
        port = free_port()
        path = tmp_path / f"{name}.toml"
        command = " ".join(standin(port))
        path.write_text(
            f'name = "{name}"\ncommand = "exec {command}"\ndirectory = "{SOURCE}"\n'
            f'base = "{at(port).base}"\napi_key = "k"\njwt = "j"\n'
        )
        described.append(str(path))
    result = tmp_path / "result.json"
    done = await bench(
        "compare",
        "--a",
        described[0],
        "--b",
        described[1],
        "--rounds",
        "2",
        "--quick",
        "--only",
        "start",
        "--json",
        str(result),
    )
    assert done.returncode == 0, done.stderr
    assert "### one over two" in done.stdout
    assert "| servers already up: trade event, s |" in done.stdout
    rounds = json.loads(result.read_text())["rounds"]
    assert [[report["system"] for report in pair] for pair in rounds] == [["one", "two"]] * 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_interrupted_run_leaves_nothing_behind(number: signal.Signals) -> None:
    port = free_port()
    rival = ("--base", at(port).base, "--rival-cmd", f"exec {' '.join(standin(port))}", "--seconds", "60", "--quick")
    command = [sys.executable, "-m", "benchmarks", *rival, "--only", "webhooks"]
    process = await asyncio.create_subprocess_exec(*command, cwd=SOURCE, stderr=subprocess.PIPE)
    assert process.stderr is not None
    try:
        async with asyncio.timeout(60):
            while b"webhooks at" not in await process.stderr.readline():
                pass
            started = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(number)
            assert b"interrupted" in await process.stderr.read()
            assert await process.wait() == 130
    finally:
        if process.returncode is None:  # or the event loop waits for it at its end
            process.kill()
            await process.wait()
    assert len(started) == 2
    assert not [child for child in started if child.is_running()]
