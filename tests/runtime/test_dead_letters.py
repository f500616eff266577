"""The dead letters of a tree, as operators see them."""

import pickle
from dataclasses import dataclass

import orjson
import pytest

from tests.runtime.support import MemoryJournal, running, until
from trendedge.runtime import (
    Actor,
    Appended,
    Buried,
    ChildSpec,
    DeadLetter,
    DeadLetters,
    Durability,
    DurableRef,
    MailboxSpec,
    RetryPolicy,
    SupervisorSpec,
    UnknownDeadLetter,
)
from trendedge.runtime.dead_letters import shown


class Keeper(Actor[str]):
    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    async def receive(self, message: str) -> None:
        self.seen.append(message)


def journal(count: int) -> MemoryJournal:
    letter = DeadLetter("ValueError: no", "Traceback ...", 3)
    return MemoryJournal(letters={f"{n}": Buried(f"{n}", b"letter %d" % n, letter, 0.0) for n in range(count)})


def tree(seen: list[str], **journals: MemoryJournal) -> SupervisorSpec:
    def child(name: str, kept: MemoryJournal) -> ChildSpec[str]:
        durability = Durability(kept, name, str.encode, bytes.decode)
        return ChildSpec(name, lambda: Keeper(seen), DurableRef[str](name), durability=durability)

    children = [child(name, kept) for name, kept in journals.items()]
    return SupervisorSpec("root", [SupervisorSpec("inner", children)])


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
async def test_pages_go_through_all_mailboxes_without_gaps_and_doubles(limit: int) -> None:
    async with running(tree([], one=journal(3), two=journal(0), three=journal(2))) as root:
        letters = DeadLetters(root)
        assert letters.mailboxes() == ["one", "two", "three"]
        found: list[str] = []
        after: str | None = None
        while True:
            page, after = await letters.page(after=after, limit=limit)
            found += [letter["id"] for letter in page]
            if after is None:
                break
            assert len(page) == limit
        assert found == ["one:2", "one:1", "one:0", "three:1", "three:0"]
        only, after = await letters.page(mailbox="three", limit=limit)
        assert [letter["id"] for letter in only] == ["three:1", "three:0"][:limit]


async def test_a_letter_is_found_replayed_and_discarded_by_its_id() -> None:
    seen: list[str] = []
    kept = journal(2)
    async with running(tree(seen, one=journal(1), two=kept)) as root:
        letters = DeadLetters(root)
        assert (await letters.find("two:1"))["payload_bytes"] == len(b"letter 1")
        assert await letters.message("two:1") == "letter 1"
        await letters.replay("two:1")
        await until(lambda: seen == ["letter 1"])
        await letters.discard("two:0")
        assert kept.letters == {}
        for id in ("two:0", "three:0", "", ":", "two"):
            for act in (letters.find, letters.message, letters.replay, letters.discard):
                with pytest.raises(UnknownDeadLetter):
                    await act(id)
        with pytest.raises(UnknownDeadLetter):
            await letters.page(after="three:0")


@dataclass(frozen=True)
class Call:
    account: str
    text: str
    request_id: str = "r-1"


class Refuser(Actor[Call]):
    async def receive(self, message: Call) -> None:
        raise ValueError(message.text)


async def test_a_letter_keeps_what_is_known_of_its_message() -> None:
    killer = pickle.dumps(Call("b", "killed"))
    kept = MemoryJournal(entries={"1": b"unreadable", "2": killer}, attempts={"2": 2})
    ref = DurableRef[Call]("box")
    child = ChildSpec(
        "box",
        Refuser,
        ref,
        mailbox=MailboxSpec(key=lambda call: call.account),
        retry=RetryPolicy((0.0, 0.0)),
        durability=Durability(kept, "box", pickle.dumps, pickle.loads),
    )
    async with running(SupervisorSpec("root", [child])) as root:
        appended = await ref.tell(Call("a", "refused"))
        assert isinstance(appended, Appended)
        await until(lambda: len(kept.letters) == 3)
        page, _ = await DeadLetters(root).page()
    facts = [letter["facts"] for letter in page]
    timed = {name for one in facts for name in tuple(one) if name.endswith("_s") and float(one.pop(name)) >= 0}
    assert timed == {"pending_s", "tried_for_s"}
    known = {"message": "Call", "request_id": "r-1"}
    assert facts == [
        {"entry": appended.entry_id, "key": "a", **known},
        {"entry": "2", "key": "b", **known},
        {"entry": "1"},
    ]
    assert [letter["request_id"] for letter in page] == ["r-1", "r-1", None]


def test_what_is_shown_of_a_letter() -> None:
    payload = orjson.dumps(
        {"received_at": "2026-11-23T03:00:00+00:00", "request_id": "r", "x": {"api_key": "k"}, "raw": '{"token":"t"}'}
    )
    letter = Buried("17-0", payload, DeadLetter("cause", "trace", 4, {"a": "b"}), 1763860000.123)
    assert shown("executor", letter) == {
        "id": "executor:17-0",
        "mailbox": "executor",
        "cause": "cause",
        "attempts": 4,
        "buried_at": "2025-11-23T01:06:40.123Z",
        "accepted_at": "2026-11-23T03:00:00+00:00",
        "request_id": "r",
        "facts": {"a": "b"},
        "payload": {
            "received_at": "2026-11-23T03:00:00+00:00",
            "request_id": "r",
            "x": {"api_key": "***"},
            "raw": '{"token":"***"}',
        },
        "payload_bytes": len(payload),
        "traceback": "trace",
    }


@pytest.mark.parametrize("payload", [b"\xff", b"", b"[1]", b'"text"'])
def test_any_payload_can_be_shown(payload: bytes) -> None:
    found = shown("executor", Buried("1", payload, DeadLetter("c", "t", 1), 0.0))
    assert (found["accepted_at"], found["request_id"]) == (None, None)
    orjson.dumps(found)
