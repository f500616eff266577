"""Log lines: one JSON object each, with the fields that operators search by, and no secret."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from trendedge.runtime.logs import configure_logs


@pytest.fixture
def lines() -> Iterator[io.BytesIO]:
    root, level = logging.getLogger(), logging.getLogger().level
    handlers = list(root.handlers)
    stream = io.BytesIO()
    configure_logs("INFO", stream=stream)
    yield stream
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def read(lines: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.getvalue().splitlines()]


def test_a_line_has_time_level_logger_and_message_first(lines: io.BytesIO) -> None:
    structlog.get_logger("trendedge.test").warning("It happened", user_id="u", duration_ms=4.5)
    [line] = read(lines)
    assert list(line)[:4] == ["timestamp", "level", "logger", "message"]
    assert (line["level"], line["logger"], line["message"]) == ("WARNING", "trendedge.test", "It happened")
    assert line["timestamp"].endswith("Z")
    assert (line["user_id"], line["duration_ms"]) == ("u", 4.5)


def test_what_is_below_the_level_is_not_written(lines: io.BytesIO) -> None:
    structlog.get_logger("x").debug("quiet")
    assert read(lines) == []


def test_the_request_id_of_the_context_is_on_the_line(lines: io.BytesIO) -> None:
    structlog.contextvars.bind_contextvars(request_id="r-1")
    structlog.get_logger("x").info("inside")
    assert read(lines)[0]["request_id"] == "r-1"


@pytest.mark.parametrize("name", ["token", "api_key", "X-Authorization", "db_password", "client_secret"])
def test_a_field_with_a_secrets_name_is_never_written(lines: io.BytesIO, name: str) -> None:
    structlog.get_logger("x").info("bound by mistake", **{name: "hunter2"})
    assert "hunter2" not in lines.getvalue().decode()


def test_an_exception_is_one_line(lines: io.BytesIO) -> None:
    try:
        raise ValueError("broken\nin two")
    except ValueError as error:
        structlog.get_logger("x").error("failed", exc_info=error)
    [line] = read(lines)
    assert "ValueError: broken" in line["exception"]


def test_lines_of_libraries_have_the_same_form(lines: io.BytesIO) -> None:
    logging.getLogger("library.module").error("of %s", "theirs")
    try:
        raise OSError("gone")
    except OSError:
        logging.getLogger("library").exception("with a trace")
    first, second = read(lines)
    assert (first["logger"], first["level"], first["message"]) == ("library.module", "ERROR", "of theirs")
    assert "OSError: gone" in second["exception"]


class Unspeakable:
    def __repr__(self) -> str:
        raise ValueError


def test_no_line_fails_for_what_it_is_about(lines: io.BytesIO) -> None:
    odd: dict[str, Any] = {"text": "a\ud83d", "nested": {"k": ["\ud83d"]}, "big": 2**70, "nothing": Unspeakable()}
    structlog.get_logger("x").error("odd \ud83d", user_id="u", number=1, **odd)
    bridge = logging.getLogger().handlers[0]  # not by a logger: pytest would capture what it cannot report
    for text, argument in (("theirs \ud83d %s", "1"), ("%d of them", "not a number")):
        bridge.emit(logging.LogRecord("library", logging.WARNING, __file__, 1, text, (argument,), None))
    ours, theirs, unfit = read(lines)
    assert (ours["message"], ours["text"], ours["user_id"], ours["number"]) == ("odd \\ud83d", "a\\ud83d", "u", 1)
    assert (ours["nested"], ours["big"], ours["nothing"]) == ("{'k': ['\\ud83d']}", str(2**70), "<Unspeakable>")
    assert (theirs["message"], unfit["message"]) == ("theirs \\ud83d 1", "%d of them ('not a number',)")


def test_what_json_cannot_say_is_written_all_the_same(lines: io.BytesIO) -> None:
    structlog.get_logger("x").info("odd", value=object(), keys={1: "a"})
    assert read(lines)[0]["keys"] == {"1": "a"}
