"""Whatever arrives, the parser answers with a signal or a refusal, and it can read what it wrote itself."""

import json
from datetime import date
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.domain.signal_strategies import signals
from trendedge.domain.alerts import AlertRefused, ParsedAlert, parse_alert, read_alert, render_alert
from trendedge.domain.signals import Dialect, Signal, signal_to_wire

TODAY = date(2026, 2, 11)
BODIES = [path.read_bytes() for path in sorted((Path(__file__).parents[1] / "data" / "alerts").glob("*.txt"))]
bounded = settings(max_examples=200, deadline=None)

KNOWN = """
    ticker symbol action side data signal sentiment market_position quantity qty price signalPrice close limit_price
    stop_price order_type type id order_id time timestamp account playbook token secret exchange multiple_accounts
    quantityType update_tp strategy order bar Order.Action
"""
NAMES = st.sampled_from(KNOWN.split())
VALUES = st.sampled_from(
    [
        "NQ1!",
        "MNQ",
        "buy",
        "sell",
        "flat",
        "close",
        "limit",
        "market",
        "1",
        "18250.25",
        "NaN",
        "{{close}}",
        0,
        1,
        2.5,
        -1,
        1e300,
        None,
        True,
    ]
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | VALUES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=8), inner, max_size=5),
    max_leaves=20,
)


def parse(body: bytes) -> ParsedAlert | None:
    """The alert, or None for a refusal that explains itself. Any other exception fails the test."""
    try:
        parsed = parse_alert(body, today=TODAY)
    except AlertRefused as error:
        refusal = error
    else:
        assert all(repair.field.isprintable() and repair.was.isprintable() for repair in parsed.signal.repairs)
        return parsed
    assert refusal.status in (400, 422)
    assert refusal.seen
    assert refusal.mend
    assert refusal.message.isprintable()
    return None


def alike(signal: Signal) -> dict[str, object]:
    """What a rendering keeps: all but the dialect and the repairs, prices by value."""
    wire = signal_to_wire(signal)
    prices = {name: getattr(signal, name) for name in ("price", "limit_price", "stop_price")}
    return wire | prices | {"dialect": None, "repairs": None}


def assert_idempotent(parsed: ParsedAlert) -> None:
    again = parse_alert(render_alert(parsed.signal), today=TODAY)
    assert alike(again.signal) == alike(parsed.signal)
    assert again.signal.dialect is Dialect.JSON
    assert again.signal.repairs == ()


def mutated(body: bytes, at: int, cut: int, put: bytes) -> bytes:
    at %= len(body) + 1
    return body[:at] + put + body[at + cut :]


@bounded
@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b'{"a":' * 20_000)
@example(b"{" * 60_000)
@example(b"A=" + b" ;" * 30_000)
@example(b"A" + b" " * 60_000 + b"=")
@example(b"order " * 10_000)
@example(b'{"' + b"\\" * 60_001 + b'":1}')
@example(b'{"a":' + b"1" * 60_000 + b"}")
def test_arbitrary_bytes(body: bytes) -> None:
    parse(body)


@bounded
@given(st.dictionaries(NAMES | st.text(max_size=8), JSON, max_size=10))
def test_arbitrary_json(tree: dict[str, Any]) -> None:
    parsed = parse(json.dumps({"ticker": "NQ1!", "action": "buy"} | tree).encode())
    if parsed is not None:
        assert_idempotent(parsed)


@bounded
@given(
    body=st.sampled_from(BODIES),
    at=st.integers(0, 2_000),
    cut=st.integers(0, 12),
    put=st.sampled_from([b"", b",", b'"', b"}", b"{", b"\\", b"\xe2\x80\x9c", b";", b"=", b"0", b"-", b"\n", b"NaN"])
    | st.binary(max_size=4),
)
def test_mutations_of_real_alerts(body: bytes, at: int, cut: int, put: bytes) -> None:
    parsed = parse(mutated(body, at, cut, put))
    if parsed is not None:
        assert_idempotent(parsed)


@bounded
@given(signals())
def test_a_rendered_signal_reads_back_as_itself(signal: Signal) -> None:
    assert alike(parse_alert(render_alert(signal), today=TODAY).signal) == alike(signal)


@bounded
@given(
    st.dictionaries(
        st.sampled_from(["ticker", "action", "comment", "a b", "n"]), st.text(max_size=12) | st.integers(-9, 9)
    ),
    st.text(min_size=4, max_size=20),
    st.sampled_from(["api_key", "token", "password"]),
)
def test_no_spelling_of_a_secret_survives(tree: dict[str, Any], secret: str, name: str) -> None:
    body = tree | {"note": f"x{secret}y", "deep": [{name: secret}], name: secret}
    for ascii_only in (True, False):
        try:
            fields = read_alert(json.dumps(body, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass"))
        except AlertRefused:
            continue
        assert json.dumps(secret, ensure_ascii=ascii_only)[1:-1] not in fields.raw.replace("***", "")
