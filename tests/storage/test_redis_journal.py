"""The journal in Redis, where it is about Redis's own ways."""

import asyncio
import time

import pytest
from redis.exceptions import ResponseError

from tests.storage.network import network
from tests.storage.support import end_lease, own
from trendedge.runtime import Announcement, Appended, DeadLetter, Fenced, JournalUnavailable, Settlement, Unique
from trendedge.storage.postgres import Database
from trendedge.storage.redis import RedisStore, open_redis

BOX = "executor"


async def scripts_run(redis: RedisStore) -> int:
    stats = bytes(await redis.command("INFO", "commandstats")).decode()
    return int(stats.partition("cmdstat_evalsha:calls=")[2].partition(",")[0])


async def test_what_is_adopted_within_the_millisecond_of_its_append_is_delivered(
    database: Database, redis_store: RedisStore
) -> None:
    gone = await own(database, redis_store, BOX, "gone")
    heir = await own(database, redis_store, BOX, "heir")
    await gone.redis.append(BOX, b"x")
    ms = int(time.time() * 1000) + 3_600_000  # ids of the future, so that both streams count on from there
    await redis_store.command("DEL", f"mailbox:{BOX}:gone")
    await redis_store.command("XADD", f"mailbox:{BOX}:gone", f"{ms}-1", "p", b"x")
    before = await redis_store.command("XADD", f"mailbox:{BOX}:heir", f"{ms}-0", "p", b"")
    await redis_store.command("XDEL", f"mailbox:{BOX}:heir", before)
    await end_lease(redis_store, database, BOX, "gone")
    assert [(entry.entry_id, entry.payload) for entry in await heir.redis.adopt(BOX)] == [(f"{ms}-1", b"x")]


async def test_an_attempt_that_is_counted_late_leaves_nothing(
    database: Database, redis_url: str, redis_store: RedisStore
) -> None:
    async with network(redis_url) as net, open_redis(net.url) as slow:
        behind_it = await own(database, slow, BOX)
        entry = await behind_it.redis.append(BOX, b"x")
        assert isinstance(entry, Appended)
        net.hold()
        with pytest.raises(JournalUnavailable):
            await behind_it.redis.settle(BOX, [], begin=[entry.entry_id])
        behind_it.redis._redis = redis_store  # as over a new connection, before the old bytes arrive
        await behind_it.redis.settle(BOX, [Settlement(entry.entry_id)])
        before = await scripts_run(redis_store)
        net.let_go()
        async with asyncio.timeout(10):
            while await scripts_run(redis_store) == before:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.01)
        assert await redis_store.command("EXISTS", f"mailbox:attempts:{BOX}:a") == 0


async def test_an_owner_of_a_postgresql_that_was_restored_from_a_backup_counts_on_above_what_redis_knows(
    database: Database, redis_store: RedisStore
) -> None:
    for _ in range(4):
        await own(database, redis_store, BOX)
    earlier = await own(database, redis_store, BOX)
    await earlier.both.recover(BOX)
    await earlier.redis.append(BOX, b"x")
    await database.execute("update mailbox_owners set epoch = 1")
    restored = await own(database, redis_store, BOX)
    assert restored.ownership.of(BOX).epoch == 2
    with pytest.raises(Fenced):
        await restored.both.recover(BOX)
    assert [entry.payload for entry in await restored.both.recover(BOX)] == [b"x"]
    owner = restored.ownership.of(BOX)
    assert owner.epoch == await database.fetchval("select epoch from mailbox_owners") == 6
    await restored.both.append(BOX, b"y")
    with pytest.raises(Fenced):
        await earlier.redis.append(BOX, b"z")


@pytest.mark.parametrize(
    ("payload_bytes", "limit", "commands"),
    [
        (100, 50, 1),  # all there is
        (100, 20, 1),
        (50_000, 3, 1),
        (50_000, 4, 2),  # the first page ends with the letter that makes it more than 128 KiB
        (50_000, 20, 7),
        (200_000, 20, 20),
    ],
)
async def test_dead_letters_are_read_by_number_and_by_size_and_an_ordinary_page_is_one_command(
    database: Database, redis_store: RedisStore, payload_bytes: int, limit: int, commands: int
) -> None:
    journal = (await own(database, redis_store, BOX)).redis
    for number in range(20):
        entry = await journal.append(BOX, b"x")
        assert isinstance(entry, Appended)
        letter = DeadLetter("ValueError: no", "...", number, {"a": "b"})
        await journal.bury(BOX, entry.entry_id, b"x" * payload_bytes, letter)
    await journal.dead_letters(BOX, limit=1)  # the server learns the script
    before = await scripts_run(redis_store)
    found = await journal.dead_letters(BOX, limit=limit)
    assert await scripts_run(redis_store) - before == commands
    assert [one.letter.attempts for one in found] == list(reversed(range(20)))[:limit]
    assert {(len(one.payload), one.letter.cause) for one in found} == {(payload_bytes, "ValueError: no")}


