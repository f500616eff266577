"""The webhook keys in memory: an alert authenticates without a query, and also while PostgreSQL is down."""

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

import anyio
import structlog

from trendedge.runtime import Service, ServiceContext
from trendedge.storage.errors import StoreUnavailable
from trendedge.storage.key_owners import AccountName, KeyOwner, select_key_owner, select_key_owners
from trendedge.storage.postgres import Database

__all__ = ["AccountName", "KeyOwner", "Keyring", "KeyringRefresh", "hash_key", "new_key"]

log = structlog.get_logger("trendedge.keyring")

PREFIX = "te_"
REFRESH_S = 60.0
"""A key that was revoked in another process opens nothing after this long."""
REMEMBER_UNKNOWN_S = 2.0
"""For so long an unknown key is not looked up again: a flood of wrong keys is no flood of queries."""
MOST_UNKNOWN = 10_000
RETRY_S = 2.0


def new_key() -> str:
    """A webhook key: 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_key(key: str) -> bytes:
    """What is stored of a key: its SHA-256, 32 bytes."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


class Keyring:
    """Finds the owner of a key: in memory first, in PostgreSQL when it is new."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._owners: dict[bytes, KeyOwner] = {}
        self._unknown: OrderedDict[bytes, float] = OrderedDict()

    async def owner_of(self, key: str) -> KeyOwner | None:
        """The owner of `key`, or None. A digest is compared, so the time taken tells nothing about a stored key.

        :raises StoreUnavailable: not in memory, and PostgreSQL cannot say whether it is a new one
        """
        digest = hash_key(key)
        owner = self._owners.get(digest)
        if owner is None and not self._known_as_unknown(digest):
            owner = await self._look_up(digest)
        return owner

    async def reload(self) -> None:
        """Read all keys anew.

        :raises StoreUnavailable: what is in memory stays in force
        """
        self._owners = await select_key_owners(self._database)
        self._unknown.clear()

    def __len__(self) -> int:
        return len(self._owners)

    def _known_as_unknown(self, digest: bytes) -> bool:
        seen_at = self._unknown.get(digest)
        return seen_at is not None and self._clock() - seen_at < REMEMBER_UNKNOWN_S

    async def _look_up(self, digest: bytes) -> KeyOwner | None:
        owner = await select_key_owner(self._database, digest)
        if owner is not None:
            self._owners[digest] = owner
            return owner
        self._unknown[digest] = self._clock()
        if len(self._unknown) > MOST_UNKNOWN:
            self._unknown.popitem(last=False)
        return None


class KeyringRefresh(Service):
    """Loads the keys before the door opens, and again every minute."""

    def __init__(self, keyring: Keyring, *, every_s: float = REFRESH_S) -> None:
        self._keyring = keyring
        self._every_s = every_s

    async def run(self, context: ServiceContext) -> None:
        """As `Service.run`. The first load has to succeed: a door that knows no key turns everybody away."""
        await self._keyring.reload()
        log.info("keys loaded", keys=len(self._keyring))
        context.started()
        pause_s = self._every_s
        while not context.stopping.is_set():
            with anyio.move_on_after(pause_s):
                await context.stopping.wait()
                return
            pause_s = await self._refresh()

    async def _refresh(self) -> float:
        try:
            await self._keyring.reload()
        except StoreUnavailable as error:
            log.warning("keys not refreshed", error=str(error))
            return RETRY_S
        return self._every_s
