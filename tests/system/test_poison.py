"""A message that kills the process, again and again, is given up, and it alone."""

import signal
import subprocess
import sys
from pathlib import Path

from tests.storage.support import own
from tests.system.poisoned import MAILBOX, Setting
from tests.system.product import SOURCE
from tests.system.waiting import eventually
from trendedge.storage.postgres import Database
from trendedge.storage.redis import RedisStore

OTHERS = [f"{key} other" for key in "abcde"]
"""Of other keys: they are in hand each time when the process is killed."""


class Process:
    """One life of `tests.system.poisoned`."""

    def __init__(self, setting: Setting, output: Path) -> None:
        self._output = output.open("ab")
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "tests.system.poisoned"], cwd=SOURCE, stdin=subprocess.PIPE, stdout=self._output
        )
        assert self.popen.stdin is not None
        self.popen.stdin.write(setting.encode())
        self.popen.stdin.close()

    async def ended(self) -> int:
        """Wait for its end; the exit code."""

        async def over() -> tuple[int] | None:
            code = self.popen.poll()
            return None if code is None else (code,)

        (code,) = await eventually(over, "the process ends")
        self._output.close()
        return code


async def test_a_message_that_kills_three_processes_ends_in_the_dead_letters_and_no_other_does(
    tmp_path: Path, database_url: str, redis_url: str, database: Database, redis_store: RedisStore
) -> None:
    output = tmp_path / "handled"
    setting = Setting(str(tmp_path), database_url, redis_url)
    told = Setting(str(tmp_path), database_url, redis_url, (*OTHERS, "x poison", "x behind it"))
    for each in (told, setting, setting):
        assert await Process(each, output).ended() == -signal.SIGKILL
    survivor = Process(setting, output)
    journal = (await own(database, redis_store, MAILBOX, "onlooker")).both

    async def all_done() -> bool:
        return set(output.read_text().splitlines()) >= {"x behind it", *OTHERS}

    await eventually(all_done, "the other mail is worked off")
    survivor.popen.terminate()
    assert await survivor.ended() == 0
    (buried,) = await journal.dead_letters(MAILBOX)
    assert buried.payload == b"x poison"
    assert buried.letter.attempts == 3
    assert buried.letter.cause == "3 attempts ended with the death of the process"
    assert await journal.count(MAILBOX) == (0, 1)
