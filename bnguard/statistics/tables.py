"""Format figures: as tables for people, as values for JSON."""

from __future__ import annotations

import io
import math
from typing import Any, Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

_WIDTH = 10_000  # columns: never fold a variable name, so that it can be searched and copied


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown, which is readable as plain text."""
    grid = Table(*headings, box=box.MARKDOWN)
    for row in rows:
        grid.add_row(*row)
    out = io.StringIO()
    Console(file=out, width=_WIDTH).print(grid, highlight=False, markup=False)
    return "\n".join(line.rstrip() for line in out.getvalue().strip().splitlines())


def figure(number: float) -> str:
    """Format a number for a table, with six significant digits."""
    return format(number, ".6g")


def json_value(value: Any) -> Any:
    """Return a value that JSON can represent: a number that is not finite becomes a string."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
