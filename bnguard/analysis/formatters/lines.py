"""Lines about several findings with one cause, for people: their layers, a path, source lines."""

from __future__ import annotations

import re
from textwrap import wrap
from typing import Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

from bnguard.analysis.findings import Location, Op
from bnguard.runtime.streams import printable

_SHOWN_LAYERS = 4
_WIDTH = 96
_SHOWN_OPS = 12
_SHOWN_LINES = 3


def layer_lines(names: Iterable[Tuple[str, str]], all_are_in: str) -> Iterator[str]:
    """Yield a line for each layer with the names in it.

    Args:
      names: pairs of a layer's scope, which may be empty, and a name.
      all_are_in: where to find the layers that are left out.
    """
    layers: Dict[str, List[str]] = {}
    for layer, name in names:
        scope = f"{layer}/"
        inner = name[len(scope) :] if name.startswith(scope) else name
        layers.setdefault(layer, []).append(inner)
    for layer, inner_names in list(layers.items())[:_SHOWN_LAYERS]:
        yield f"    {layer}: {', '.join(inner_names)}" if layer else f"    {', '.join(inner_names)}"
    if len(layers) > _SHOWN_LAYERS:
        yield f"    and {count(len(layers) - _SHOWN_LAYERS, 'more layer')} ({all_are_in} has all)"


def subject_lines(subjects: Iterable[str], all_are_in: str) -> Iterator[str]:
    """Yield lines with the first of the subjects, such as the scopes of layers."""
    names = list(dict.fromkeys(subjects))
    more = len(names) - _SHOWN_LAYERS
    rest = f" and {more} more ({all_are_in} has all)" if more > 0 else ""
    yield from (f"    {line}" for line in wrap(f"{', '.join(names[:_SHOWN_LAYERS])}{rest}", _WIDTH))


def path_lines(path: Sequence[Op]) -> Iterator[str]:
    """Yield a line for each op of a path; in the middle of a long one some are left out."""
    lines = [f"{op.name} [{op.type}]" for op in path]
    if len(lines) > _SHOWN_OPS:
        half = _SHOWN_OPS // 2
        left_out = f"... {count(len(lines) - 2 * half, 'more op')} ..."
        lines = [*lines[:half], left_out, *lines[-half:]]
    for position, line in enumerate(lines):
        yield f"    {'<- ' if position else '   '}{line}"


def built_at_lines(locations: Iterable[Optional[Location]], all_are_in: str) -> Iterator[str]:
    """Yield the first of the source lines at which the user's program built ops.

    Args:
      locations: where each op was built; None where that is not known.
      all_are_in: where to find the lines that are left out.
    """
    lines = list(dict.fromkeys(str(location) for location in locations if location))
    for line in lines[:_SHOWN_LINES]:
        yield f"    built at {line}"
    if len(lines) > _SHOWN_LINES:
        yield f"    and at {count(len(lines) - _SHOWN_LINES, 'more line')} ({all_are_in} has all)"


def count(number: int, noun: str) -> str:
    """Return the number with its noun, such as `2 layers`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def markdown_cell(text: str) -> str:
    """Return text for one cell of a table in Markdown, in which nothing is markup."""
    return re.sub(r"([\\|*_`<>\[\]~&]|:(?=//)|(?<=www)\.)", r"\\\1", printable(text))
