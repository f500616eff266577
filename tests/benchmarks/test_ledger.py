"""The books, with the times given: what exactly counts as lost, doubled, refused, stray and late."""

import orjson
import pytest

from benchmarks.ledger import Ledger
from benchmarks.target import Match


def event(signal_id: str, kind: str = "created", *, trade: str = "t1", alert_id: str = "a") -> bytes:
    data = {"signal_id": signal_id, "trade_id": trade, "alert_id": alert_id}
    return orjson.dumps({"type": f"trade.{kind}", "id": "e", "at": "", "data": data})


def receipt(signal_id: str, status: str = "accepted") -> bytes:
    return orjson.dumps({"signal_id": signal_id, "status": status, "request_id": "r"})


def sent(match: Match = Match.SIGNAL_ID, *, alerts: int = 1, events_due: int = 1) -> Ledger:
    ledger = Ledger(match)
    for number in range(alerts):
        ledger.send(f"a{number}", due_at=10.0 + number, sent_at=10.001 + number, events_due=events_due)
    return ledger


def accept(ledger: Ledger, number: int = 0, *, at: float = 10.5) -> None:
    ledger.answer(f"a{number}", status=202, body=receipt(f"s{number}"), at=at)


def test_an_accepted_alert_without_an_event_is_lost() -> None:
    ledger = sent(alerts=3)
    for number in range(3):
        accept(ledger, number)
    ledger.frame(event("s0"), 10.6)
    ledger.frame(event("s2"), 12.6)
    counts = ledger.counts()
    assert (counts.accepted, counts.delivered, counts.lost, ledger.undelivered) == (3, 2, 1, 1)
    assert counts.problems == ["1 lost"]


@pytest.mark.parametrize("kind", ["created", "updated", "closed"])
def test_any_kind_of_trade_event_delivers(kind: str) -> None:
    ledger = sent()
    accept(ledger)
    ledger.frame(event("s0", kind), 10.6)
    assert ledger.counts().delivered == 1
    assert ledger.counts().problems == []


def test_the_same_event_twice_is_doubled() -> None:
    ledger = sent()
    accept(ledger)
    ledger.frame(event("s0"), 10.6)
    ledger.frame(event("s0"), 10.7)
    assert (ledger.counts().delivered, ledger.counts().doubled) == (1, 1)
    assert ledger.counts().problems == ["1 doubled"]


def test_a_second_execution_is_doubled_although_its_event_is_another() -> None:
    ledger = sent()
    accept(ledger)
    ledger.frame(event("s0", "closed", trade="t1"), 10.6)
    ledger.frame(event("s0", "created", trade="t2"), 10.7)
    assert ledger.counts().doubled == 1


def test_a_reverse_causes_two_events_and_neither_is_doubled() -> None:
    ledger = sent(events_due=2)
    accept(ledger)
    ledger.frame(event("s0", "closed", trade="t1"), 10.6)
    assert (ledger.counts().delivered, ledger.counts().lost) == (0, 1)
    ledger.frame(event("s0", "created", trade="t2"), 10.8)
    assert (ledger.counts().delivered, ledger.counts().lost, ledger.counts().doubled) == (1, 0, 0)
    latency = ledger.event_latency()
    assert latency is not None
    assert latency.p50_ms == pytest.approx(800)


def test_half_a_reverse_told_twice_is_lost_and_doubled() -> None:
    ledger = sent(events_due=2)
    accept(ledger)
    for _ in range(2):
        ledger.frame(event("s0", "closed"), 10.6)
    assert ledger.counts().problems == ["1 lost", "1 doubled"]


def test_an_event_before_its_answer_is_delivered_at_its_own_time() -> None:
    ledger = sent()
    ledger.frame(event("s0"), 10.2)
    assert ledger.counts().stray == 1
    accept(ledger, at=10.9)
    assert (ledger.counts().delivered, ledger.counts().stray, ledger.undelivered) == (1, 0, 0)
    latency = ledger.event_latency()
    assert latency is not None
    assert latency.p50_ms == pytest.approx(200)


