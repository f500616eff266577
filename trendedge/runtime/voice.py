"""The runtime's log. A sink that fails (a full disk, a closed pipe) must not end who is supervised."""

from typing import Any

import structlog


class Voice:
    """Says each line through structlog as it is configured at that moment, and loses what cannot be said."""

    __slots__ = ("_lost", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        self._lost = 0
        """Lines that the sink has not taken since the last one that it took."""

    def info(self, event: str, **facts: Any) -> None:
        """Say what is worth knowing."""
        self._say("info", event, facts)

    def warning(self, event: str, **facts: Any) -> None:
        """Say what somebody may have to look at."""
        self._say("warning", event, facts)

    def error(self, event: str, **facts: Any) -> None:
        """Say what somebody has to look at."""
        self._say("error", event, facts)

    def _say(self, level: str, event: str, facts: dict[str, Any]) -> None:
        logger = structlog.get_logger(self._name)
        try:
            getattr(logger, level)(event, **facts)
            if self._lost:
                logger.error("log lines lost", number=self._lost)
                self._lost = 0
        except Exception:
            self._lost += 1


log = Voice("trendedge.runtime")
