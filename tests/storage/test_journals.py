"""One suite for every journal: what runs here in Redis must run in PostgreSQL, and in both behind the failover."""

import asyncio
from dataclasses import dataclass

import pytest

from trendedge.runtime.journal import Appended, DeadLetter, Duplicate, Journal, Unique
from trendedge.storage.failover_journal import FailoverJournal
from trendedge.storage.postgres import Database
from trendedge.storage.postgres_journal import PostgresJournal
from trendedge.storage.redis import RedisStore
from trendedge.storage.redis_journal import RedisJournal

BOX = "executor"
LETTER = DeadLetter("ValueError: no", "Traceback ...", 3, {"key": "a\x00b"})


@dataclass(frozen=True)
class Stores:
    """The real servers, and the store that a journal under test keeps its entries in."""

    database: Database
    redis: RedisStore
    kind: str

    def journal(self, node: str = "a") -> Journal:
        """A journal as a process with this node id would open it."""
        in_redis, in_postgres = RedisJournal(self.redis, node=node), PostgresJournal(self.database, node=node)
        match self.kind:
            case "redis":
                return in_redis
            case "postgres":
                return in_postgres
            case _:
                return FailoverJournal(in_redis, in_postgres, speaker=self.redis)

    async def end_lease(self, node: str) -> None:
        """What happens 30 s after the node's last sign of life."""
        await self.redis.command("DEL", f"lease:{node}")
        await self.database.execute("delete from mailbox_nodes where node = $1", node)


@pytest.fixture(params=["redis", "postgres", "failover"])
def stores(request: pytest.FixtureRequest, database: Database, redis_store: RedisStore) -> Stores:
    return Stores(database, redis_store, request.param)


async def append(journal: Journal, payload: bytes, unique: Unique | None = None) -> str:
    outcome = await journal.append(BOX, payload, unique=unique)
    assert isinstance(outcome, Appended)
    return outcome.entry_id


async def test_what_was_appended_is_recovered_by_the_next_process_of_the_node_oldest_first(stores: Stores) -> None:
    first = stores.journal()
    for number in range(12):
        await append(first, b"%d" % number)
    recovered = await stores.journal().recover(BOX)
    assert [entry.payload for entry in recovered] == [b"%d" % number for number in range(12)]


async def test_any_bytes_come_back_as_they_were(stores: Stores) -> None:
    payload = bytes(range(256)) * 40
    await append(stores.journal(), payload)
    assert [entry.payload for entry in await stores.journal().recover(BOX)] == [payload]


async def test_a_settled_entry_is_gone_and_settling_twice_is_harmless(stores: Stores) -> None:
    journal = stores.journal()
    gone, kept = await append(journal, b"gone"), await append(journal, b"kept")
    await journal.settle(BOX, gone)
    await journal.settle(BOX, gone)
    assert [entry.entry_id for entry in await stores.journal().recover(BOX)] == [kept]


async def test_a_recovered_entry_can_be_settled(stores: Stores) -> None:
    await append(stores.journal(), b"x")
    journal = stores.journal()
    (entry,) = await journal.recover(BOX)
    await journal.settle(BOX, entry.entry_id)
    assert await stores.journal().recover(BOX) == []


async def test_attempts_are_counted_across_processes(stores: Stores) -> None:
    await append(stores.journal(), b"x")
    counts = []
    for _ in range(3):
        journal = stores.journal()
        (entry,) = await journal.recover(BOX)
        counts.append(entry.attempts)
        await journal.begin(BOX, entry.entry_id)
    assert counts == [0, 1, 2]


async def test_reading_the_mail_is_no_attempt_at_it(stores: Stores) -> None:
    await append(stores.journal(), b"x")
    counts = [[entry.attempts for entry in await stores.journal().recover(BOX)] for _ in range(3)]
    assert counts == [[0], [0], [0]]


async def test_mailboxes_do_not_mix(stores: Stores) -> None:
    journal = stores.journal()
    await journal.append("one", b"1")
    await journal.append("two", b"2")
    assert [entry.payload for entry in await stores.journal().recover("two")] == [b"2"]
    assert await journal.count("one") == (1, 0)


