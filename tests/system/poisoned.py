"""A process of its own whose actor dies over a message: `python -m tests.system.poisoned`, with a `Setting` on stdin.

The product has no message that kills it, so this runs what it is made of: a keyed durable actor on the real journal.
It writes what it has handled, a line each, until it is told to stop or dies.
"""

import os
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import anyio
import orjson

from trendedge.runtime import Actor, ChildSpec, Durability, DurableRef, MailboxSpec, RetryPolicy, SupervisorSpec
from trendedge.runtime.supervisor import Supervisor
from trendedge.storage.failover_journal import FailoverJournal
from trendedge.storage.node import open_node
from trendedge.storage.ownership import PostgresOwnership
from trendedge.storage.postgres import open_database
from trendedge.storage.postgres_journal import PostgresJournal
from trendedge.storage.redis import open_redis
from trendedge.storage.redis_journal import RedisJournal

MAILBOX = "executor"
WORK_S = 0.05
"""How long a message that kills nobody is worked on: in the product a commit is."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Where the process runs, and what it is told first. Of a message the first word is the key."""

    home: str
    database_url: str
    redis_url: str
    told: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """For stdin."""
        return orjson.dumps(asdict(self))

    @classmethod
    def read(cls) -> "Setting":
        """From stdin."""
        fields = orjson.loads(sys.stdin.buffer.read())
        return cls(**fields | {"told": tuple(fields["told"])})


class Mortal(Actor[str]):
    """Dies with its process over poison."""

    async def receive(self, message: str) -> None:
        if "poison" in message:
            os.kill(os.getpid(), signal.SIGKILL)
        await anyio.sleep(WORK_S)
        sys.stdout.write(f"{message}\n")
        sys.stdout.flush()


async def main(setting: Setting) -> None:
    """Run until SIGTERM."""
    ref = DurableRef[str]("executor")
    async with open_database(setting.database_url) as database, open_redis(setting.redis_url, timeout_s=5) as redis:
        with open_node(Path(setting.home)) as node:
            ownership = PostgresOwnership(database, node=node)
            journals = (RedisJournal(redis, ownership=ownership), PostgresJournal(database, ownership=ownership))
            journal = FailoverJournal(*journals, speaker=redis, ownership=ownership)
            child = ChildSpec(
                "executor",
                Mortal,
                ref,
                mailbox=MailboxSpec(key=lambda message: message.split()[0]),
                retry=RetryPolicy(),
                durability=Durability(journal, MAILBOX, str.encode, bytes.decode),
            )
            root = Supervisor(SupervisorSpec("root", [child]))
            with anyio.open_signal_receiver(signal.SIGTERM) as signals:
                async with anyio.create_task_group() as tasks:
                    ready = anyio.Event()
                    tasks.start_soon(root.run, ready.set)
                    await ready.wait()
                    ref.cell.suspend()  # all that it is told is durable before it begins
                    for message in setting.told:
                        await ref.tell(message)
                    ref.cell.resume()
                    async for _ in signals:
                        break
                    root.request_stop()


if __name__ == "__main__":
    anyio.run(main, Setting.read(), backend_options={"use_uvloop": True})