FOREIGN = [("x", "y"), ("p", "\u20ac", "s", "soon"), ("s", "1", "o", "0-0")]
"""Entries that nobody of ours has written."""


@pytest.mark.parametrize("words", FOREIGN)
async def test_an_entry_that_somebody_else_has_written_keeps_no_other_from_being_read_adopted_or_buried(
    database: Database, redis_store: RedisStore, words: tuple[str, ...]
) -> None:
    before = await own(database, redis_store, BOX, "a")
    await before.redis.append(BOX, b"good")
    await redis_store.command("XADD", f"mailbox:{BOX}:a", "*", *words)
    payload = "\u20ac".encode() if "p" in words else b""
    again = await own(database, redis_store, BOX, "a")
    assert sorted(entry.payload for entry in await again.both.recover(BOX)) == sorted([b"good", payload])
    await end_lease(redis_store, database, BOX, "a")
    heir = await own(database, redis_store, BOX, "heir")
    found = await heir.both.adopt(BOX)
    assert sorted(entry.payload for entry in found) == sorted([b"good", payload])
    [foreign] = [entry for entry in found if entry.payload == payload]
    await heir.both.bury(BOX, foreign.entry_id, payload, DeadLetter("unreadable", "", 0))
    assert await heir.both.count(BOX) == (1, 1)


async def test_a_dead_letter_that_somebody_else_has_written_keeps_no_other_from_being_listed(
    database: Database, redis_store: RedisStore
) -> None:
    journal = (await own(database, redis_store, BOX)).redis
    entry = await journal.append(BOX, b"x")
    assert isinstance(entry, Appended)
    await journal.bury(BOX, entry.entry_id, b"x", DeadLetter("no", "", 1))
    await redis_store.command("XADD", f"mailbox:dead:{BOX}", "*", "x", "y")
    foreign, ours = await journal.dead_letters(BOX)
    assert (ours.payload, foreign.payload, foreign.letter.cause) == (b"x", b"", "not written by this program")
    replayed = await journal.replay(BOX, foreign.dead_id)
    assert replayed is not None
    assert replayed.payload == b""


async def test_a_letter_that_cannot_be_written_leaves_the_entry_where_it_is(
    database: Database, redis_store: RedisStore
) -> None:
    journal = (await own(database, redis_store, BOX)).redis
    entry = await journal.append(BOX, b"acknowledged")
    assert isinstance(entry, Appended)
    # No letter can come behind this one.
    await redis_store.command("XADD", f"mailbox:dead:{BOX}", f"{2**64 - 1}-{2**64 - 1}", "p", "x")
    with pytest.raises(ResponseError):
        await journal.bury(BOX, entry.entry_id, b"acknowledged", DeadLetter("no", "", 1))
    assert await journal.count(BOX) == (1, 1)
    await redis_store.command("DEL", f"mailbox:dead:{BOX}")
    await journal.bury(BOX, entry.entry_id, b"acknowledged", DeadLetter("no", "", 1))
    assert await journal.count(BOX) == (0, 1)
    assert [one.payload for one in await journal.dead_letters(BOX)] == [b"acknowledged"]


async def calls(redis: RedisStore) -> int:
    """How many commands the server has executed since it was last asked, those that scripts have called among them."""
    stats = bytes(await redis.command("INFO", "commandstats")).decode()
    counted = {name: int(line.partition("calls=")[2].partition(",")[0]) for name, line in _each(stats)}
    await redis.command("CONFIG", "RESETSTAT")
    return sum(number for name, number in counted.items() if name not in ("info", "config|resetstat"))


def _each(stats: str) -> list[tuple[str, str]]:
    lines = [line.partition(":") for line in stats.splitlines() if line.startswith("cmdstat_")]
    return [(name.removeprefix("cmdstat_"), said) for name, _, said in lines]


async def test_where_what_scripts_call_is_billed_a_lone_message_is_fifteen_commands_a_look_four_and_a_probe_three(
    database: Database, redis_store: RedisStore
) -> None:
    """A message is appended with a mark and settled with two announcements."""
    journals = await own(database, redis_store, BOX)
    await journals.both.recover(BOX)
    kept: list[str] = []

    async def append() -> str:
        number = len(kept)
        appended = await journals.both.append(BOX, b"x", unique=Unique(f"m{number}", f"{number}", 60))
        assert isinstance(appended, Appended)
        kept.append(appended.entry_id)
        return appended.entry_id

    async def work_off() -> int:
        """With the two commands that are sent."""
        await calls(redis_store)
        said = [Announcement("channel", b"1"), Announcement("channel", b"2")]
        await journals.both.settle(BOX, [Settlement(await append(), said)])
        return await calls(redis_store)

    await work_off()  # the server learns the scripts
    assert await work_off() == 15
    other = await append()
    assert await work_off() == 12, "its node had mail before it, and has mail after it"
    await journals.both.settle(BOX, [Settlement(other)])
    for ask, commands in ((lambda: journals.both.adopt(BOX), 4), (journals.redis.probe, 3)):
        await ask()
        await calls(redis_store)
        await ask()
        assert await calls(redis_store) == commands
