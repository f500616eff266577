"""Why a measurement could not be made. None of these is ever about a figure being too high."""

from collections.abc import Sequence


class BenchmarkError(Exception):
    """The tool could not measure; the message says why, and what the other side last said."""


class DidNotStart(BenchmarkError):
    """The system under test ended, or never answered 200 on /health."""

    def __init__(self, name: str, *, waited_s: float, exit_code: int | None, log: str) -> None:
        fate = "is still running" if exit_code is None else f"ended with {exit_code}"
        super().__init__(f"{name}: no 200 on /health within {waited_s:.0f} s; it {fate}. Its last words:\n{log}")
        self.exit_code = exit_code


class CommandFailed(BenchmarkError):
    """A command line that the measurement depends on ended with an error."""

    def __init__(self, command: Sequence[str], *, exit_code: int, log: str) -> None:
        super().__init__(f"`{' '.join(command)}` ended with {exit_code}:\n{log}")
        self.exit_code = exit_code


class SocketRefused(BenchmarkError):
    """The server did not let a WebSocket in, or closed it while it was needed."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"WebSocket: {reason}")


class NoTradeEvent(BenchmarkError):
    """Probe alerts were sent, and no trade event came back for any of them."""

    def __init__(self, *, probes: int, waited_s: float, explanation: str) -> None:
        super().__init__(f"no trade event came back for {probes} probe alerts in {waited_s:.0f} s: {explanation}")


class UnexpectedAnswer(BenchmarkError):
    """A request that has to succeed for the measurement to mean anything did not."""

    def __init__(self, what: str, *, status: int, body: bytes) -> None:
        super().__init__(f"{what}: answered {status} {body[:300].decode('utf-8', 'replace')}")
        self.status = status


class TooFewTrades(BenchmarkError):
    """Alerts were acknowledged and delivered, and yet the list of trades does not fill a page."""

    def __init__(self, *, listed: int, wanted: int) -> None:
        super().__init__(f"the list of trades has {listed} entries after enough alerts for {wanted}")
        self.listed = listed


class InvalidSystem(BenchmarkError):
    """The description of a system under test cannot be used."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
