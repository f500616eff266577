"""`decide` by example: one signal after another against an account."""

from dataclasses import replace
from decimal import Decimal
from uuid import NAMESPACE_URL, UUID, uuid5

import pytest

from tests.domain.trading import SATURDAY, WEDNESDAY, Desk, account, desk, last_price, request, signal
from trendedge.domain.execution import Book, Execution, RejectionCode, decide, duplicate_of
from trendedge.domain.signals import Action, Direction, OrderType


def code(execution: Execution) -> RejectionCode | None:
    return execution.rejection.code if execution.rejection else None


def test_a_market_order_fills_at_the_price_and_slips_against_the_trader() -> None:
    trader = desk(slippage_ticks=2)
    bought = trader.send(signal("buy", price="18500"))
    sold = trader.send(signal("sell", price="18510"))
    assert bought.status == "filled"
    assert [fill.price for fill in bought.fills + sold.fills] == [Decimal("18500.50"), Decimal("18509.50")]


def test_a_limit_order_fills_at_exactly_its_limit() -> None:
    filled = desk(slippage_ticks=5).send(signal("buy", price="18500", limit="18490.25"))
    (order,), (fill,) = filled.orders, filled.fills
    assert (order.type, order.limit_price, order.stop_price, fill.price) == (
        "limit",
        Decimal("18490.25"),
        None,
        Decimal("18490.25"),
    )


def test_the_order_carries_what_the_outside_is_promised() -> None:
    asked = request(signal("sell", "MNQM6", price="18500", quantity=3))
    filled = decide(asked, book=Book(account=account()), last_price=None, now=WEDNESDAY)
    (order,) = filled.orders
    assert (order.signal_id, order.account_id, order.created_at) == (asked.signal_id, "acc-1", WEDNESDAY)
    assert (order.symbol, order.root, order.side, order.type, order.quantity) == ("MNQM6", "MNQ", "sell", "market", 3)
    assert (order.status, order.client_order_id) == ("filled", f"te-{asked.signal_id}")


def test_ids_are_derived_from_the_signal() -> None:
    trader = desk()
    trader.send(signal("buy", price="18500"))
    reversed_ = trader.send(signal("reverse", price="18510"))
    of = UUID(reversed_.orders[0].signal_id)
    assert reversed_.orders[0].id == str(uuid5(of, "order"))
    assert [fill.id for fill in reversed_.fills] == [str(uuid5(of, "fill/0")), str(uuid5(of, "fill/1"))]
    assert reversed_.trades[1].id == str(uuid5(of, "trade"))
    assert [event.id for event in reversed_.events] == [str(uuid5(of, "event/0")), str(uuid5(of, "event/1"))]
    assert reversed_.orders[0].id != str(uuid5(NAMESPACE_URL, "order"))


def test_the_accounts_default_quantity_stands_in() -> None:
    assert desk(default_quantity=4).send(signal("buy", price="18500")).orders[0].quantity == 4


def test_more_of_the_same_grows_one_trade() -> None:
    trader = desk()
    first, second, third = trader.send_all(
        [
            signal("buy", price="18500", quantity=1),
            signal("buy", price="18510", quantity=1),
            signal("add", price="18520", quantity=2),
        ]
    )
    assert first.trades[0].id == second.trades[0].id == third.trades[0].id
    assert [e.type for x in trader.done for e in x.events] == ["trade.created", "trade.updated", "trade.updated"]
    assert (third.trades[0].quantity, third.trades[0].entry_price) == (4, Decimal("18512.50"))
    assert third.trades[0].signal_id == first.orders[0].signal_id
    assert (third.positions[0].quantity, third.positions[0].average_price) == (4, Decimal("18512.50"))


def test_a_partial_close_keeps_the_trade_open() -> None:
    trader = desk(commission=Decimal("0.62"))
    trader.send(signal("sell", price="18500", quantity=3))
    reduced = trader.send(signal("close", price="18490", quantity=1))
    (trade,), (event,) = reduced.trades, reduced.events
    assert (reduced.orders[0].side, trader.held(), trade.status, trade.open_quantity) == ("buy", -2, "open", 2)
    assert (trade.gross_pnl, trade.pnl) == (Decimal(20), Decimal(20) - 4 * Decimal("0.62"))
    assert (event.type, event.data["pnl"], event.data["open_quantity"]) == ("trade.updated", "17.52", "2")


def test_close_without_a_quantity_closes_all() -> None:
    trader = desk()
    trader.send(signal("buy", price="18500", quantity=3))
    closed = trader.send(signal("close", price="18510"))
    assert (closed.trades[0].status, closed.trades[0].exit_price, trader.held()) == ("closed", Decimal(18510), 0)
    assert closed.events[0].type == "trade.closed"
    assert trader.book.open_trades == {}


