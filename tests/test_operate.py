"""The operator's guide lists what there is, and nothing else."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from trendedge.runtime import BreakerState

ROOT = Path(__file__).resolve().parents[1]
GUIDE = (ROOT / "docs" / "how-to" / "operate.md").read_text("utf-8")


def logged_alerts() -> Iterator[tuple[str, str]]:
    """(alert, message) of each line that the product may log with the field `alert`."""
    for path in sorted((ROOT / "trendedge").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Call(args=[ast.Constant(value=str(message)), *_], keywords=keywords):
                    for keyword in keywords:
                        if keyword.arg == "alert":
                            yield from ((alert, message) for alert in names(keyword.value))


def names(value: ast.expr) -> list[str]:
    """What the expression may be. The only part of one that is computed is the state of a breaker."""
    match value:
        case ast.Constant(value=str(name)):
            return [name]
        case ast.JoinedStr(values=[ast.Constant(value=str(prefix)), ast.FormattedValue()]):
            return [prefix + state.value for state in BreakerState]
        case _:
            raise AssertionError(f"an alert whose name cannot be told: {ast.unparse(value)}")


def test_the_guide_lists_every_alert_with_its_line_in_the_log() -> None:
    _, _, chapter = GUIDE.partition("\n## Alerts\n")
    listed = re.findall(r"^\| `(\w+)` \| `([\w ]+)` \| \S.* \| \S.* \|$", chapter.partition("\n## ")[0], re.MULTILINE)
    assert sorted(listed) == sorted(set(logged_alerts()))
