"""What ends a simulation, built from facts."""

from collections.abc import Sequence

from trendedge.runtime.errors import RuntimeFault


class SimulationFault(RuntimeFault):
    """Base of what is wrong with a simulation itself, as opposed to what it found."""


class NotSimulated(SimulationFault):
    """The code under simulation touched the world outside: a thread, a socket, a process, a signal, a real sleep.

    Only looking at it does not raise: `time.time()`, `time.monotonic()`, `datetime.now()` and `uuid4()` give what they
    always give, since pytest and logging need them too, and a run that depends on that is not its seed's. Take the time
    from the event loop, chance from the module `random`, and clocks and ids that have to be real as a parameter.

    Not noticed either are files, and waits that the interpreter does not audit: of the primitives of `threading` with a
    time-out, `queue.Queue.get(timeout=...)`, `select`. They take real time, and a wait without end is one.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not simulated: it would make the run depend on more than its seed")
        self.what = what


class Deadlocked(SimulationFault):
    """Nothing is ready, no timer is set, and the simulation has not ended."""

    def __init__(self, at_s: float, waiting: Sequence[str]) -> None:
        super().__init__(f"nothing will ever happen after {at_s:.6f} s; waiting: {', '.join(waiting) or 'nobody'}")
        self.at_s = at_s
        self.waiting: tuple[str, ...] = tuple(waiting)
        """Names of the tasks that have not ended."""


class Livelocked(SimulationFault):
    """The simulation took more steps than it may."""

    def __init__(self, steps: int, at_s: float) -> None:
        super().__init__(f"no end after {steps} steps, at {at_s:.6f} s")
        self.steps, self.at_s = steps, at_s


class NoAnswer(SimulationFault):
    """A probe was asked something for which the test has given it no answer."""

    def __init__(self, probe: str, request: object) -> None:
        kind = type(request).__name__
        super().__init__(f"{probe} was asked {request!r} and has no answer: call probe.answer({kind}, ...) first")
        self.probe, self.request = probe, request