def test_close_of_more_than_is_held_closes_what_is_held() -> None:
    trader = desk()
    trader.send(signal("buy", price="18500", quantity=2))
    closed = trader.send(signal("close", price="18510", quantity=5))
    assert (closed.orders[0].quantity, trader.held()) == (2, 0)
    assert closed.checks[0].facts["requested"] == "5"


def test_a_reverse_is_one_order_with_two_fills_for_two_trades() -> None:
    trader = desk(commission=Decimal("0.62"))
    entry = trader.send(signal("buy", price="18500", quantity=2))
    turned = trader.send(signal("reverse", price="18510", quantity=3))
    (order,) = turned.orders
    assert (order.side, order.quantity) == ("sell", 5)
    assert [(fill.quantity, fill.commission) for fill in turned.fills] == [
        (2, Decimal("1.24")),
        (3, Decimal("1.86")),
    ]
    closed, begun = turned.trades
    assert (closed.id, closed.status, closed.gross_pnl) == (entry.trades[0].id, "closed", Decimal(40))
    assert (begun.direction, begun.quantity, begun.status) == ("short", 3, "open")
    assert (begun.signal_id, begun.entry_price) == (order.signal_id, Decimal(18510))
    assert [fill.trade_id for fill in turned.fills] == [closed.id, begun.id]
    assert [event.type for event in turned.events] == ["trade.closed", "trade.created"]
    assert {event.data["signal_id"] for event in turned.events} == {order.signal_id}
    assert turned.positions == (trader.book.positions["MNQ"],)
    assert trader.book.open_trades == {"MNQ": begun}


def test_an_order_larger_than_the_opposite_position_reverses_it() -> None:
    trader = desk()
    trader.send(signal("sell", price="18500", quantity=1))
    turned = trader.send(signal("buy", price="18490", quantity=3))
    assert [fill.quantity for fill in turned.fills] == [1, 2]
    assert [trade.status for trade in turned.trades] == ["closed", "open"]
    assert trader.held() == 2


def test_a_new_trade_after_flat_is_another_trade() -> None:
    trader = desk()
    first, _, second = trader.send_all(
        [signal("buy", price="18500"), signal("close", price="18510"), signal("buy", price="18500")]
    )
    assert first.trades[0].id != second.trades[0].id
    assert trader.book.positions["MNQ"].realized_pnl == 20


@pytest.mark.parametrize(("exit_price", "wins", "losses"), [("18500.50", 1, 0), ("18500", 0, 0), ("18499.75", 0, 1)])
def test_a_trade_that_comes_out_even_is_neither_won_nor_lost(exit_price: str, wins: int, losses: int) -> None:
    trader = desk()
    trader.send(signal("buy", price="18500"))
    (result,) = trader.send(signal("close", price=exit_price)).rollup
    assert (result.trades, result.wins, result.losses) == (1, wins, losses)


def test_commission_can_turn_a_profit_into_a_loss() -> None:
    trader = desk(commission=Decimal("0.62"))
    trader.send(signal("buy", price="18500"))
    (result,) = trader.send(signal("close", price="18500.50")).rollup
    assert (result.wins, result.losses, result.pnl) == (0, 1, Decimal("0.38"))


def test_symbols_are_separate_positions() -> None:
    trader = desk()
    trader.send_all([signal("buy", "MNQM6", price="18500"), signal("sell", "MNQU6", price="18600")])
    assert (trader.held("MNQM6"), trader.held("MNQU6"), len(trader.book.open_trades)) == (1, -1, 2)
    assert code(trader.send(signal("close", "MNQ", price="18500"))) is RejectionCode.AMBIGUOUS_CONTRACT
    trader.send(signal("close", "MNQU6", price="18600"))
    closed = trader.send(signal("close", "MNQ", price="18500"))
    assert (closed.contract.requested, closed.contract.symbol, trader.held("MNQM6")) == ("MNQ", "MNQM6", 0)


def test_an_exit_from_a_long_does_not_touch_a_short() -> None:
    trader = desk()
    trader.send(signal("sell", price="18500"))
    assert code(trader.send(signal("close", price="18500", held=Direction.LONG))) is RejectionCode.NO_POSITION
    assert trader.send(signal("close", price="18500", held=Direction.SHORT)).status == "filled"


@pytest.mark.parametrize("action", ["add", "close", "reverse"])
def test_what_needs_a_position_is_rejected_when_flat(action: str) -> None:
    assert code(desk().send(signal(action, price="18500"))) is RejectionCode.NO_POSITION


def test_cancel_is_rejected_while_no_order_rests() -> None:
    assert code(desk().send(signal("cancel"))) is RejectionCode.NOTHING_TO_CANCEL


def test_without_any_price_there_is_no_trade() -> None:
    assert code(desk().send(signal("buy"))) is RejectionCode.NO_PRICE


def test_the_last_price_of_the_product_stands_in_with_slippage() -> None:
    filled = desk(slippage_ticks=1).send(signal("buy", "MNQM6"), last=last_price("18500"))
    assert filled.fills[0].price == Decimal("18500.25")


