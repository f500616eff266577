"""What sockets are told and what the journal says, for one trade from entry to flat."""

from decimal import Decimal

from tests.domain.trading import Desk, desk, signal


def round_trip() -> Desk:
    trader = desk(commission=Decimal("0.62"), slippage_ticks=1)
    trader.send(signal("buy", "MNQM6", price="18500", quantity=2, sender_id="alert-7", playbook="breakout"))
    trader.send(signal("add", "MNQM6", price="18503", quantity=1))
    trader.send(signal("sell", "MNQM6", price="18520", quantity=1))
    trader.send(signal("close", "MNQ", price="18510", sender_id="alert-8"))
    return trader


def test_the_event_of_an_entry() -> None:
    first = round_trip().done[0]
    (event,), (order,), (fill,) = first.events, first.orders, first.fills
    assert event.data == {
        "signal_id": order.signal_id,
        "alert_id": "alert-7",
        "trade_id": first.trades[0].id,
        "account_id": "acc-1",
        "symbol": "MNQM6",
        "root": "MNQ",
        "instrument": "MNQM6",
        "direction": "long",
        "status": "open",
        "quantity": "2",
        "open_quantity": "2",
        "entry_price": "18500.25",
        "exit_price": None,
        "gross_pnl": "0",
        "commission": "1.24",
        "pnl": "-1.24",
        "r_multiple": None,
        "opened_at": "2026-02-11T15:00:00Z",
        "closed_at": None,
        "playbook_id": "breakout",
        "order_id": order.id,
        "fill_id": fill.id,
        "side": "buy",
        "fill_price": "18500.25",
        "fill_quantity": "2",
    }


def test_the_event_of_the_last_exit_tells_the_result() -> None:
    trader = round_trip()
    first, last = trader.done[0].events[0], trader.done[3].events[0]
    assert last.type == "trade.closed"
    assert last.data["trade_id"] == first.data["trade_id"]
    assert (last.data["signal_id"], last.data["alert_id"]) == (trader.done[3].orders[0].signal_id, "alert-8")
    told = {name: last.data[name] for name in ("status", "quantity", "open_quantity", "entry_price", "exit_price")}
    assert told == {
        "status": "closed",
        "quantity": "3",
        "open_quantity": "0",
        "entry_price": "18501.25",
        "exit_price": "18513.0833333333",
    }
    assert (last.data["gross_pnl"], last.data["commission"], last.data["pnl"]) == ("71", "3.72", "67.28")
    assert last.data["closed_at"] == "2026-02-11T15:00:00Z"


def test_the_journal_tells_the_trade_in_sentences() -> None:
    lines = [line for execution in round_trip().done for line in execution.journal]
    assert [line.text for line in lines] == [
        "Opened long 2 MNQM6 at 18500.25. Commission $1.24.",
        "Added: bought 1 MNQM6 at 18503.25, now long 3 at 18501.25 on average. Commission $0.62.",
        "Took off 1 MNQM6 at 18519.75 for $37.00, still long 2 at 18501.25 on average. Commission $0.62.",
        (
            "Closed long 3 MNQM6, 18501.25 to 18513.0833333333: $71.00 before and $67.28 after commission."
            " Commission $1.24."
        ),
    ]
    assert [line.kind for line in lines] == ["opened", "increased", "reduced", "closed"]
    assert {line.trade_id for line in lines} == {lines[0].trade_id}
    assert len({line.id for line in lines}) == 4


def test_a_short_is_added_to_by_selling() -> None:
    trader = desk()
    trader.send(signal("sell", price="18500"))
    (line,) = trader.send(signal("add", price="18490")).journal
    assert line.text == "Added: sold 1 MNQ at 18490, now short 2 at 18495 on average. Commission $0.00."


def test_excursions_come_from_the_prices_of_the_fills() -> None:
    trader = desk()
    trader.send(signal("buy", price="18500", quantity=2))
    assert trader.done[0].trades[0].mae is None
    worse = trader.send(signal("add", price="18480", quantity=1)).trades[0]
    assert (worse.mae, worse.mfe) == (Decimal(80), Decimal(0))  # two contracts, 20 points, 2 dollars
    best = trader.send(signal("close", price="18530")).trades[0]
    assert (best.mae, best.mfe) == (Decimal(80), best.gross_pnl)
