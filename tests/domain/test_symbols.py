from datetime import date

import pytest
from hypothesis import given, settings

from tests.domain.signal_strategies import symbols
from trendedge.domain.symbols import InvalidSymbol, Symbol, is_exchange

TODAY = date(2026, 11, 22)


@pytest.mark.parametrize(
    ("raw", "symbol", "text"),
    [
        ("NQ1!", Symbol("NQ"), "NQ"),
        ("CME_MINI:NQ1!", Symbol("NQ"), "NQ"),
        ("CME_MINI_DL:NQ1!", Symbol("NQ"), "NQ"),
        ("cbot_mini_dly:mym1!", Symbol("MYM"), "MYM"),
        ("MNQ", Symbol("MNQ"), "MNQ"),
        (" MNQ ", Symbol("MNQ"), "MNQ"),
        ("NQM5", Symbol("NQ", 6, 2025), "NQM5"),
        ("NQM25", Symbol("NQ", 6, 2025), "NQM5"),
        ("NQM05", Symbol("NQ", 6, 2005), "NQM5"),
        ("NQM2025", Symbol("NQ", 6, 2025), "NQM5"),
        ("NQM2026", Symbol("NQ", 6, 2026), "NQM6"),
        ("NYMEX:CLF7", Symbol("CL", 1, 2027), "CLF7"),
        ("6EZ6", Symbol("6E", 12, 2026), "6EZ6"),
        ("M2KU6", Symbol("M2K", 9, 2026), "M2KU6"),
        ("SIL1!", Symbol("SIL"), "SIL"),
        ("SIN7", Symbol("SI", 7, 2027), "SIN7"),
        ("BTCX6", Symbol("BTC", 11, 2026), "BTCX6"),
    ],
)
def test_a_symbol_in_senders_spellings(raw: str, symbol: Symbol, text: str) -> None:
    assert Symbol.parse(raw, today=TODAY) == symbol
    assert str(symbol) == text


@pytest.mark.parametrize(("digit", "year"), [(1, 2021), (5, 2025), (6, 2026), (9, 2029), (0, 2030)])
def test_a_year_of_one_digit_lies_within_five_years_back_and_four_ahead(digit: int, year: int) -> None:
    assert Symbol.parse(f"ESH{digit}", today=TODAY).year == year


@pytest.mark.parametrize(
    ("raw", "because"),
    [
        ("", "the known roots are"),
        ("SPY", "the known roots are ES, MES"),
        ("MNO1!", "did you mean MNQ"),
        ("NQ2!", "only the front contract"),
        ("NYSE:CL", "NYSE is not an exchange of CME Group"),
        ("NQF5", "listed for the months H, M, U, Z, not for F"),
        ("NQM", "the known roots"),
        ("NQ6", "the known roots"),
        ("NQM205", "the known roots"),
        ("NQM1925", "the known roots"),
        ("NQ1!NQ1!", "the known roots"),
        ("ſI1!", "the known roots"),
        ("NQM５", "the known roots"),
        ("NQ" * 5_000, "the known roots"),
    ],
)
def test_what_is_no_symbol_says_why(raw: str, because: str) -> None:
    with pytest.raises(InvalidSymbol) as caught:
        Symbol.parse(raw, today=TODAY)
    assert because in caught.value.reason
    assert len(str(caught.value)) < 400


@given(symbols())
@settings(max_examples=200, deadline=None)
def test_every_symbol_is_read_back_from_its_long_spelling(symbol: Symbol) -> None:
    year = "" if symbol.year is None else str(symbol.year)
    assert Symbol.parse(str(symbol)[: -1 if year else None] + year, today=TODAY) == symbol
    assert symbol.is_continuous is (not year)


@pytest.mark.parametrize(
    ("name", "known"), [("CME", True), ("comex_dl", True), ("CBOT_MINI_DLY", True), ("NASDAQ", False), ("", False)]
)
def test_the_exchanges_of_the_group(name: str, known: bool) -> None:
    assert is_exchange(name) is known