@pytest.mark.parametrize("order_type", [OrderType.STOP, OrderType.STOP_LIMIT, OrderType.TRAILING_STOP])
def test_stop_orders_are_rejected_and_not_filled_at_the_market(order_type: OrderType) -> None:
    asked = signal("buy", price="18500", order_type=order_type, stop_price=Decimal(18600))
    assert code(desk().send(asked)) is RejectionCode.ORDER_TYPE_UNSUPPORTED


def test_a_closed_exchange_stops_exits_too() -> None:
    trader = desk()
    trader.send(signal("buy", price="18500"))
    trader.now = SATURDAY
    assert code(trader.send(signal("close", price="18500"))) is RejectionCode.MARKET_CLOSED
    trader.set(any_hour=True)
    assert trader.send(signal("close", price="18500")).status == "filled"


@pytest.mark.parametrize("system_halted", [False, True])
def test_a_halt_lets_exits_pass_and_refuses_entries(system_halted: bool) -> None:
    trader = desk()
    trader.send(signal("buy", price="18500", quantity=3))
    trader.set(halted=not system_halted)
    trader.book = replace(trader.book, system_halted=system_halted)

    def send(action: str, quantity: int | None) -> RejectionCode | None:
        return code(trader.send(signal(action, price="18500", quantity=quantity)))

    assert [send("buy", 1), send("add", 1), send("reverse", None), send("sell", 4)] == [RejectionCode.HALTED] * 4
    assert [send("sell", 1), send("close", 1), send("close", None)] == [None] * 3
    assert trader.held() == 0
    assert send("buy", 1) is RejectionCode.HALTED  # the halt goes on behind an exit


@pytest.mark.parametrize(
    ("settings", "asked", "names"),
    [
        (
            {},
            signal("buy", price="18500"),
            ["position", "broker", "order_type", "quantity", "halt", "session", "price"],
        ),
        ({"halted": True}, signal("buy"), ["position", "broker", "order_type", "quantity", "halt", "session", "price"]),
        ({}, signal("close"), ["position"]),
    ],
)
def test_every_check_that_can_be_made_is_recorded(settings: dict[str, object], asked: object, names: list[str]) -> None:
    assert isinstance(asked, type(signal("buy")))
    execution = desk(**settings).send(asked)
    assert [check.check for check in execution.checks] == names
    assert all(check.detail for check in execution.checks)


def rejecting_desk() -> Desk:
    trader = desk(commission=Decimal("0.62"))
    trader.send(signal("buy", price="18500", quantity=2))
    return trader


@pytest.mark.parametrize(
    "asked",
    [
        signal("buy"),
        signal("cancel"),
        signal("close", "ES", price="5000"),
        signal("buy", price="18500", order_type=OrderType.STOP),
        signal("buy", price="18500", quantity=10**30),
        signal("reverse", price="1E+30"),
    ],
)
def test_a_rejection_changes_nothing(asked: object) -> None:
    assert isinstance(asked, type(signal("buy")))
    trader = rejecting_desk()
    before = trader.book
    refused = trader.send(asked)
    assert refused.status == "rejected"
    assert refused.rejection is not None
    assert any(check.code is refused.rejection.code for check in refused.checks)
    assert trader.book == before
    assert not any((refused.orders, refused.fills, refused.trades, refused.positions))
    assert not any((refused.journal, refused.rollup, refused.events))


def test_a_changed_book_has_the_next_version() -> None:
    trader = desk(version=41)
    assert trader.send(signal("buy", price="18500")).book.account.version == 42
    assert trader.send(signal("cancel")).book.account.version == 42


def test_the_book_that_was_given_is_left_alone() -> None:
    trader = rejecting_desk()
    before = trader.book
    copy = replace(before, positions=dict(before.positions), open_trades=dict(before.open_trades))
    trader.send(signal("reverse", price="18600"))
    assert before == copy


def test_a_duplicate_is_rejected_and_names_the_first() -> None:
    book = Book(account=account())
    refused = duplicate_of(request(signal("buy", price="18500")), first="signal-0", book=book)
    assert (refused.status, code(refused), refused.book) == ("rejected", RejectionCode.DUPLICATE, book)
    assert refused.rejection is not None
    assert "signal-0" in refused.rejection.message


def test_an_ambiguous_duplicate_is_still_a_duplicate() -> None:
    trader = desk()
    trader.send_all([signal("buy", "MNQM6", price="18500"), signal("buy", "MNQU6", price="18600")])
    refused = duplicate_of(request(signal("close", price="18500")), first="signal-0", book=trader.book)
    assert code(refused) is RejectionCode.DUPLICATE


@pytest.mark.parametrize("action", Action)
def test_every_action_is_decided(action: Action) -> None:
    trader = desk()
    trader.send(signal("buy", price="18500"))
    assert trader.send(signal(action, price="18500")).status == ("rejected" if action is Action.CANCEL else "filled")
