"""Which contract, which side, how many: by every action, from every position."""

from decimal import Decimal

import pytest

from tests.domain.trading import account, signal
from trendedge.domain.book import Book
from trendedge.domain.plans import plan, resolve
from trendedge.domain.positions import Position
from trendedge.domain.risk import RejectionCode
from trendedge.domain.signals import Direction


def holding(quantity: int, contract: str = "MNQ", *, root: str = "MNQ") -> Position:
    return Position(account_id="acc-1", symbol=contract, root=root, quantity=quantity, average_price=Decimal(100))


def book(**held: int) -> Book:
    return Book(account=account(), positions={name: holding(quantity, name) for name, quantity in held.items()})


@pytest.mark.parametrize(
    ("action", "asked", "held", "side", "closes", "opens"),
    [
        ("buy", 2, 0, "buy", 0, 2),
        ("buy", None, 0, "buy", 0, 3),
        ("buy", 2, 1, "buy", 0, 2),
        ("buy", 2, -5, "buy", 2, 0),
        ("buy", 5, -5, "buy", 5, 0),
        ("buy", 7, -5, "buy", 5, 2),
        ("sell", 2, 0, "sell", 0, 2),
        ("sell", 2, -1, "sell", 0, 2),
        ("sell", 7, 5, "sell", 5, 2),
        ("add", 2, 1, "buy", 0, 2),
        ("add", None, -1, "sell", 0, 3),
        ("close", None, 4, "sell", 4, 0),
        ("close", None, -4, "buy", 4, 0),
        ("close", 1, -4, "buy", 1, 0),
        ("close", 9, 4, "sell", 4, 0),
        ("reverse", None, 4, "sell", 4, 4),
        ("reverse", 1, 4, "sell", 4, 1),
        ("reverse", 6, -4, "buy", 4, 6),
    ],
)
def test_an_action_meets_a_position(
    action: str, asked: int | None, held: int, side: str, closes: int, opens: int
) -> None:
    chosen, check = plan(signal(action, quantity=asked), position=holding(held), default_quantity=3)
    assert chosen is not None
    assert check.passed
    assert (chosen.side, chosen.closes, chosen.opens, chosen.quantity) == (side, closes, opens, closes + opens)
    assert (check.facts["held"], check.facts["closes"], check.facts["opens"]) == (str(held), str(closes), str(opens))


@pytest.mark.parametrize("action", ["add", "close", "reverse"])
def test_nothing_held_is_nothing_to_act_on(action: str) -> None:
    chosen, check = plan(signal(action), position=holding(0), default_quantity=1)
    assert (chosen, check.code) == (None, RejectionCode.NO_POSITION)


@pytest.mark.parametrize("held", [0, 3])
def test_there_is_nothing_to_cancel_while_no_order_rests(held: int) -> None:
    chosen, check = plan(signal("cancel"), position=holding(held), default_quantity=1)
    assert (chosen, check.code) == (None, RejectionCode.NOTHING_TO_CANCEL)


@pytest.mark.parametrize("action", ["close", "add"])
def test_an_alert_about_a_long_leaves_a_short_alone(action: str) -> None:
    chosen, check = plan(signal(action, held=Direction.LONG), position=holding(-2), default_quantity=1)
    assert (chosen, check.code) == (None, RejectionCode.NO_POSITION)
    assert "no long MNQ is held (-2 now)" in check.detail


def test_a_close_of_more_than_is_held_says_that_it_was_cut() -> None:
    _, check = plan(signal("close", quantity=9), position=holding(4), default_quantity=1)
    assert check.facts["requested"] == "9"
    assert "9 were asked for, and an exit never opens the other side" in check.detail


@pytest.mark.parametrize(
    ("asked", "held", "traded"),
    [
        ("MNQ", {"MNQ": 1}, "MNQ"),
        ("MNQ", {"MNQM6": 1}, "MNQM6"),
        ("MNQ", {"MNQM6": 1, "MNQU6": 0}, "MNQM6"),
        ("MNQ", {"MNQ": 1, "MNQM6": 1}, "MNQ"),  # the symbol itself is held: nothing to guess
        ("MNQM6", {"MNQ": 1}, "MNQ"),  # a continuous position is of whichever month
        ("MNQM6", {"MNQ": 1, "MNQM6": -1}, "MNQM6"),
        ("MNQM6", {"MNQU6": 1}, "MNQM6"),  # another month is another contract
        ("MNQM6", {"MNQU6": 1, "MNQ": 1}, "MNQM6"),
        ("MNQ", {}, "MNQ"),
    ],
)
@pytest.mark.parametrize("action", ["close", "reverse", "add"])
def test_an_exit_goes_to_the_contract_that_is_held(action: str, asked: str, held: dict[str, int], traded: str) -> None:
    contract, ambiguous = resolve(signal(action, asked), book(**held))
    assert ambiguous is None
    assert (contract.requested, contract.symbol, contract.root) == (asked, traded, "MNQ")


@pytest.mark.parametrize("action", ["buy", "sell", "cancel"])
def test_an_entry_goes_to_the_symbol_of_the_alert(action: str) -> None:
    contract, ambiguous = resolve(signal(action, "MNQ"), book(MNQM6=1))
    assert (contract.symbol, ambiguous) == ("MNQ", None)


def test_an_exit_that_could_mean_several_contracts_is_not_guessed() -> None:
    _, ambiguous = resolve(signal("close", "MNQ"), book(MNQU6=1, MNQM6=-1))
    assert ambiguous is not None
    assert ambiguous.code is RejectionCode.AMBIGUOUS_CONTRACT
    assert ambiguous.facts == {"held": "MNQM6, MNQU6"}


def test_the_side_of_which_an_exit_speaks_can_settle_which_contract_it_means() -> None:
    contract, ambiguous = resolve(signal("close", "MNQ", held=Direction.SHORT), book(MNQU6=1, MNQM6=-1, MNQ=1))
    assert (contract.symbol, ambiguous) == ("MNQM6", None)


def test_another_product_is_never_meant() -> None:
    other = {"NQ": holding(1, "NQ", root="NQ")}
    contract, _ = resolve(signal("close", "MNQ"), Book(account=account(), positions=other))
    assert contract.symbol == "MNQ"


def test_the_contract_is_told_with_what_the_exchange_says_of_it() -> None:
    contract, _ = resolve(signal("close", "MNQ"), book(MNQM6=1))
    assert contract.to_wire() == {
        "requested": "MNQ",
        "symbol": "MNQM6",
        "root": "MNQ",
        "resolution": "MNQM6 is what is held of MNQ",
        "exchange": "CME",
        "name": "Micro E-mini Nasdaq-100",
        "tick_size": "0.25",
        "point_value": "2",
    }
