"""The journal in Redis streams: one command to append, one to settle, none while there is nothing to do."""

import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import batched
from typing import Any

import orjson
import structlog
from redis.exceptions import ResponseError

from trendedge.runtime.errors import Fenced, JournalUnavailable
from trendedge.runtime.journal import Appended, Buried, DeadLetter, Duplicate, Entry, Settlement, Unique
from trendedge.runtime.ownership import Owner
from trendedge.storage import redis_scripts as scripts
from trendedge.storage.outages import Outages
from trendedge.storage.ownership import PostgresOwnership
from trendedge.storage.pending import DOUBT_S, Pending, journal_unavailable
from trendedge.storage.redis import Argument, RedisStore, Script

log = structlog.get_logger("trendedge.journal")

_ID = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")
_PROBED = "mailbox:probe"
_PAGE = 500
"""Entries a script touches at most: Redis serves nobody else while one runs."""
_PAGE_BYTES = 128 * 1024
"""Bytes after which a page is read. An answer has to come within half a second, and others wait behind it: that needs
2 Mbit/s."""


class RedisJournal:
    """`runtime.Journal` on Redis streams, one stream a mailbox and node.

    The node's lease is renewed by appends, and by `keep_lease` while there is unsettled mail and nothing is appended.
    """

    def __init__(
        self,
        redis: RedisStore,
        *,
        ownership: PostgresOwnership,
        mark_prefix: str = "dedup:webhook:",
        doubt_s: float = DOUBT_S,
    ) -> None:
        self._redis = redis
        self._ownership = ownership
        self._mark_prefix = mark_prefix
        self._pending = Pending(doubt_s=doubt_s, times=ownership.times)
        self._lease_ms = round(ownership.times.lease_s * 1000)
        self._counted: set[str] = set()
        self._joined: dict[str, int] = {}
        """The epoch that the server has heard of, by mailbox."""
        self._outages = Outages(ownership.times)

    async def append(self, mailbox: str, payload: bytes, *, unique: Unique | None = None) -> Appended | Duplicate:
        """Remember a message; with `unique`, only if nobody else holds the mark. One command."""
        owner = self._ownership.of(mailbox)
        begun, renew = time.monotonic(), self._pending.lease_due(mailbox)
        keys = [_stream(owner), _owners(mailbox)]
        args: list[Argument] = [
            owner.node,
            self._lease_ms,
            int(renew),
            payload,
            self._ownership.stamps.next(),
            owner.mark,
        ]
        if unique is not None:
            keys.append(self._mark_prefix + unique.mark)
            args += [unique.value, unique.ttl_s]
        with self._pending.doubting(mailbox):
            taken, text = await self._act(scripts.APPEND, owner, keys, args)
            if owner != self._ownership.of(mailbox):
                # Read again meanwhile, as a new owner: only the store knows whose this entry is by now.
                raise self._ownership.lost(owner)
        if not taken:
            return Duplicate(text.decode())
        if renew:
            self._pending.renewed(mailbox, begun)
        self._pending.remember(mailbox, text.decode())
        return Appended(text.decode())

    async def settle(
        self,
        mailbox: str,
        settlements: Sequence[Settlement],
        *,
        begin: Sequence[str] = (),
        turn: int | None = None,
    ) -> None:
        """Forget entries, publish their announcements and mark others, in one command."""
        owner = self._ownership.of(mailbox)
        ids = [settlement.entry_id for settlement in settlements]
        self._counted.update(begin)
        keys = [_stream(owner), _owners(mailbox)]
        if begin or not self._counted.isdisjoint(ids):
            keys.append(_attempts(owner))
        args: list[Argument] = [owner.node, len(ids), *ids, len(begin), *begin]
        if begin:
            args += [owner.mark, turn or self._ownership.next_turn()]
        for settlement in settlements:
            for announcement in settlement.announce:
                args += [announcement.channel, announcement.payload]
        await self._act(scripts.SETTLE, owner, keys, args)
        for entry_id in ids:
            self._forget(mailbox, entry_id)

    async def uncount(self, mailbox: str, entry_ids: Sequence[str], *, turn: int | None = None) -> None:
        """Take back this process's mark on each entry. One command."""
        owner = self._ownership.of(mailbox)
        self._counted.update(entry_ids)
        args: list[Argument] = [owner.mark, turn or self._ownership.next_turn(), *entry_ids]
        await self._act(scripts.UNCOUNT, owner, [_stream(owner), _attempts(owner)], args)

    async def bury(self, mailbox: str, entry_id: str, payload: bytes, letter: DeadLetter) -> None:
        """Move an entry to the stream of dead letters."""
        fields: dict[str, Argument] = {
            "p": payload,
            "cause": _utf8(letter.cause),
            "traceback": _utf8(letter.traceback),
            "attempts": letter.attempts,
            "facts": orjson.dumps({_utf8(name).decode(): _utf8(fact).decode() for name, fact in letter.facts.items()}),
        }
        owner = self._ownership.of(mailbox)
        keys = [_stream(owner), _owners(mailbox), _attempts(owner), _dead(mailbox)]
        words = [word for pair in fields.items() for word in pair]
        await self._act(scripts.BURY, owner, keys, [owner.node, entry_id, *words])
        self._forget(mailbox, entry_id)

    async def look(self, mailbox: str) -> list[Owner]:
        """The others that have mail and no lease, nor had the time for one since the server is back. One command."""
        us = self._ownership.of(mailbox)
        found = await self._act(scripts.LOOK, us, [_owners(mailbox)], [us.node])
        silent = [(node, epoch) for node, epoch, left in found if left or not self._outages.just_back]
        return [Owner(mailbox, node.decode(), epoch) for node, epoch in silent]

    async def recover(self, mailbox: str, gone: Sequence[Owner] | None = None) -> list[Entry]:
        """All unsettled entries of this node and of nodes whose lease ran out, oldest first.

        :param gone: those nodes, fenced already; unless given, they are looked for here
        """
        with self._pending.doubting(mailbox):
            with journal_unavailable():
                await self._ownership.take(mailbox)
            self._pending.forget_all(mailbox)
            await self._join(mailbox)
            await self._take_over(mailbox, gone)
            found, now_ms, read_at = await self._read(mailbox)
            return await self._deliver(mailbox, found, now_ms, read_at)

    async def adopt(self, mailbox: str, gone: Sequence[Owner] | None = None) -> list[Entry]:
        """Entries that became ours since the last look: of dead nodes, and of appends whose answer never came.

        One command when there are none. To be called about once a minute.

        :param gone: the dead nodes, fenced already; unless given, they are looked for here
        """
        with self._pending.doubting(mailbox):  # what was moved and not given to anybody is found by the next look
            known = set(self._pending.entries(mailbox))
            if self._joined.get(mailbox) != self._ownership.of(mailbox).epoch:
                await self._join(mailbox)  # it was down when we took the mailbox
            moved = await self._take_over(mailbox, gone)
            if not moved and not self._pending.in_doubt(mailbox):
                return []
            found, now_ms, read_at = await self._read(mailbox)
            known |= self._pending.entries(mailbox)  # with what was settled while it was read
            unknown = [entry for entry in found if entry.id not in known]
            # A young one may be an append whose answer is just coming in: that delivers itself.
            old = self._pending.unanswered(mailbox, [entry.id for entry in unknown])
            old |= {entry.id for entry in unknown if now_ms - entry.age[0] >= self._pending.doubt_s * 1000}
            ours = [entry for entry in unknown if entry.moved or entry.id in old]
            if len(ours) == len(unknown):
                self._pending.settle_doubt(mailbox)
            return await self._deliver(mailbox, ours, now_ms, read_at)

    async def count(self, mailbox: str) -> tuple[int, int]:
        """(unsettled of this node, dead of all nodes)."""
        pending, dead = await self._run(scripts.COUNT, [_stream(self._ownership.of(mailbox)), _dead(mailbox)], [])
        return int(pending), int(dead)

    async def dead_letters(self, mailbox: str, *, after: str | None = None, limit: int = 50) -> list[Buried]:
        """Dead letters, the newest first, from the one after `after` on. One command for each `_PAGE_BYTES`."""
        if after is not None and (not _ID.fullmatch(after) or not after.strip("0-")):
            return []  # 0-0 is before everything, which Redis refuses to look for
        found: list[Buried] = []
        last = "+" if after is None else f"({after}"
        while True:
            more, *page = await self._run(scripts.LETTERS, [_dead(mailbox)], [last, limit - len(found), _PAGE_BYTES])
            found += [_buried(id, fields) for id, fields in page]
            if not more:
                return found
            last = f"({found[-1].dead_id}"

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
        begun, owner = time.monotonic(), self._ownership.of(mailbox)
        keys = [_stream(owner), _owners(mailbox), _dead(mailbox)]
        with self._pending.doubting(mailbox):
            args: list[Argument] = [owner.node, self._lease_ms, dead_id, self._ownership.stamps.next(), owner.mark]
            moved = await self._act(scripts.REPLAY, owner, keys, args)
        if moved is None:
            return None
        self._pending.renewed(mailbox, begun)
        entry = Entry(moved[0].decode(), moved[1], replayed=True, first_open=False)
        self._pending.remember(mailbox, entry.entry_id)
        return entry

    async def discard(self, mailbox: str, dead_id: str) -> bool:
        """Remove a dead letter."""
        if not _ID.fullmatch(dead_id):
            return False
        with journal_unavailable():
            return bool(await self._redis.command("XDEL", _dead(mailbox), dead_id))

    async def probe(self) -> None:
        """Show that the server can write, which a PING does not: one command. If it can, renew the leases, which may
        have run out meanwhile.

        :raises JournalUnavailable: it does not answer, or cannot
        """
        await self._run(scripts.PROBE, [_PROBED], [])
        for mailbox in self._pending.left():
            with suppress(Fenced):  # whoever does something for the mailbox is told so
                await self._renew_lease(mailbox)

    async def keep_lease(self) -> None:
        """Renew the lease while there is unsettled mail, until cancelled. Costs nothing while there is none. A renewal
        without an answer is soon made again: an outage of nearly a heartbeat leaves no time for the next one."""
        await self._pending.beat(self._renew_lease, again_s=self._ownership.times.again_s)

    async def release(self) -> bool:
        """End the leases of the mailboxes that have unsettled mail: one command for each of them."""
        left = 0
        for mailbox in self._pending.left():
            owner = self._ownership.of(mailbox)
            left += await self._act(scripts.RELEASE, owner, [_owners(mailbox)], [owner.node])
        return left > 0

    async def _renew_lease(self, mailbox: str) -> None:
        begun, owner = time.monotonic(), self._ownership.of(mailbox)
        await self._act(scripts.RENEW, owner, [_stream(owner), _owners(mailbox)], [owner.node, self._lease_ms])
        self._pending.renewed(mailbox, begun)

    async def _join(self, mailbox: str) -> None:
        """Let the store know with which epoch the mailbox is owned."""
        begun, owner = time.monotonic(), self._ownership.of(mailbox)
        args: list[Argument] = [owner.node, self._lease_ms, scripts.FENCE_TTL_S]
        await self._act(scripts.JOIN, owner, [_stream(owner), _owners(mailbox)], args)
        self._joined[mailbox] = owner.epoch
        self._pending.renewed(mailbox, begun)

    async def _take_over(self, mailbox: str, gone: Sequence[Owner] | None) -> int:
        """Move the entries of nodes that are gone to this node's stream; how many there were."""
        us = self._ownership.of(mailbox)
        if gone is None:
            silent = await self.look(mailbox)
            try:
                gone = (await self._ownership.shut_out(silent)).granted
            except JournalUnavailable as error:
                log.warning("adoption waits, nobody can be fenced", mailbox=mailbox, error=str(error))
                return 0
        return sum([await self._adopt_from(them, us) for them in gone])

    async def _adopt_from(self, them: Owner, us: Owner) -> int:
        """They are fenced: what they have in hand either is committed by now, or will not be."""
        theirs = [_fence(them), _owners(us.mailbox), _stream(them), _attempts(them)]
        args: list[Argument] = [us.node, self._lease_ms, them.node, them.epoch, scripts.FENCE_TTL_S, _PAGE]
        moved, left = 0, 1
        while left > 0:
            taken, left = await self._act(scripts.ADOPT, us, [*theirs, _stream(us), _attempts(us)], args)
            moved += taken
        return moved

    async def _read(self, mailbox: str) -> tuple[list["_Found"], int, float]:
        """The whole stream of this node, the server's clock in ms, and when it said so, by our own clock in s."""
        owner = self._ownership.of(mailbox)
        found: list[_Found] = []
        start = "-"
        while True:
            now_ms, more, *page = await self._run(scripts.READ, [_stream(owner)], [start, _PAGE, _PAGE_BYTES])
            found += [
                _Found(
                    id.decode(),
                    (first or id).decode(),
                    payload,
                    int(sent),
                    moved=bool(first),
                    replayed=bool(again),
                    sent_by=sender.decode() if first else owner.node,
                    process=process,
                )
                for id, first, payload, sent, again, sender, process in page
            ]
            if not more:
                return found, now_ms, time.monotonic()
            start = f"({found[-1].id}"

    async def _deliver(self, mailbox: str, found: list["_Found"], now_ms: int, read_at: float) -> list[Entry]:
        """With what is known of those who may have died of each, oldest first."""
        owner = self._ownership.of(mailbox)
        found.sort(key=lambda entry: entry.age)
        entries: list[Entry] = []
        attempts: list[tuple[int, int]] = []
        for page in batched(found, _PAGE):
            args: list[Argument] = [owner.mark]
            for one in page:
                args += [one.id, one.process]
            attempts += await self._run(scripts.ATTEMPTS, [_attempts(owner)], args)
        since_s = time.monotonic() - read_at  # by the age they are put in order with those of the other store
        for one, (count, first_open) in zip(found, attempts, strict=True):
            age_s = (now_ms - one.age[0]) / 1000 + since_s
            entry = Entry(one.id, one.payload, count, age_s, one.replayed, one.sent_us, one.sent_by, bool(first_open))
            entries.append(entry)
            self._ownership.stamps.seen(one.sent_us)
        for entry in entries:
            self._counted.add(entry.entry_id)
            self._pending.remember(mailbox, entry.entry_id)
        return entries

    def _forget(self, mailbox: str, entry_id: str) -> None:
        self._pending.forget(mailbox, entry_id)
        self._counted.discard(entry_id)

    async def _act(self, script: Script, owner: Owner, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        """Run a script on behalf of an owner.

        :raises Fenced: it is none any more, and nothing was changed
        """
        try:
            return await self._run(script, [_fence(owner), *keys], [owner.epoch, *args])
        except ResponseError as error:
            if not str(error).startswith(scripts.FENCED):
                raise
            raise self._ownership.lost(owner, valid_from=int(str(error).rpartition(" ")[2])) from error

    async def _run(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        try:
            with journal_unavailable():
                answer = await self._redis.run(script, keys, args)
        except JournalUnavailable:
            self._outages.failed()
            raise
        self._outages.answered()
        return answer


@dataclass(frozen=True, slots=True)
class _Found:
    """One entry as the stream holds it."""

    id: str
    first_id: str
    """The id on the stream where it was appended."""
    payload: bytes
    sent_us: int
    moved: bool
    """It came from another node. The ids do not tell: within one millisecond they may be alike."""
    replayed: bool
    sent_by: str
    """Empty for what an earlier release has adopted."""
    process: bytes
    """Who appended it; nothing when an older release has."""

    @property
    def age(self) -> tuple[int, int, int]:
        """When it was appended: milliseconds of the server's clock, the stamp, and a running number within one of them.

        The numbers are those of different streams.
        """
        ms, _, number = self.first_id.partition("-")
        return int(ms), self.sent_us, int(number)


def _utf8(text: str) -> bytes:
    """Lone surrogates, as an error or a key may hold, are replaced."""
    return text.encode("utf-8", "replace")


def _buried(id: bytes, words: Sequence[bytes]) -> Buried:
    fields: dict[bytes, bytes] = dict(zip(words[::2], words[1::2], strict=True))
    try:
        letter = DeadLetter(
            cause=fields[b"cause"].decode(),
            traceback=fields[b"traceback"].decode(),
            attempts=int(fields[b"attempts"]),
            facts=orjson.loads(fields[b"facts"]),
        )
    except (KeyError, ValueError):
        letter = DeadLetter("not written by this program", "", 0)
    return Buried(id.decode(), fields.get(b"p", b""), letter, buried_at=int(id.partition(b"-")[0]) / 1000)


def _stream(owner: Owner) -> str:
    return f"mailbox:{owner.mailbox}:{owner.node}"


def _attempts(owner: Owner) -> str:
    return f"mailbox:attempts:{owner.mailbox}:{owner.node}"


def _dead(mailbox: str) -> str:
    return f"mailbox:dead:{mailbox}"


def _owners(mailbox: str) -> str:
    return f"owners:{mailbox}"


def _fence(owner: Owner) -> str:
    return f"fence:{owner.mailbox}:{owner.node}"
