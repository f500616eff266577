"""As whom a server runs. PostgreSQL refuses root and users without an account, and root's files lock others out.

The first of these that can run the program and write the directory: as we are; for root, as the owner of the directory;
under the alias of `nobody` in a user namespace (nothing changes on disk); as `nobody`, to whom root then gives the
directory. The last is for containers whose seccomp profile forbids namespaces. A program that the chosen user cannot
reach, as in a `.venv` below `/root`, is copied once to where everybody can.
"""

import os
import pwd
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

from trendedge.storage.embedded.children import SELF, Identity, spawn
from trendedge.storage.embedded.errors import NoIdentity
from trendedge.storage.embedded.place import Place
from trendedge.storage.embedded.programs import reachable_copy

NOBODY = 65534
_PROBE = 'cd "$0" && test -w . && exec "$1" --version'


@dataclass(frozen=True, slots=True)
class Footing:
    """What a server stands on: as whom it runs, and which copy of its program."""

    identity: Identity
    program: Path


async def find_footing(place: Place, directory: int, program: Path, *, needs_account: bool) -> Footing:
    """Choose.

    :param directory: the descriptor of `place.root`
    :param program: the server's program; it finds its libraries relative to its place
    :param needs_account: the server refuses root, and users that the system has no account for
    :raises NoIdentity: nothing worked
    """
    tried = []
    for identity in _candidates(place, needs_account=needs_account):
        if os.geteuid() == 0:
            _hand_over(place.root, identity)
        if identity == SELF:
            return Footing(SELF, program)
        footing = Footing(identity, program)
        problem = await _probe(footing, place, directory)
        if problem is not None:
            try:
                footing = Footing(identity, reachable_copy(program))  # as an ordinary user: permission denied
            except OSError as error:
                problem = f"{problem}; {error}"
            else:
                problem = await _probe(footing, place, directory)
        if problem is None:
            return footing
        tried.append(f"{identity}: {problem}")
    raise NoIdentity(place.root, tried)


def path_for(identity: Identity, place: Place, directory: int) -> Path:
    """The directory as the server has to name it: its user may own it and yet not be allowed into what lies above."""
    if identity.uid is None or sys.platform != "linux":
        return place.root
    return Path(f"/proc/self/fd/{directory}")


def _candidates(place: Place, *, needs_account: bool) -> Iterator[Identity]:
    we, owner = os.geteuid(), place.root.stat()
    if we == 0 and owner.st_uid != 0:
        aliased = needs_account and not _has_account(owner.st_uid)
        yield Identity(owner.st_uid, owner.st_gid, alias=NOBODY if aliased else None)
    if not needs_account or (we != 0 and _has_account(we)):
        yield SELF
        return
    yield Identity(alias=NOBODY)
    if we == 0:
        yield Identity(NOBODY, NOBODY)


def _has_account(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _hand_over(root: Path, identity: Identity) -> None:
    """Give the directory and all in it to the identity, whoever it belonged to before."""
    uid, gid = (0, 0) if identity.uid is None else (identity.uid, identity.gid or 0)
    for path in (root, *root.rglob("*")):
        if path.lstat().st_uid != uid:
            os.chown(path, uid, gid, follow_symlinks=False)


async def _probe(footing: Footing, place: Place, directory: int) -> str | None:
    """What keeps this footing from working, or None."""
    root = path_for(footing.identity, place, directory)
    with tempfile.TemporaryFile() as output:
        child = spawn(
            ["/bin/sh", "-c", _PROBE, str(root), str(footing.program)],
            cwd=Path("/"),
            log=output,
            parent_death_signal=Signals.SIGKILL,
            identity=footing.identity,
            keep=(directory,),
        )
        if await child.wait() == 0:
            return None
        output.seek(0)
        return output.read().decode(errors="replace").strip().rpartition("\n")[2] or "it cannot write there"
