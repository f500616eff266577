"""What is shown to operators has no secrets in it, wherever in the data they lie."""

from typing import Any

import orjson
import pytest

from trendedge.runtime.redaction import UNSHOWN, redacted


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            {"Token": "x", "list": [{"passphrase": "y", "z": 1}]},
            {"Token": "***", "list": [{"passphrase": "***", "z": 1}]},
        ),
        (
            {"secret": {"deep": "x"}, "apiKey": "y", "X-Api-Key": "z"},
            {"secret": "***", "apiKey": "***", "X-Api-Key": "***"},
        ),
        (["plain", None, 1.5, ""], ["plain", None, 1.5, ""]),
        ({"raw": '{"passphrase": "S", "n": 1}'}, {"raw": '{"passphrase":"***","n":1}'}),
        ({"raw": '{ "n" : 1 }'}, {"raw": '{ "n" : 1 }'}),
        ({"raw": '[{"secret": {"a": "S"}}]'}, {"raw": '[{"secret":"***"}]'}),
        ("SYMBOL=NQ1!;TOKEN=S;PRICE=1", "SYMBOL=NQ1!;TOKEN=***;PRICE=1"),
        ("a=1&api-key=S&b=2", "a=1&api-key=***&b=2"),
        ("Authorization: Bearer S", "Authorization: ***"),
        ("{'password': 'S S', 'n': 1}", "{'password': ***, 'n': 1}"),
        ("the token was refused", "the token was refused"),
    ],
)
def test_secrets_are_not_shown(value: Any, expected: Any) -> None:
    assert redacted(value) == expected


@pytest.mark.parametrize(
    "text",
    [
        '{"passphrase": "SECRET"',
        '{"passphrase": "SECRET',
        '{"x": 1, "passphrase": "SECRET", ]',
        '"{\\"passphrase\\": \\"SECRET\\"}"',
        orjson.dumps({"a": orjson.dumps({"b": orjson.dumps({"token": "SECRET"}).decode()}).decode()}).decode(),
        '{"a": "{\\"token\\": \\"SECRET\\"',
        '\ud800{"token": "SECRET"}',
        '{"token": "SECRET\ud800"}',
    ],
)
def test_text_that_only_looks_like_json_shows_none_either(text: str) -> None:
    assert "SECRET" not in redacted({"raw": text})["raw"]


@pytest.mark.parametrize("deep", ["[" * 1000 + "]" * 1000, "[" * 100_000])
def test_what_is_nested_without_end_ends_nobody(deep: str) -> None:
    orjson.dumps(redacted({"raw": deep}))
    nested: Any = "leaf"
    for _ in range(900):
        nested = [nested]
    assert UNSHOWN in str(redacted(nested))
