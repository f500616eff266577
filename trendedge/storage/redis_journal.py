"""The journal in Redis streams: one command to append, one to settle, none while there is nothing to do."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Any

import orjson

from trendedge.runtime.journal import Announcement, Appended, Buried, DeadLetter, Duplicate, Entry, Unique
from trendedge.storage import redis_scripts as scripts
from trendedge.storage.node import LEASE_S
from trendedge.storage.pending import DOUBT_S, Pending, journal_unavailable
from trendedge.storage.redis import Argument, RedisStore, Script

_ID = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")
_PAGE = 500
"""Entries a script touches at most: Redis serves nobody else while one runs."""


class RedisJournal:
    """`runtime.Journal` on Redis streams, one stream a mailbox and node.

    The node's lease is renewed by appends, and by `keep_lease` while there is unsettled mail and nothing is appended.
    """

    def __init__(
        self, redis: RedisStore, *, node: str, mark_prefix: str = "dedup:webhook:", doubt_s: float = DOUBT_S
    ) -> None:
        self._redis = redis
        self._node = node
        self._mark_prefix = mark_prefix
        self._pending = Pending(doubt_s=doubt_s)
        self._counted: set[str] = set()

    async def append(self, mailbox: str, payload: bytes, *, unique: Unique | None = None) -> Appended | Duplicate:
        """Remember a message; with `unique`, only if nobody else holds the mark. One command."""
        begun, renew = time.monotonic(), self._pending.lease_due(mailbox)
        keys = [_stream(mailbox, self._node), _lease(self._node), _nodes(mailbox)]
        args: list[Argument] = [payload, self._node, LEASE_S if renew else 0]
        if unique is not None:
            keys.append(self._mark_prefix + unique.mark)
            args += [unique.value, unique.ttl_s]
        with self._pending.doubting(mailbox):
            taken, text = await self._run(scripts.APPEND, keys, args)
        if not taken:
            return Duplicate(text.decode())
        if renew:
            self._pending.renewed(mailbox, begun)
        self._pending.remember(mailbox, text.decode())
        return Appended(text.decode())

    async def settle(self, mailbox: str, entry_id: str, *, announce: Sequence[Announcement] = ()) -> None:
        """Forget an entry and publish the announcements, in one command."""
        keys = [_stream(mailbox, self._node)]
        if entry_id in self._counted:
            keys.append(_attempts(mailbox, self._node))
        args: list[Argument] = [entry_id]
        for announcement in announce:
            args += [announcement.channel, announcement.payload]
        await self._run(scripts.SETTLE, keys, args)
        self._forget(mailbox, entry_id)

    async def bury(self, mailbox: str, entry_id: str, payload: bytes, letter: DeadLetter) -> None:
        """Move an entry to the stream of dead letters."""
        fields: dict[str, Argument] = {
            "p": payload,
            "cause": letter.cause.encode("utf-8", "replace"),
            "traceback": letter.traceback.encode("utf-8", "replace"),
            "attempts": letter.attempts,
            "facts": orjson.dumps(letter.facts),
        }
        keys = [_stream(mailbox, self._node), _attempts(mailbox, self._node), _dead(mailbox)]
        await self._run(scripts.BURY, keys, [entry_id, *(word for pair in fields.items() for word in pair)])
        self._forget(mailbox, entry_id)

    async def begin(self, mailbox: str, entry_id: str) -> None:
        """Count one attempt at a recovered entry."""
        with journal_unavailable():
            await self._redis.command("HINCRBY", _attempts(mailbox, self._node), entry_id, 1)

    async def recover(self, mailbox: str) -> list[Entry]:
        """All unsettled entries of this node and of nodes whose lease ran out, oldest first."""
        with self._pending.doubting(mailbox):
            await self._renew_lease(mailbox)
            await self._adopt_from_the_dead(mailbox)
            found, now_ms = await self._read(mailbox)
            return await self._deliver(mailbox, found, now_ms)

    async def adopt(self, mailbox: str) -> list[Entry]:
        """Entries that became ours since the last look: of dead nodes, and of appends whose answer never came.

        One command when there are none. To be called about once a minute.
        """
        moved = await self._adopt_from_the_dead(mailbox)
        if not moved and not self._pending.in_doubt(mailbox):
            return []
        found, now_ms = await self._read(mailbox)
        unknown = [entry for entry in found if entry.id not in self._pending.entries(mailbox)]
        # A young one may be an append whose answer is just coming in: that delivers itself.
        ours = [entry for entry in unknown if entry.moved or now_ms - entry.age[0] >= self._pending.doubt_s * 1000]
        if len(ours) == len(unknown):
            self._pending.settle_doubt(mailbox)
        return await self._deliver(mailbox, ours, now_ms)

    async def count(self, mailbox: str) -> tuple[int, int]:
        """(unsettled of this node, dead of all nodes)."""
        pending, dead = await self._run(scripts.COUNT, [_stream(mailbox, self._node), _dead(mailbox)], [])
        return int(pending), int(dead)

    async def dead_letters(self, mailbox: str, *, after: str | None = None, limit: int = 50) -> list[Buried]:
        """Dead letters, the newest first, from the one after `after` on. One command."""
        if after is not None and (not _ID.fullmatch(after) or not after.strip("0-")):
            return []  # 0-0 is before everything, which Redis refuses to look for
        last = "+" if after is None else f"({after}"
        with journal_unavailable():
            found = await self._redis.command("XREVRANGE", _dead(mailbox), last, "-", "COUNT", limit)
        return [_buried(id, fields) for id, fields in found]

    async def dead_letter(self, mailbox: str, dead_id: str) -> Buried | None:
        """One dead letter."""
        if not _ID.fullmatch(dead_id):
            return None
        with journal_unavailable():
            found = await self._redis.command("XRANGE", _dead(mailbox), dead_id, dead_id)
        return _buried(*found[0]) if found else None

    async def replay(self, mailbox: str, dead_id: str) -> Entry | None:
        """Move a dead letter to this node's stream."""
        if not _ID.fullmatch(dead_id):
            return None
        begun = time.monotonic()
        keys = [_dead(mailbox), _stream(mailbox, self._node), _lease(self._node), _nodes(mailbox)]
        with self._pending.doubting(mailbox):
            moved = await self._run(scripts.REPLAY, keys, [dead_id, self._node, LEASE_S])
        if moved is None:
            return None
        self._pending.renewed(mailbox, begun)
        entry = Entry(moved[0].decode(), moved[1])
        self._pending.remember(mailbox, entry.entry_id)
        return entry

    async def discard(self, mailbox: str, dead_id: str) -> bool:
        """Remove a dead letter."""
        if not _ID.fullmatch(dead_id):
            return False
        with journal_unavailable():
            return bool(await self._redis.command("XDEL", _dead(mailbox), dead_id))

    async def keep_lease(self) -> None:
        """Renew the lease while there is unsettled mail, until cancelled. Costs nothing while there is none."""
        await self._pending.beat(self._renew_lease)

    async def _renew_lease(self, mailbox: str) -> None:
        begun = time.monotonic()
        await self._run(scripts.RENEW, [_lease(self._node), _nodes(mailbox)], [self._node, LEASE_S])
        self._pending.renewed(mailbox, begun)

    async def _adopt_from_the_dead(self, mailbox: str) -> int:
        """Move the entries of nodes without a lease to this node's stream; how many there were."""
        with journal_unavailable():
            nodes = await self._redis.command("SMEMBERS", _nodes(mailbox))
        others = sorted(word.decode() for word in nodes if word.decode() != self._node)
        if others:
            # First our own: nobody may take from us what we are about to take.
            await self._renew_lease(mailbox)
        return sum([await self._adopt_from(mailbox, node) for node in others])

    async def _adopt_from(self, mailbox: str, node: str) -> int:
        # The script looks at the lease and moves in one step: of two adopters, one gets each entry.
        theirs = [_lease(node), _stream(mailbox, node), _attempts(mailbox, node)]
        ours = [_stream(mailbox, self._node), _attempts(mailbox, self._node), _nodes(mailbox)]
        moved, left = 0, 1
        while left > 0:
            taken, left = await self._run(scripts.ADOPT, [*theirs, *ours], [node, _PAGE])
            moved += max(taken, 0)
        return moved

    async def _read(self, mailbox: str) -> tuple[list["_Found"], int]:
        """The whole stream of this node, and the server's clock in milliseconds."""
        found: list[_Found] = []
        start = "-"
        while True:
            now_ms, *page = await self._run(scripts.READ, [_stream(mailbox, self._node)], [start, _PAGE])
            found += [_Found(id.decode(), first.decode(), payload) for id, first, payload in page]
            if len(page) < _PAGE:
                return found, now_ms
            start = f"({found[-1].id}"

    async def _deliver(self, mailbox: str, found: list["_Found"], now_ms: int) -> list[Entry]:
        """With the attempts that were begun at each, oldest first."""
        found.sort(key=lambda entry: entry.age)
        entries: list[Entry] = []
        for page in batched(found, _PAGE):
            ids = [entry.id for entry in page]
            attempts = await self._run(scripts.ATTEMPTS, [_attempts(mailbox, self._node)], ids)
            entries += [
                Entry(one.id, one.payload, attempts=count, age_s=(now_ms - one.age[0]) / 1000)
                for one, count in zip(page, attempts, strict=True)
            ]
        for entry in entries:
            self._counted.add(entry.entry_id)
            self._pending.remember(mailbox, entry.entry_id)
        return entries

    def _forget(self, mailbox: str, entry_id: str) -> None:
        self._pending.forget(mailbox, entry_id)
        self._counted.discard(entry_id)

    async def _run(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        with journal_unavailable():
            return await self._redis.run(script, keys, args)


@dataclass(frozen=True, slots=True)
class _Found:
    """One entry as the stream holds it."""

    id: str
    first_id: str
    """The id on the stream where it was appended."""
    payload: bytes

    @property
    def moved(self) -> bool:
        """It came from another node."""
        return self.id != self.first_id

    @property
    def age(self) -> tuple[int, int]:
        """When it was appended: milliseconds of the server's clock, and a running number within one."""
        ms, _, number = self.first_id.partition("-")
        return int(ms), int(number)


def _buried(id: bytes, words: Sequence[bytes]) -> Buried:
    fields: dict[bytes, bytes] = dict(zip(words[::2], words[1::2], strict=True))
    letter = DeadLetter(
        cause=fields[b"cause"].decode(),
        traceback=fields[b"traceback"].decode(),
        attempts=int(fields[b"attempts"]),
        facts=orjson.loads(fields[b"facts"]),
    )
    return Buried(id.decode(), fields[b"p"], letter, buried_at=int(id.partition(b"-")[0]) / 1000)


def _stream(mailbox: str, node: str) -> str:
    return f"mailbox:{mailbox}:{node}"


def _attempts(mailbox: str, node: str) -> str:
    return f"mailbox:attempts:{mailbox}:{node}"


def _dead(mailbox: str) -> str:
    return f"mailbox:dead:{mailbox}"


def _lease(node: str) -> str:
    return f"lease:{node}"


def _nodes(mailbox: str) -> str:
    return f"nodes:{mailbox}"
