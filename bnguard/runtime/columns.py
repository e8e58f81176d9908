"""How many columns output may have, and tables in Markdown that are folded to them."""

from __future__ import annotations

from itertools import groupby, zip_longest
import os
import re
import sys
from typing import Iterator, List, Sequence

from rich.cells import cell_len

PIPED = 100
"""The columns of a file or a pipe, if COLUMNS is not set."""

_NARROWEST = 12  # columns to which a cell is folded
_BORDER = 3  # columns around a cell, of which it shares one with the next
_SEPARATOR = re.compile(r"(?<!\\)\|")


def columns() -> int:
    """Return how many columns stdout has: by COLUMNS, by its terminal, or PIPED."""
    given = os.environ.get("COLUMNS", "")
    if given.isdigit() and int(given):
        return int(given)
    if sys.stdout.isatty():
        return os.get_terminal_size(sys.stdout.fileno()).columns or PIPED
    return PIPED


def fit_tables(text: str, width: int) -> str:
    """Return a text whose tables in Markdown are folded to a width, as far as their cells can be.

    Long cells continue in the next line, after a slash or a space where there is one.
    """
    lines: List[str] = []
    for is_table, found in groupby(text.split("\n"), _is_row):
        block = list(found)
        lines += _fit(block, width) if is_table else block
    return "\n".join(lines)


def _is_row(line: str) -> bool:
    return line.startswith("|") and line.endswith("|") and len(line) > 1


def _fit(lines: List[str], width: int) -> Iterator[str]:
    if all(cell_len(line) <= width for line in lines):
        yield from lines
        return
    rows = [[cell.strip() for cell in _SEPARATOR.split(line)[1:-1]] for line in lines]
    rules = [not "".join(row).strip("-: ") and any(row) for row in rows]
    cells = [row for row, is_rule in zip(rows, rules) if not is_rule]
    widths = [max(map(cell_len, column)) for column in zip_longest(*cells, fillvalue="")]
    while sum(widths) + _BORDER * len(widths) + 1 > width and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1
    for row, is_rule in zip(rows, rules):
        if is_rule:
            yield f"|{'|'.join('-' * (wide + 2) for wide in widths)}|"
        else:
            folded = [_fold(cell, wide) for cell, wide in zip(row, widths)]
            for parts in zip_longest(*folded, fillvalue=""):
                yield _line(parts, widths)


def _fold(cell: str, width: int) -> List[str]:
    parts = []
    while cell_len(cell) > width:
        end = width
        while cell_len(cell[:end]) > width:
            end -= 1
        end = max(cell.rfind("/", 0, end), cell.rfind(" ", 0, end)) + 1 or end
        parts.append(cell[:end].rstrip())
        cell = cell[end:]
    return [*parts, cell]


def _line(parts: Sequence[str], widths: Sequence[int]) -> str:
    padded = (part + " " * (wide - cell_len(part)) for part, wide in zip(parts, widths))
    return f"| {' | '.join(padded)} |"
