"""Mail of two stores, at one look or more, in one line, whatever the clocks of its senders say."""

from collections.abc import Sequence
from contextlib import suppress
from graphlib import CycleError, TopologicalSorter
from itertools import combinations, permutations

from hypothesis import given
from hypothesis import strategies as st

from trendedge.runtime.journal import Entry
from trendedge.storage.mail_order import in_order

OFFSETS = st.integers(-100, 100)


@st.composite
def mail(draw: st.DrawFn) -> list[list[Entry]]:
    """What each store has given in turn at each look, of three senders whose clocks are wrong each by something."""
    offsets = {sender: draw(OFFSETS) for sender in "abc"}
    lines: list[list[Entry]] = [[] for _ in range(draw(st.integers(1, 5)))]
    for at in range(draw(st.integers(0, 16))):
        sender = draw(st.sampled_from("abc"))
        one = Entry(f"{at}", b"", sent_us=1000 + at + offsets[sender], sent_by=sender)
        lines[draw(st.integers(0, len(lines) - 1))].append(one)
    return lines


def keeps(order: Sequence[Entry], part: Sequence[Entry]) -> bool:
    return [one for one in order if one in part] == list(part)


@given(mail())
def test_each_sender_and_each_store_keeps_its_order_whatever_clocks_say(lines: list[list[Entry]]) -> None:
    merged = in_order(*lines)
    everything = sorted((one for line in lines for one in line), key=lambda one: int(one.entry_id))
    assert sorted(merged, key=lambda one: int(one.entry_id)) == everything
    for line in lines:
        assert keeps(merged, line)
    for sender in "abc":
        assert keeps(merged, [one for one in everything if one.sent_by == sender])


@st.composite
def lines_of_anything(draw: st.DrawFn) -> list[list[Entry]]:
    sent = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=5)
    return [
        [Entry(f"{line}:{n}", b"", sent_us=stamp, sent_by=sender) for n, (sender, stamp) in enumerate(its)]
        for line, its in enumerate(draw(st.lists(sent, max_size=5)))
    ]


def known_order(lines: list[list[Entry]]) -> dict[str, set[str]]:
    """Of each entry those that come before it: in its line, and in others by its sender's stamps. Of two of one sender
    in one line the earlier stamp counts for both: they were under way together."""
    before = {one.entry_id: {two.entry_id for two in line[:n]} for line in lines for n, one in enumerate(line)}
    stamped = [
        (one, min(two.sent_us for two in line[n:] if two.sent_by == one.sent_by))
        for line in lines
        for n, one in enumerate(line)
    ]
    for (one, stamp), (two, other_stamp) in permutations(stamped, 2):
        if one.sent_by == two.sent_by and stamp < other_stamp:
            before[two.entry_id].add(one.entry_id)
    return before


@given(lines_of_anything())
def test_whatever_is_known_of_the_order_is_kept_unless_it_contradicts_itself_and_then_each_line_is(
    lines: list[list[Entry]],
) -> None:
    merged = in_order(*lines)
    assert len(merged) == sum(map(len, lines))
    assert all(keeps(merged, line) for line in lines)
    before = known_order(lines)
    with suppress(CycleError):
        TopologicalSorter(before).prepare()
        place = {one.entry_id: n for n, one in enumerate(merged)}
        assert all(place[first] < place[then] for then, firsts in before.items() for first in firsts)


def sent(*stamps: tuple[str, int]) -> list[Entry]:
    return [Entry(f"{sender}{stamp}", b"", sent_us=stamp, sent_by=sender) for sender, stamp in stamps]


def names(entries: Sequence[Entry]) -> str:
    return " ".join(one.entry_id for one in entries)


def test_between_senders_stamps_decide_and_a_clock_that_is_ahead_holds_back_nobody() -> None:
    assert names(in_order(sent(("a", 1), ("b", 4)), sent(("c", 2), ("d", 3)))) == "a1 c2 d3 b4"
    assert names(in_order(sent(("a", 90), ("b", 1)), sent(("c", 2), ("d", 3)))) == "a90 b1 c2 d3"


def test_what_was_under_way_together_is_in_the_order_of_its_store() -> None:
    assert names(in_order(sent(("a", 2), ("a", 1)), sent(("a", 3)))) == "a2 a1 a3"


def test_what_a_store_has_given_later_may_be_older() -> None:
    """What it had of `o` was not to be had at the first look, and what the other store has comes at the second."""
    looks = sent(("g", 11), ("g", 13)), sent(("o", 1)), sent(("o", 2), ("g", 12))
    assert names(in_order(*looks)) == "o1 o2 g11 g12 g13"


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
