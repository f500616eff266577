"""Mail of two stores in one line, whatever the clocks of its senders say."""

from collections.abc import Sequence
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from trendedge.runtime.journal import Entry
from trendedge.storage.mail_order import in_order

OFFSETS = st.integers(-100, 100)


@st.composite
def mail(draw: st.DrawFn) -> tuple[list[Entry], list[Entry]]:
    """What each store has got in turn, of three senders whose clocks are wrong each by something of its own."""
    offsets = {sender: draw(OFFSETS) for sender in "abc"}
    stores: tuple[list[Entry], list[Entry]] = ([], [])
    for at in range(draw(st.integers(0, 12))):
        sender = draw(st.sampled_from("abc"))
        stores[draw(st.booleans())].append(Entry(f"{at}", b"", sent_us=1000 + at + offsets[sender], sent_by=sender))
    return stores


def keeps(order: Sequence[Entry], part: Sequence[Entry]) -> bool:
    return [one for one in order if one in part] == list(part)


@given(mail())
def test_each_sender_and_each_store_keeps_its_order_whatever_clocks_say(
    stores: tuple[list[Entry], list[Entry]],
) -> None:
    merged = in_order(*stores)
    everything = sorted([*stores[0], *stores[1]], key=lambda one: int(one.entry_id))
    assert sorted(merged, key=lambda one: int(one.entry_id)) == everything
    for store in stores:
        assert keeps(merged, store)
    for sender in "abc":
        assert keeps(merged, [one for one in everything if one.sent_by == sender])


def sent(*stamps: tuple[str, int]) -> list[Entry]:
    return [Entry(f"{sender}{stamp}", b"", sent_us=stamp, sent_by=sender) for sender, stamp in stamps]


def names(entries: Sequence[Entry]) -> str:
    return " ".join(one.entry_id for one in entries)


def test_between_senders_stamps_decide_and_a_clock_that_is_ahead_holds_back_nobody() -> None:
    assert names(in_order(sent(("a", 1), ("b", 4)), sent(("c", 2), ("d", 3)))) == "a1 c2 d3 b4"
    assert names(in_order(sent(("a", 90), ("b", 1)), sent(("c", 2), ("d", 3)))) == "a90 b1 c2 d3"


def test_what_was_under_way_together_is_in_the_order_of_its_store() -> None:
    assert names(in_order(sent(("a", 2), ("a", 1)), sent(("a", 3)))) == "a2 a1 a3"


def test_what_contradicts_itself_is_in_some_order() -> None:
    crossed = sent(("a", 2), ("b", 1)), sent(("b", 2), ("a", 1))
    for first, second in combinations(crossed, 2):
        assert len(in_order(first, second)) == 4


@given(st.lists(st.integers(0, 50), max_size=40), st.lists(st.integers(0, 50), max_size=40))
def test_of_unknown_senders_nothing_is_lost_and_each_store_keeps_its_order(first: list[int], second: list[int]) -> None:
    lines = [
        [Entry(f"{store}:{n}", b"", sent_us=at) for n, at in enumerate(its)]
        for store, its in enumerate((first, second))
    ]
    merged = in_order(*lines)
    assert len(merged) == len(first) + len(second)
    assert all(keeps(merged, line) for line in lines)
