"""What mypy says of messages. The functions are never called: mypy is run over this file, and refuses a line that must
not pass and does, for an ignored error that is none is an error itself (`warn_unused_ignores`).
"""

import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_type

import pytest

from trendedge.runtime import Actor, ActorRef, Appended, ChildSpec, Duplicate, DurableRef, Request


@dataclass(frozen=True)
class Price(Request[float]):
    symbol: str


@dataclass(frozen=True)
class Forget:
    symbol: str


@dataclass(frozen=True)
class Volume(Request[int]):
    symbol: str


class Prices(Actor[Price | Forget]):
    async def receive(self, message: Price | Forget) -> float | None:
        return 1.0 if isinstance(message, Price) else None


async def tells(ref: ActorRef[Price | Forget], durable: DurableRef[Forget]) -> None:
    await ref.tell(Forget("MNQ"))
    ref.tell_nowait(Price("MNQ"))
    await ref.tell("MNQ")  # type: ignore[arg-type]
    ref.tell_nowait(1)  # type: ignore[arg-type]
    assert_type(await durable.tell(Forget("MNQ")), Appended | Duplicate)
    await durable.tell(Price("MNQ"))  # type: ignore[arg-type]


async def asks(ref: ActorRef[Price | Forget]) -> None:
    assert_type(await ref.ask(Price("MNQ"), timeout_s=1), float)
    await ref.ask(Volume("MNQ"), timeout_s=1)  # type: ignore[arg-type]
    await ref.ask(Forget("MNQ"), timeout_s=1)  # type: ignore[arg-type]


async def asks_elsewhere(ref: ActorRef[Price | Volume], anything: ActorRef[Any]) -> None:
    assert_type(await ref.ask(Volume("MNQ"), timeout_s=1), int)
    assert_type(await anything.ask(Price("MNQ"), timeout_s=1), float)
    narrower: ActorRef[Price] = ref
    assert_type(await narrower.ask(Price("MNQ"), timeout_s=1), float)
    wider: ActorRef[Price | Forget] = ref  # type: ignore[assignment]
    assert_type(await wider.ask(Price("MNQ"), timeout_s=1), float)


class Unkept(Actor[Price | Forget]):
    """Passes, though a `Price` promises a float: an answer's type cannot be told from its message's here."""

    async def receive(self, message: Price | Forget) -> str:
        return "no float"


def declares(ref: ActorRef[Price | Forget], other: ActorRef[str]) -> None:
    ChildSpec("prices", Prices, ref)
    ChildSpec("prices", Prices, other)  # type: ignore[arg-type]


type Check = Callable[..., tuple[str, int]]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Runs mypy outside of the repository, where it sees what is installed; answers what it says, and its status.

    In a process of its own: within this one it would leave the collector's thresholds changed, and 100 MB.
    """
    environment = {name: value for name, value in os.environ.items() if name not in ("MYPYPATH", "PYTHONPATH")}

    def run(*arguments: str) -> tuple[str, int]:
        command = [sys.executable, "-m", "mypy", "--no-color-output", f"--cache-dir={tmp_path}/cache", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return done.stdout, done.returncode

    return run


def test_a_message_that_the_actor_does_not_handle_fails_mypy(check: Check) -> None:
    configuration = Path(__file__).parents[2] / "pyproject.toml"
    assert check(f"--config-file={configuration}", __file__) == ("Success: no issues found in 1 source file\n", 0)
    lines = [
        line
        for function in (tells, asks, asks_elsewhere, declares)
        for line in inspect.getsource(function).splitlines()
    ]
    assert sum("ignore[" in line for line in lines) == 7


def test_a_program_that_uses_the_installed_runtime_has_its_types(check: Check, tmp_path: Path) -> None:
    """Without `py.typed` mypy would take all of it for `Any`."""
    (tmp_path / "program.py").write_text("""
from trendedge.runtime import Actor, ActorRef, ChildSpec, DurableRef

class Quotes(Actor[str]): ...

async def main(ref: ActorRef[str], durable: DurableRef[str], other: ActorRef[bytes]) -> None:
    await ref.tell("right")
    await ref.tell(1)
    await durable.tell(2)
    ChildSpec("quotes", Quotes, other)
""")
    said, status = check("--strict", "program.py")
    assert [line.partition(": error: ")[0] for line in said.splitlines()[:-1]] == [
        f"program.py:{n}" for n in (8, 9, 10)
    ]
    assert said.count("[arg-type]\n") == 3
    assert status == 1
