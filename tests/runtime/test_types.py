"""What mypy says of messages. The functions are never called: `make lint` fails when a line passes that must not.

An ignored error that is none is an error itself (`warn_unused_ignores`).
"""

import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_type

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


def test_a_message_that_the_actor_does_not_handle_fails_mypy() -> None:
    """It holds because mypy runs over this file with unused ignores forbidden: that is what is looked at here."""
    pyproject = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert re.search(r"\[tool\.mypy\]\nstrict = true", pyproject)
    assert '"tests"' in pyproject
    lines = [
        line
        for function in (tells, asks, asks_elsewhere, declares)
        for line in inspect.getsource(function).splitlines()
    ]
    assert sum("ignore[" in line for line in lines) == 7
