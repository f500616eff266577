"""The trading scenario over many seeds: nothing may break, and every fault must really have happened."""

import os
import subprocess
import sys

from tests.simulation.trading import run_seed
from trendedge.runtime.simulation.campaign import run_seeds

SOMETIMES = [
    *(f"redis.{fault}" for fault in ("crash_before", "crash_after", "reply_lost", "late", "refused", "slow", "down")),
    *(f"tables.{fault}" for fault in ("crash_before", "crash_after", "reply_lost", "late", "refused", "slow", "down")),
    *(f"bank.{fault}" for fault in ("crash_before", "crash_after", "reply_lost", "late", "refused", "slow", "down")),
    "speaker.down",
    "killed",
    "stopped",
    "left mail",
    "gone for good",
    "lease lost",
    "adopted",
    "buried",
    "attempt counted",
    "ask accepted",
    "ask duplicate",
    "ask cancelled",
    "client cancelled",
    "intake astray",
    "executor astray",
    "ask JournalUnavailable",
    "commit AlreadyCommitted",
    "commit DuplicateMark",
    "commit StaleBook",
    "signal filled",
    "signal rejected",
    "signal dead",
]
"""What has to happen somewhere in the seeds: a fault that never comes proves nothing."""


def test_two_hundred_seeds_break_nothing_and_every_fault_happens_in_them() -> None:
    campaign = run_seeds(run_seed, range(200), processes=1)
    assert [f"make simulate SEED={report.seed}: {report.failure}" for report in campaign.failures] == []
    assert [kind for kind in SOMETIMES if not campaign.counts[kind]] == []


def test_the_command_prints_one_digest_that_depends_neither_on_the_hash_seed_nor_on_the_cores() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seeds", "12", "--processes", processes],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed, processes in (("1", "1"), ("2", "2"))
    }
    [digest] = digests
    assert len(bytes.fromhex(digest.strip())) == 16


def test_a_replay_shows_the_trace_of_the_same_run() -> None:
    replayed = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seed", "3"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    first = run_seed(3)
    assert replayed[-2:] == ["all invariants hold", first.digest]
    assert len(replayed) > first.steps
    assert any(line.endswith(" started node-0/1") for line in replayed)
