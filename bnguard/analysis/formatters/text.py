"""For a terminal: what was assumed, then each defect with what it concerns, and what to do."""

from __future__ import annotations

from textwrap import wrap
from typing import Dict, Iterator, List, Sequence, Tuple

from bnguard.analysis.findings import ERROR, Finding, Op, Report, group
from bnguard.analysis.rules import RULES
from bnguard.runtime.streams import printable

_RED, _YELLOW, _BOLD, _PLAIN = "\033[31m", "\033[33m", "\033[1m", "\033[0m"
_WIDTH = 100
_MANY_LAYERS = 8
_LONG_PATH = 12
_NAMES = {rule.code: rule.name for rule in RULES}


def render(reports: Sequence[Report], color: bool) -> str:
    """Text of about 100 columns, with ANSI colors if `color`."""
    return "\n\n".join("\n".join(_report(report, color)) for report in reports)


def _report(report: Report, color: bool) -> Iterator[str]:
    yield printable(f"{report.source}: {_assumed(report)}")
    statistics = _count(len(report.statistics), "running statistic")
    if not report.findings:
        yield f"{_count(report.nodes, 'node')}, {statistics}: nothing found{_silent(report)}"
        return
    groups = group(report.findings)
    yield f"{_count(report.nodes, 'node')}, {statistics}: {_count(len(groups), 'defect')}"
    for members in groups:
        yield ""
        yield _heading(members[0], color)
        yield from map(printable, _group(members))


def _assumed(report: Report) -> str:
    assumed = report.assumed
    parts = [
        *(f"{flag} (--feed)" for flag in assumed.flags),
        *(f"fetch {fetch} (--fetch)" for fetch in assumed.fetches),
        *(f"train op {name} (--train-op)" for name in assumed.train_ops),
    ]
    text = f"assumed {', '.join(parts)}" if parts else "nothing assumed"
    return ", ".join(
        [text, *(f"found no {one} (--{one.replace(' ', '-')})" for one in assumed.unknown)]
    )


def _silent(report: Report) -> str:
    """Which rules could not find anything, as far as that matters."""
    about = {"fetch": "about inference", "train op": "about training"}
    unknown = [about[one] for one in report.assumed.unknown] if report.statistics else []
    return f"; the rules {' and '.join(unknown)} had no step to look at" if unknown else ""


def _heading(first: Finding, color: bool) -> str:
    heading = f"{first.rule} {_NAMES[first.rule]}"
    if color:
        heading = f"{_BOLD}{_RED if first.severity == ERROR else _YELLOW}{heading}{_PLAIN}"
    return f"{heading} ({first.severity}{'' if first.certain else ', not certain'})"


def _group(members: Sequence[Finding]) -> Iterator[str]:
    first = members[0]
    variables = [one for one in members if one.variable]
    if len(members) == 1:
        yield f"  {first.variable or first.op}: {first.problem}"
    else:
        what = "running statistic" if len(variables) == len(members) else "op"
        yield f"  {_count(len(members), what)}: {first.problem}"
        yield from _layers(members)
    shortest = min(members, key=lambda one: len(one.path))
    yield from _path(shortest.path)
    remedy = printable(f"To do: {first.remedy}.")  # before line breaks become those of the text
    yield from wrap(remedy, _WIDTH, initial_indent="  ", subsequent_indent="  ")


def _layers(members: Sequence[Finding]) -> Iterator[str]:
    layers: Dict[str, List[str]] = {}
    for one in members:
        name = one.variable or one.op
        inner = name[len(one.layer) + 1 :] if name.startswith(f"{one.layer}/") else name
        layers.setdefault(one.layer, []).append(inner)
    for layer, names in list(layers.items())[:_MANY_LAYERS]:
        yield f"    {layer}: {', '.join(names)}" if layer else f"    {', '.join(names)}"
    if len(layers) > _MANY_LAYERS:
        yield f"    and {_count(len(layers) - _MANY_LAYERS, 'more layer')} (--format json has all)"


def _path(path: Tuple[Op, ...]) -> Iterator[str]:
    lines = [f"{op.name} [{op.type}]" for op in path]
    if len(lines) > _LONG_PATH:
        half = _LONG_PATH // 2
        left_out = f"... {_count(len(lines) - 2 * half, 'more op')} ..."
        lines = [*lines[:half], left_out, *lines[-half:]]
    for position, line in enumerate(lines):
        yield f"    {'<- ' if position else '   '}{line}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
