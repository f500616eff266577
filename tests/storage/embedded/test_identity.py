"""As whom the servers run. An ordinary user has no choice; root has to find one."""

import os
from pathlib import Path

import pytest

from tests.storage.embedded.support import query
from trendedge.storage.embedded import embedded_postgres, embedded_valkey
from trendedge.storage.embedded.identity import NOBODY
from trendedge.storage.embedded.programs import postgres_directory, reachable_copy

IS_ROOT = os.geteuid() == 0
OWNERS = [0, NOBODY, 4711] if IS_ROOT else [os.geteuid()]
"""Owners of a home that this process can be asked to use."""


@pytest.mark.parametrize("owner", OWNERS)
async def test_the_files_stay_their_owners(tmp_path: Path, owner: int) -> None:
    """Also where that owner may not enter the directories above (pytest's are closed to others)."""
    places = [tmp_path / "postgres", tmp_path / "valkey"]
    for place in places:
        place.mkdir(mode=0o700)
        os.chown(place, owner, -1)
    for _ in range(2):
        async with embedded_postgres(tmp_path) as postgres, embedded_valkey(tmp_path):
            assert await query(postgres.url, "select 1") == 1
    for place in places:
        assert {path.lstat().st_uid for path in (place, *place.rglob("*"))} == {owner}


@pytest.mark.parametrize("owner", OWNERS)
async def test_postgres_is_not_root(tmp_path: Path, owner: int) -> None:
    place = tmp_path / "postgres"
    place.mkdir(mode=0o700)
    os.chown(place, owner, -1)
    async with embedded_postgres(tmp_path) as server:
        shown = await query(server.url, "select pg_read_file('/proc/self/status')")
    (uid,) = [line.split()[2] for line in str(shown).splitlines() if line.startswith("Uid:")]
    assert int(uid) == (NOBODY if IS_ROOT else owner)  # 4711 has no account, so it goes by the same alias


def test_a_program_can_be_copied_to_where_everybody_reaches_it(tmp_path: Path) -> None:
    program = postgres_directory() / "bin/postgres"
    copy = reachable_copy(program, into=tmp_path / "programs")
    assert copy.read_bytes() == program.read_bytes()
    assert copy.stat().st_mode & 0o055 == 0o055
    assert (copy.parents[1] / "share/postgres.bki").stat().st_mode & 0o044 == 0o044
    assert reachable_copy(program, into=tmp_path / "programs") == copy
