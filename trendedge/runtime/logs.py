"""Logs as JSON lines, one object a line, on one stream: ours and those of every library."""

import logging
import sys
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, BinaryIO

import orjson
import structlog

type Event = MutableMapping[str, Any]

SECRET_NAMES = ("token", "secret", "password", "passphrase", "api_key", "authorization", "cookie")
"""A field whose name contains one of these is never written, whatever somebody bound to it."""


class LineLogger:
    """Writes finished lines. `name` becomes the field `logger`."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self.name = name

    def msg(self, line: bytes) -> None:
        """Write one line at once: a line in a buffer is lost with the process."""
        self._stream.write(line + b"\n")
        self._stream.flush()

    debug = info = warning = error = critical = exception = msg


def configure_logs(level: str, *, stream: BinaryIO | None = None, root: str = "app") -> None:
    """Send everything from `level` on (a name of the standard library's) to `stream`, which is stdout if not given.

    To be called once, before the first line is logged. Lines have the fields of PRD INF-FR-018: `timestamp` (UTC,
    milliseconds), `level`, `logger`, `message`, then what was bound.
    """
    target = stream or sys.stdout.buffer

    def factory(name: str = root, *_: Any) -> LineLogger:
        return LineLogger(target, name)

    number = logging.getLevelNamesMapping()[level]
    shared: list[Callable[[Any, str, Event], Event]] = [
        structlog.contextvars.merge_contextvars,
        _stamp,
        structlog.processors.format_exc_info,
        _scrub,
    ]
    structlog.configure(
        processors=[*shared, _render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    _capture_standard_logging(target, max(number, logging.INFO))


class _Bridge(logging.Handler):
    """Brings the records of the standard library's loggers into the same form."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record as a line."""
        event: Event = {"event": _text(record), "logger": record.name}
        if record.exc_info:
            event["exc_info"] = record.exc_info
            event = structlog.processors.format_exc_info(None, record.levelname.lower(), event)
        line = _render(None, "", _scrub(None, "", _stamp(None, record.levelname.lower(), event)))
        LineLogger(self._stream, record.name).msg(line)


def _capture_standard_logging(stream: BinaryIO, level: int) -> None:
    root = logging.getLogger()
    root.handlers[:] = [_Bridge(stream)]
    root.setLevel(level)
    logging.captureWarnings(True)


def _stamp(logger: Any, method: str, event: Event) -> Event:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    name = event.pop("logger", None) or getattr(logger, "name", "")
    level = "ERROR" if method == "exception" else method.upper()
    return {"timestamp": now, "level": level, "logger": name, "message": event.pop("event", ""), **event}


def _scrub(_: Any, __: str, event: Event) -> Event:
    for name in event:
        if _is_secret(name):
            event[name] = "***"
    return event


@cache
def _is_secret(name: str) -> bool:
    return any(secret in name.lower() for secret in SECRET_NAMES)


def _text(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # its arguments do not fit: that is no reason to fail for whoever logs
        return f"{record.msg} {record.args}"


def _render(_: Any, __: str, event: Event) -> bytes:
    """One line, whatever the event holds: whoever logs an error is in no position to deal with another one."""
    try:
        return _json(event)
    except Exception:
        return _json({_clean(str(name)): _writable(value) for name, value in event.items()})


def _json(value: Any) -> bytes:
    return orjson.dumps(value, default=repr, option=orjson.OPT_NON_STR_KEYS)


def _writable(value: Any) -> Any:
    """The value, or what can be said of it in JSON."""
    try:
        _json(value)
    except Exception:
        try:
            return _clean(value if isinstance(value, str) else repr(value))
        except Exception:
            return f"<{type(value).__name__}>"
    return value


def _clean(text: str) -> str:
    """Without lone surrogates, which are in no UTF-8: they are written as Python does."""
    return text.encode("utf-8", "backslashreplace").decode()