def test_an_event_is_matched_by_the_alerts_id_where_that_is_all_there_is() -> None:
    ledger = sent(Match.ALERT_ID, alerts=2)
    ledger.frame(event("unknown", alert_id="a1"), 11.3)
    ledger.answer("a1", status=202, body=b'{"id":"w","status":"accepted"}', at=11.5)
    ledger.answer("a0", status=202, body=b'{"id":"v","status":"accepted"}', at=11.5)
    assert ledger.undelivered == 1
    ledger.frame(event("unknown", alert_id="a0"), 11.6)
    assert (ledger.counts().delivered, ledger.counts().lost, ledger.undelivered) == (2, 0, 0)


def test_refused_and_failed_alerts_are_neither_accepted_nor_lost() -> None:
    ledger = sent(alerts=4)
    accept(ledger, 0)
    ledger.answer("a1", status=503, body=b"no json", at=11.2)
    ledger.answer("a2", status=202, body=receipt("s0", "duplicate"), at=12.2)
    ledger.frame(event("s0"), 10.6)
    counts = ledger.counts()
    assert (counts.sent, counts.accepted, counts.refused, counts.failed) == (4, 1, 2, 1)
    assert counts.answers == {"202": 1, "503": 1, "duplicate": 1}
    assert counts.problems == []


def test_an_event_that_nobody_was_acknowledged_for_is_stray() -> None:
    ledger = sent()
    accept(ledger)
    ledger.frame(event("s0"), 10.6)
    ledger.frame(event("somebody else's"), 10.6)
    assert ledger.counts().problems == ["1 stray events"]


def test_a_stray_event_is_excused_by_a_post_without_an_answer() -> None:
    ledger = sent(alerts=2)
    accept(ledger)
    ledger.frame(event("s0"), 10.6)
    ledger.frame(event("that of a1, perhaps"), 11.6)
    assert (ledger.counts().stray, ledger.counts().failed) == (1, 1)
    assert ledger.counts().problems == []


def test_an_event_of_a_refused_alert_is_stray() -> None:
    ledger = sent(Match.ALERT_ID)
    ledger.answer("a0", status=503, body=b"", at=10.1)
    ledger.frame(event("s", alert_id="a0"), 10.6)
    assert ledger.counts().problems == ["1 stray events"]


def test_two_alerts_answered_with_one_signal_leave_one_of_them_lost() -> None:
    ledger = sent(alerts=2)
    ledger.answer("a0", status=202, body=receipt("same"), at=10.1)
    ledger.answer("a1", status=202, body=receipt("same"), at=11.1)
    ledger.frame(event("same"), 11.6)
    assert (ledger.counts().delivered, ledger.counts().lost) == (1, 1)


def test_latencies_count_from_when_the_alert_was_due() -> None:
    ledger = Ledger(Match.SIGNAL_ID)
    ledger.send("a0", due_at=10.0, sent_at=10.3)
    ledger.answer("a0", status=202, body=receipt("s0"), at=10.4)
    ledger.frame(event("s0"), 10.5)
    post, delivery, lag = ledger.post_latency(), ledger.event_latency(), ledger.send_lag()
    assert post is not None
    assert delivery is not None
    assert lag is not None
    assert [round(times.max_ms) for times in (post, delivery, lag)] == [400, 500, 300]


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"not json",
        b"[]",
        b'"trade.created"',
        b'{"type":"ping"}',
        b'{"type":"scan.complete","data":{"signal_id":"s0"}}',
        b'{"type":"trade.created"}',
        b'{"type":"trade.created","data":null}',
        b'{"type":"trade.created","data":{"signal_id":null}}',
    ],
)
def test_frames_that_are_no_trade_events_do_not_count(frame: bytes) -> None:
    ledger = sent()
    accept(ledger)
    ledger.frame(frame, 10.6)
    counts = ledger.counts()
    assert (counts.delivered, counts.stray, counts.lost) == (0, 0, 1)