async def test_a_taken_mark_gives_back_the_first_value_and_writes_nothing(stores: Stores) -> None:
    journal = stores.journal()
    await append(journal, b"first", Unique("mark", "signal-1", 60))
    assert await journal.append(BOX, b"second", unique=Unique("mark", "signal-2", 60)) == Duplicate("signal-1")
    assert await journal.count(BOX) == (1, 0)


async def test_a_mark_outlives_the_settlement_of_its_entry(stores: Stores) -> None:
    journal = stores.journal()
    await journal.settle(BOX, await append(journal, b"first", Unique("mark", "1", 60)))
    assert await journal.append(BOX, b"second", unique=Unique("mark", "2", 60)) == Duplicate("1")


async def test_an_append_repeated_after_a_lost_reply_is_the_same_entry(stores: Stores) -> None:
    journal, mark = stores.journal(), Unique("mark", "signal-1", 60)
    entry_id = await append(journal, b"x", mark)
    assert await append(journal, b"x", mark) == entry_id
    assert await journal.count(BOX) == (1, 0)


async def test_of_many_appends_at_once_with_one_mark_one_wins_and_all_learn_who(stores: Stores) -> None:
    journal = stores.journal()
    outcomes = await asyncio.gather(
        *(journal.append(BOX, b"%d" % n, unique=Unique("mark", str(n), 60)) for n in range(20))
    )
    assert [type(outcome) for outcome in outcomes].count(Appended) == 1
    winner = next(str(n) for n, outcome in enumerate(outcomes) if isinstance(outcome, Appended))
    assert {outcome.value for outcome in outcomes if isinstance(outcome, Duplicate)} == {winner}
    assert await journal.count(BOX) == (1, 0)


async def test_burying_moves_an_entry_to_the_dead_letters_once(stores: Stores) -> None:
    journal = stores.journal()
    entry_id = await append(journal, b"x")
    await journal.bury(BOX, entry_id, b"x", LETTER)
    await journal.bury(BOX, entry_id, b"x", LETTER)
    assert await journal.count(BOX) == (0, 1)
    assert await stores.journal().recover(BOX) == []


async def test_the_mail_of_a_living_node_is_left_alone(stores: Stores) -> None:
    await append(stores.journal("a"), b"x")
    other = stores.journal("b")
    assert await other.recover(BOX) == []
    assert await other.adopt(BOX) == []
    assert len(await stores.journal("a").recover(BOX)) == 1


async def test_the_mail_of_a_dead_node_is_adopted_with_its_attempts_and_in_order(stores: Stores) -> None:
    dead = stores.journal("a")
    for number in range(3):
        await append(dead, b"%d" % number)
    again = stores.journal("a")
    for entry in await again.recover(BOX):
        await again.begin(BOX, entry.entry_id)
    await stores.end_lease("a")
    heir = stores.journal("b")
    adopted = await heir.adopt(BOX)
    assert [(entry.payload, entry.attempts) for entry in adopted] == [(b"0", 1), (b"1", 1), (b"2", 1)]
    assert await stores.journal("a").recover(BOX) == []
    for entry in adopted:
        await heir.settle(BOX, entry.entry_id)
    assert await heir.count(BOX) == (0, 0)


async def test_of_two_adopters_at_once_exactly_one_gets_each_entry(stores: Stores) -> None:
    dead = stores.journal("a")
    for number in range(30):
        await append(dead, b"%d" % number)
    await stores.end_lease("a")
    shares = await asyncio.gather(*(stores.journal(node).adopt(BOX) for node in "bcde"))
    got = sorted(int(entry.payload) for share in shares for entry in share)
    assert got == list(range(30))


async def test_what_was_adopted_can_be_adopted_again_when_the_heir_dies_too(stores: Stores) -> None:
    await append(stores.journal("a"), b"x")
    await stores.end_lease("a")
    assert len(await stores.journal("b").recover(BOX)) == 1
    assert await stores.journal("c").adopt(BOX) == []
    await stores.end_lease("b")
    assert [entry.payload for entry in await stores.journal("c").adopt(BOX)] == [b"x"]


async def test_a_looking_adopter_does_not_get_what_it_already_has(stores: Stores) -> None:
    journal = stores.journal("b")
    await append(journal, b"mine")
    await append(stores.journal("a"), b"theirs")
    await stores.end_lease("a")
    assert [entry.payload for entry in await journal.adopt(BOX)] == [b"theirs"]
    assert await journal.adopt(BOX) == []
