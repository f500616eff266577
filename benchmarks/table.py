"""Tables that read well in a terminal and are Markdown at the same time."""

from collections.abc import Sequence

Cell = str | float | int | None


def render(title: str, header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """One table below its title. Numbers stand to the right; None is shown as a dash: not measured."""
    cells = [[_text(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    lines = [_line([name.ljust(width) for name, width in zip(header, widths, strict=True)])]
    rules = ["-" * (width - 1) + (":" if index else "-") for index, width in enumerate(widths)]
    lines.append(_line(rules))
    for row in cells:
        texts = (
            text.rjust(width) if index else text.ljust(width)
            for index, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append(_line(list(texts)))
    return f"### {title}\n\n" + "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(cell: Cell) -> str:
    match cell:
        case None:
            return "-"
        case str():
            return cell
        case int():
            return f"{cell:,}"
        case float() if abs(cell) >= 100:
            return f"{cell:,.0f}"
        case float() if abs(cell) >= 10:
            return f"{cell:.1f}"
        case _:
            return f"{cell:.2f}"
