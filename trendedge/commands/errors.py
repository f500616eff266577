"""Why a command cannot do what it was asked for. Each is a sentence or two, and ends the process with status 1."""


class CommandFailed(Exception):
    """Base of all errors of this package."""


class StoreUnusable(CommandFailed):
    """A server that a setting names cannot be used."""

    def __init__(self, setting: str, address: str, reason: str, mend: str) -> None:
        super().__init__(f"{setting}: {address} cannot be used: {reason}. {mend}")
        self.setting, self.address, self.reason, self.mend = setting, address, reason, mend


class StoresUnusable(CommandFailed):
    """More than one server that a setting names cannot be used."""

    def __init__(self, faults: list[StoreUnusable]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


class SchemaBehind(CommandFailed):
    """The database has an older schema than the code, and migrating it is not this command's business."""

    def __init__(self, current: str | None, newest: str) -> None:
        super().__init__(
            f"the database's schema is at {current or 'nothing'} and this program needs {newest}: "
            "run `trendedge migrate up`"
        )
        self.current, self.newest = current, newest


class NotInThisEnvironment(CommandFailed):
    """The command would hand out what only a real identity provider may, or write what only a developer wants."""

    def __init__(self, command: str, environment: str, allowed: str) -> None:
        super().__init__(f"`trendedge {command}` works in {allowed} only, and APP_ENV is {environment}")
        self.command, self.environment = command, environment


class UnknownRevision(CommandFailed):
    """There is no such migration."""

    def __init__(self, revision: str, known: list[str]) -> None:
        super().__init__(f"there is no revision {revision}; there are base, head and {', '.join(known)}")
        self.revision = revision
