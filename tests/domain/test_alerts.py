"""The corpus in tests/data/alerts: each alert gives exactly the signal, or the refusal, that stands beside it."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from trendedge.domain.alerts import AlertRefused, parse_alert, read_alert, redact, render_alert
from trendedge.domain.signals import Signal, signal_from_wire
from trendedge.domain.symbols import Symbol

CORPUS = Path(__file__).parents[1] / "data" / "alerts"
TODAY = date(2026, 2, 11)
ALERTS = sorted(CORPUS.glob("*.txt"))
KEY = "te_live_0123456789abcdefghijklmnop"

DEFAULTS: dict[str, Any] = {
    "order_type": "market",
    "quantity": None,
    "held": None,
    "price": None,
    "limit_price": None,
    "stop_price": None,
    "sender_id": None,
    "sent_at": None,
    "account": None,
    "playbook": None,
    "repairs": [],
}


def expected_signal(facts: dict[str, Any]) -> Signal:
    """The signal of an expectation, which leaves out what is at its default and writes the symbol as a sender would."""
    symbol = Symbol.parse(facts["symbol"], today=TODAY)
    return signal_from_wire({**DEFAULTS, **facts, "symbol": [symbol.root, symbol.month, symbol.year]})


def refusal_of(body: bytes | str) -> AlertRefused:
    with pytest.raises(AlertRefused) as caught:
        parse_alert(body.encode() if isinstance(body, str) else body, today=TODAY)
    return caught.value


def alert(**fields: object) -> bytes:
    return json.dumps({"ticker": "NQ1!", "action": "buy"} | fields).encode()


def signal_of(**fields: object) -> Signal:
    return parse_alert(alert(**fields), today=TODAY).signal


def test_the_corpus_holds_the_eight_dialects_and_thirty_more() -> None:
    names = [path.name for path in ALERTS]
    assert {name.split("-")[1] for name in names if name.startswith("dialect-")} == set("12345678")
    assert len(names) >= 38


@pytest.mark.parametrize("path", ALERTS, ids=lambda path: path.stem)
def test_an_alert_means_what_the_corpus_says(path: Path) -> None:
    expected = json.loads(path.with_suffix(".expected.json").read_text(encoding="utf-8"))
    body = path.read_bytes()
    if "refusal" in expected:
        refusal = refusal_of(body)
        assert {"status": refusal.status, "field": refusal.field, "seen": refusal.seen} == expected["refusal"]
        assert refusal.mend
        assert KEY not in refusal.message
        return
    parsed = parse_alert(body, today=TODAY)
    assert parsed.signal == expected_signal(expected["signal"])
    assert parsed.secret == expected["secret"]
    assert KEY not in parsed.raw


@pytest.mark.parametrize("path", ALERTS, ids=lambda path: path.stem)
def test_a_signal_reads_its_own_rendering(path: Path) -> None:
    try:
        signal = parse_alert(path.read_bytes(), today=TODAY).signal
    except AlertRefused:
        return
    again = parse_alert(render_alert(signal), today=date(2040, 1, 1)).signal
    assert again.meaning("u") == signal.meaning("u")
    assert (again.sent_at, again.playbook, again.repairs) == (signal.sent_at, signal.playbook, ())


class TestReading:
    """What is refused before the sender is known: 400."""

    @pytest.mark.parametrize("body", ["", " \r\n\t", "\ufeff", "```\n\n```"])
    def test_an_empty_body(self, body: str) -> None:
        refusal = refusal_of(body)
        assert (refusal.status, refusal.seen) == (400, "an empty body")

    @pytest.mark.parametrize("body", ["[]", '"NQ1!"', "1", "true", "null", "[{}]"])
    def test_json_that_is_no_object(self, body: str) -> None:
        assert refusal_of(body).status == 400

    @pytest.mark.parametrize(
        "body",
        ['{"a":' * 6 + "1" + "}" * 6, '{"a":' * 9_000, '{"a":' + "[" * 60_000, '{"a":[[[[[1]]]]]}', '{"a":[[[[{}]]]]}'],
    )
    def test_more_than_five_levels(self, body: str) -> None:
        assert refusal_of(body).seen == "more than 5 levels of nesting"

    def test_five_levels_are_fine(self) -> None:
        assert signal_of(a={"b": {"c": {"d": 1}}}, e=[[[[1]]]], f=[[{"g": [1]}]]).quantity is None

    @pytest.mark.parametrize("end", ["}", ",}"], ids=["valid", "repaired"])
    def test_ten_thousand_keys(self, end: str) -> None:
        body = "{" + ",".join(f'"k{n}":1' for n in range(10_000)) + end
        assert refusal_of(body).seen == "more than 500 fields"
        assert refusal_of("\n".join(f"K{n}=1" for n in range(10_000))).seen == "more than 500 fields"

    def test_ten_thousand_list_items(self) -> None:
        assert refusal_of(alert(many=list(range(10_000)))).seen == "more than 500 fields"

    def test_text_over_ten_thousand_characters(self) -> None:
        assert refusal_of(alert(comment="x" * 10_001)).field == "comment"
        assert refusal_of(alert(a={"b": ["x" * 10_001]})).field == "a.b"
        assert refusal_of(alert(**{"x" * 10_001: 1})).status == 400
        assert signal_of(comment="x" * 10_000).symbol.root == "NQ"

    @pytest.mark.parametrize("body", [b"\x00", b'{"ticker":"NQ1!\x00"}', b"\xff\xfe{\x00}\x00", b"\xed\xa0\x80"])
    def test_bytes_that_are_no_text(self, body: bytes) -> None:
        assert refusal_of(body).status == 400

    @pytest.mark.parametrize(
        "body",
        [
            "{",
            "{}}",
            '{"a":01}',
            '{"a":+1}',
            '{"a":1.}',
            '{"a":tru}',
            '{"a":nonsense}',
            '{"a"}',
            '{,"a":1}',
            '{"a":1,,"b":2}',
            '{"a":"\n"}',
            '{"a":"\\x"}',
            "{'a':1}",
            '{"a":1} {"b":2}',
            '{"a“:1}',
            "{“a”:“say “hi” now”}",
            '{"a":,}',
        ],
    )
    def test_json_that_could_be_read_in_two_ways(self, body: str) -> None:
        assert refusal_of(body).status == 400

    def test_a_broken_alert_shows_one_character_and_so_never_the_key(self) -> None:
        refusal = refusal_of(f'{{"token":{KEY}}}')
        assert refusal.seen == '"t" at line 1, column 10 of the JSON'

    def test_two_keys_of_the_same_name(self) -> None:
        refusal = refusal_of('{"token":"abcdefgh","token":"ABCDEFGH","ticker":"NQ"}')
        assert (refusal.status, refusal.field, refusal.seen) == (400, "token", "two different values")

    def test_a_control_character_in_a_name_reaches_no_store(self) -> None:
        body = b'{"ticker":"NQ1!","action":"buy","r\\u0000si":NaN,"pri\\u0000ce":1}'
        parsed = parse_alert(body, today=TODAY)
        assert [repair.field for repair in parsed.signal.repairs] == ["r\\u0000si"]
        assert parsed.signal.price is None

    def test_a_nested_key_and_its_dotted_twin_disagree(self) -> None:
        refusal = refusal_of('{"ticker":"NQ1!","order.action":"buy","order":{"action":"sell"}}')
        assert (refusal.status, refusal.field) == (422, "order.action")


class TestSecrets:
    @pytest.mark.parametrize("name", ["api_key", "apiKey", "API-KEY", "token", "Token", "secret", "passphrase"])
    def test_the_key_is_found_whatever_the_spelling(self, name: str) -> None:
        fields = read_alert(alert(**{name: KEY}))
        assert fields.secret == KEY
        assert f'"{name}": "***"' in fields.raw

    def test_api_key_goes_first(self) -> None:
        assert read_alert(alert(passphrase="other-pass", token="other-token", api_key=KEY)).secret == KEY

    @pytest.mark.parametrize(
        "fields", [{}, {"password": KEY}, {"broker": {"token": KEY}}, {"token": ""}, {"token": None}, {"token": True}]
    )
    def test_no_key_where_none_stands(self, fields: dict[str, object]) -> None:
        assert read_alert(alert(**fields)).secret is None

    def test_a_numeric_key_is_text(self) -> None:
        fields = read_alert(alert(token=123456789))
        assert (fields.secret, "123456789" in fields.raw) == ("123456789", False)

    @pytest.mark.parametrize(
        "body",
        [
            alert(a={"b": [{"password": KEY}]}),
            alert(token=KEY, comment=f"sent with {KEY}!"),
            alert(token={"value": KEY, "list": [KEY]}),
            alert(webhook_secret=KEY),
            f'{{"t\\u006fken":"{KEY}","ticker":"NQ1!"}}'.encode(),
            f'{{"token":"{KEY[:-1]}\\u0070","ticker":"NQ1!","comment":"{KEY}"}}'.encode(),
            f'{{“token”:“{KEY}”,"comment":"\\u0074{KEY[1:]}"}}'.encode(),
            f"TOKEN={KEY}\nCOMMENT=with {KEY}".encode(),
            f'secret="{KEY}";a=1'.encode(),
            f"S: order buy @ 1 filled on NQ1!. New strategy position is 1\nkey {KEY}\nPASSPHRASE={KEY}".encode(),
            f'{{"comment":"{{\\"token\\":\\"{KEY}\\"}}"}}'.encode(),
        ],
    )
    def test_no_dialect_and_no_depth_shows_a_secret(self, body: bytes) -> None:
        raw = read_alert(body).raw
        assert KEY not in raw
        assert KEY[1:] not in raw
        assert "***" in raw

    def test_a_short_secret_is_blanked_at_its_place_alone(self) -> None:
        raw = read_alert(b'{"token": "1", "quantity": 1, "price": 100, "secret": 7}').raw
        assert raw == '{"token": "***", "quantity": 1, "price": 100, "secret": "***"}'

    def test_a_refusal_does_not_repeat_the_key(self) -> None:
        assert "***" in refusal_of(alert(token=KEY, action=KEY)).seen
        assert "***" in refusal_of(alert(token=KEY, ticker=KEY[:30], api_key=KEY[:30])).seen

    def test_a_repair_does_not_repeat_the_key(self) -> None:
        assert KEY not in str(signal_of(token=KEY, time=KEY).repairs)

    def test_redact_leaves_no_tail_of_a_longer_secret(self) -> None:
        assert redact("abcd abcdef", ["abcd", "abcdef"]) == "*** ***"


class TestNumbers:
    @pytest.mark.parametrize(
        ("given", "meant"), [(1, 1), ("1", 1), ("1.0", 1), (2.0, 2), (" 3 ", 3), ("1e1", 10), (10_000, 10_000)]
    )
    def test_a_quantity(self, given: object, meant: int) -> None:
        assert signal_of(quantity=given).quantity == meant

    @pytest.mark.parametrize(
        "given",
        [
            0,
            -1,
            "0",
            "-0",
            0.5,
            "1.5",
            10_001,
            10**30,
            "1e30",
            "9" * 5000,
            "1,000",
            "1_000",
            "١",
            "two",
            "",
            " ",
            "NaN",
            "na",
            "inf",
            "0x1",
            True,
            [],
            [1],
            "1 2",
            "{{strategy.order.contracts}}",
            "1e-400",
            1e-320,
        ],
    )
    def test_no_quantity(self, given: object) -> None:
        refusal = refusal_of(alert(quantity=given))
        assert (refusal.status, refusal.field) == (422, "quantity")

    def test_null_is_absent(self) -> None:
        assert signal_of(quantity=None, price=None, order_type=None, id=None) == signal_of()

    @pytest.mark.parametrize(
        ("ticker", "given", "meant"),
        [
            ("NQ1!", 18250.25, "18250.25"),
            ("NQ1!", "18250", "18250"),
            ("NQ1!", "18250.50", "18250.50"),
            ("NQ1!", "18250.5000", "18250.50"),
            ("NQ1!", "1.825e4", "18250"),
            ("NQ1!", 18249.999999999996, "18250.00"),
            ("6J1!", 0.0067345, "0.0067345"),
            ("6J1!", "6.7345E-3", "0.0067345"),
            ("ZN1!", 110.015625, "110.015625"),
            ("YM1!", 44012.0, "44012"),
            ("BTC1!", 96005, "96005"),
        ],
    )
    def test_a_price_keeps_to_plain_notation_and_the_tick(self, ticker: str, given: object, meant: str) -> None:
        price = signal_of(ticker=ticker, price=given).price
        assert str(price) == meant

    @pytest.mark.parametrize(
        ("ticker", "given"),
        [
            ("NQ1!", 18250.3),
            ("NQ1!", "18250.2501"),
            ("NQ1!", 18250.24),
            ("YM1!", 44012.5),
            ("6J1!", 0.00673452),
            ("BTC1!", 96003),
            ("NQ1!", 0),
            ("NQ1!", -5),
            ("NQ1!", "1e300"),
            ("NQ1!", 1e-9),
            ("NQ1!", "1e-9"),
            ("NQ1!", 10**8),
            ("NQ1!", ""),
            ("NQ1!", "na"),
            ("NQ1!", "n/a"),
            ("NQ1!", "-Infinity"),
            ("NQ1!", "18,250.25"),
            ("NQ1!", "{{close}}"),
            ("NQ1!", False),
            ("NQ1!", [1]),
            ("NQ1!", "9" * 60),
        ],
    )
    def test_no_price(self, ticker: str, given: object) -> None:
        refusal = refusal_of(alert(ticker=ticker, price=given))
        assert (refusal.status, refusal.field) == (422, "price")

    def test_the_refusal_of_a_price_names_the_tick_and_the_nearest_price(self) -> None:
        assert "tick of 0.25, the nearest is 18250.25" in refusal_of(alert(price="18250.30")).mend

    @pytest.mark.parametrize(
        "body", ['"price":1e9999999999999999999999', '"price":' + "9" * 9_000, '"price":1e-9999999999999999999']
    )
    def test_a_monstrous_number_is_refused_without_computing_it(self, body: str) -> None:
        assert refusal_of('{"ticker":"NQ1!","action":"buy",' + body + "}").field == "price"


class TestPrices:
    def test_signal_price_and_price_must_agree(self) -> None:
        assert signal_of(price=18250, signalPrice="18250.0").price == Decimal(18250)
        assert refusal_of(alert(price=18250, signalPrice=18251)).field == "signalPrice"

    def test_the_bars_close_gives_way_to_a_price(self) -> None:
        assert signal_of(price=18250, close=18251).price == Decimal(18250)
        assert signal_of(close="18251").price == Decimal(18251)
        assert refusal_of(alert(close=18250.3)).field == "close"

    def test_a_limit_order_takes_its_limit_from_price(self) -> None:
        signal = signal_of(order_type="limit", price=18250, signalPrice=18260)
        assert (signal.limit_price, signal.price, signal.stop_price) == (Decimal(18250), Decimal(18260), None)
        assert signal.stated_price == Decimal(18250)

    def test_a_market_order_has_no_use_for_a_limit(self) -> None:
        assert signal_of(order_type="market", limit_price="{{plot_0}}", price=18250) == signal_of(price=18250)

    def test_a_stop_limit_order_needs_its_trigger(self) -> None:
        assert refusal_of(alert(order_type="stop_limit", price=18250)).field == "stop_price"

    def test_a_stop_price_without_a_type_may_be_a_protective_stop(self) -> None:
        assert refusal_of(alert(stop_price=18200)).field == "stop_price"
        assert signal_of(stop_price=0).stop_price is None


class TestWords:
    @pytest.mark.parametrize(
        ("words", "action", "held"),
        [
            ({"action": "BUY"}, "buy", None),
            ({"action": " Long "}, "buy", None),
            ({"action": "enter-long"}, "buy", None),
            ({"action": "bearish"}, "sell", None),
            ({"action": "flat"}, "close", None),
            ({"action": "exitLong"}, "close", "long"),
            ({"action": "close", "side": "short"}, "close", "short"),
            ({"action": "close", "side": "sell"}, "close", None),
            ({"action": "sell", "signal": "close_long"}, "close", "long"),
            ({"action": "exit", "signal": "exit_short"}, "close", "short"),
            ({"action": "exit", "market_position": "flat"}, "close", None),
            ({"action": "exit", "sentiment": "long"}, "close", None),
            ({"action": "add", "side": "short"}, "add", "short"),
            ({"action": "buy", "sentiment": "bullish", "market_position": "long"}, "buy", None),
            ({"action": "buy", "type": "long"}, "buy", None),
            ({"action": None, "type": "exit"}, "close", None),
            ({"action": None, "sentiment": "flat"}, "close", None),
        ],
    )
    def test_words_that_agree(self, words: dict[str, object], action: str, held: str | None) -> None:
        signal = signal_of(**words)
        assert (signal.action, signal.held) == (action, held)

    @pytest.mark.parametrize(
        "words",
        [
            {"action": "buy", "side": "short"},
            {"action": "close_long", "side": "short"},
            {"action": "exit_long", "signal": "exit_short"},
            {"action": "close", "signal": "reverse"},
            {"action": "cancel", "side": "buy"},
            {"action": "reverse", "side": "long"},
            {"action": "reverse", "sentiment": "flat"},
            {"action": "buy", "sentiment": "flat", "market_position": "sideways"},
            {"action": "buy", "sentiment": "undecided"},
            {"action": ""},
            {"action": 1},
            {"action": True},
            {"action": ["buy"]},
            {"action": "."},
            {"order_type": "iceberg"},
            {"order_type": "limit", "type": "market", "price": 18250},
            {"order_type": 2},
            {"quantity": "1", "quantityType": "dollar_amount"},
            {"update_sl": 1},
            {"update_tp": "{{plot_1}}"},
            {"multiple_accounts": "A"},
            {"multiple_accounts": [{"quantity_multiplier": 0.5}]},
            {"multiple_accounts": {"quantity_multiplier": 3}},
            {"quantity_multiplier": "2"},
            {"account": "A", "account_id": "B"},
            {"id": "{{alert.id}}"},
            {"id": "na"},
            {"id": "x" * 201},
            {"id": "a\u0000b"},
            {"account": {"x": 1}, "account_id": ["A"]},
            {"exchange": "BINANCE"},
        ],
    )
    def test_words_that_contradict_or_mean_nothing(self, words: dict[str, object]) -> None:
        assert refusal_of(alert(**words)).status == 422

    def test_unknown_roots_come_with_near_ones(self) -> None:
        mend = refusal_of(alert(ticker="MNO1!")).mend
        assert "did you mean MNQ" in mend
        assert "ES, MES, NQ, MNQ" in mend


class TestClockAndIds:
    @pytest.mark.parametrize(
        "given",
        [
            "2026-02-11T15:00:00Z",
            "2026-02-11T16:00:00+01:00",
            "2026-02-11 15:00:00",
            1770822000,
            "1770822000",
            1770822000000,
            1770822000.0,
        ],
    )
    def test_the_senders_clock_in_its_spellings(self, given: object) -> None:
        assert signal_of(timenow=given).sent_at == datetime(2026, 2, 11, 15, tzinfo=UTC)

    @pytest.mark.parametrize(
        "given", ["", "soon", 0, -1, 1e300, "9" * 400, True, [], "0001-01-01T00:00:00+23:59", "{{timenow}}", 12]
    )
    def test_a_wrong_clock_is_ignored_and_recorded(self, given: object) -> None:
        signal = signal_of(timenow=given)
        assert signal.sent_at is None
        assert [(repair.field, repair.became) for repair in signal.repairs] == [("timenow", "ignored")]

    def test_the_time_of_firing_goes_before_that_of_the_bar(self) -> None:
        signal = signal_of(
            bar={"time": "2026-02-11T14:00:00Z"}, time="2026-02-11T14:30:00Z", timenow="2026-02-11T15:00:00Z"
        )
        assert signal.sent_at == datetime(2026, 2, 11, 15, tzinfo=UTC)

    def test_ids_by_precedence(self) -> None:
        assert signal_of(order_id="c", alert_id="b").sender_id == "b"
        assert signal_of(order_id="c", alert_id="b", id=7).sender_id == "7"
        assert signal_of(id="").sender_id is None
