"""Format figures: as tables for people, as values for JSON."""

from __future__ import annotations

from itertools import islice
import math
from typing import Any, Iterable, List, Sequence

from rich.cells import cell_len

from bnguard.runtime.streams import printable

MOST_ROWS = 1000
"""The rows of a table that are shown: more are for programs, which read the JSON form."""

_LONGEST = 500  # characters of a cell: longer than any variable name, and fit for a terminal


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], count: int) -> str:
    """Return a table in Markdown, which is readable as plain text.

    A name is never folded, so that it can be searched and copied, and cannot look like another row
    or cell. Below the table is the number of rows that are not shown.

    Args:
      headings: of the columns.
      rows: the texts of the cells; only the first MOST_ROWS are asked for.
      count: the number of rows.
    """
    cells = [list(map(_cell, row)) for row in [headings, *islice(rows, MOST_ROWS)]]
    more = count - MOST_ROWS
    widths = [max(map(cell_len, column)) for column in zip(*cells)]
    lines = [_line(row, widths) for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    if more > 0:
        lines.append(f"and {more} more rows; --json and to_dict() have all of them")
    return "\n".join(lines)


def figure(number: float) -> str:
    """Format a number for a table, with six significant digits."""
    return format(number, ".6g")


def json_value(value: Any) -> Any:
    """Return a value that JSON can represent: a number that is not finite becomes a string."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _cell(text: str) -> str:
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}... ({len(text)} characters)"
    return printable(text).replace("|", "\\|")


def _line(cells: List[str], widths: Sequence[int]) -> str:
    padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, widths))
    return f"| {' | '.join(padded)} |"
