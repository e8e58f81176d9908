"""Figures as text: tables for people, numbers for JSON."""

from __future__ import annotations

import io
import math
from typing import Any, Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

_ALL_OF_IT = 10_000  # columns: a folded variable name could be neither searched nor copied


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in plain text, which is also Markdown: it can be pasted into a report."""
    grid = Table(*headings, box=box.MARKDOWN)
    for row in rows:
        grid.add_row(*row)
    out = io.StringIO()
    Console(file=out, width=_ALL_OF_IT).print(grid, highlight=False, markup=False)
    return "\n".join(line.rstrip() for line in out.getvalue().strip().splitlines())


def figure(number: float) -> str:
    """A number as the tables show it."""
    return format(number, ".6g")


def plain(value: Any) -> Any:
    """The same value as JSON can hold it: a non-finite number becomes a string."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
