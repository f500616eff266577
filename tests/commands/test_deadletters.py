"""`trendedge deadletters` where it cannot work. Where it can, `tests/system/test_operators.py` has it."""

import pytest

from tests.commands.support import TrendEdge
from tests.system.product import free_port


@pytest.mark.parametrize("arguments", [("list",), ("show", "x"), ("replay", "x"), ("discard", "x")])
def test_without_a_running_product_it_says_so(bare: TrendEdge, arguments: tuple[str, ...]) -> None:
    done = bare("deadletters", *arguments, PORT=str(free_port()))
    assert (done.status, done.out) == (1, "")
    assert "the product does not answer on http://127.0.0.1:" in done.err
    assert "Traceback" not in done.err


def test_an_address_that_is_none_is_refused(bare: TrendEdge) -> None:
    done = bare("deadletters", "list", "--url", "file:///etc/passwd")
    assert done.status == 1
    assert "no http:// or https:// address" in done.err
