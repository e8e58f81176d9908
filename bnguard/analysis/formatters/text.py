"""Text, for people: what was assumed, then each defect with what it concerns and its remedy."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Iterator, Sequence

from bnguard.analysis.findings import (
    ERROR,
    NOTE,
    WARNING,
    Finding,
    defects,
    group,
    group_statement,
)
from bnguard.analysis.formatters.lines import (
    built_at_lines,
    count,
    layer_lines,
    path_lines,
    subject_lines,
)
from bnguard.analysis.rules import RULES
from bnguard.runtime.streams import printable

if TYPE_CHECKING:
    from bnguard.analysis.report import Report

_BOLD, _PLAIN = "\033[1m", "\033[0m"
_COLORS = {ERROR: "\033[31m", WARNING: "\033[33m", NOTE: "\033[36m"}  # red, yellow, cyan
_WIDTH = 100
_SHOWN_COPIES = 20
_NAMES = {rule.code: rule.name for rule in RULES}
_ABOUT = {rule.code: rule.about for rule in RULES}


def render(reports: Sequence[Report], color: bool = False, errors: Sequence[str] = ()) -> str:
    """Return text of about 100 columns, with ANSI colors if `color`."""
    return "\n\n".join("\n".join(_report(report, color)) for report in reports)


def _report(report: Report, color: bool) -> Iterator[str]:
    yield printable(f"{report.source}: {assumed(report)}")
    yield from wrap(copies(report), _WIDTH, subsequent_indent="  ", break_long_words=False)
    yield numbers(report)
    yield from finding_lines(report, color)


def numbers(report: Report) -> str:
    """Return the size of the graph, and how much was found."""
    counts = f"{count(report.nodes, 'node')}, {count(len(report.statistics), 'running statistic')}"
    return f"{counts}: {_summary(report)}"


def copies(report: Report) -> str:
    """Return which other files contain the same graph; an empty text if none does."""
    if not report.copies:
        return ""
    more = len(report.copies) - _SHOWN_COPIES
    rest = f" and {more} more (--format json has all)" if more > 0 else ""
    return printable(f"the same graph: {', '.join(report.copies[:_SHOWN_COPIES])}{rest}")


def finding_lines(report: Report, color: bool, all_are_in: str = "--format json") -> Iterator[str]:
    """Yield lines about the limits that were reached, and about each group of findings.

    Args:
      report: the report.
      color: whether to use ANSI colors.
      all_are_in: the option with which to see all that is left out here.
    """
    for limit in report.limits:
        yield f"limit reached: {printable(limit)}"
    for members in group(report.findings):
        yield ""
        yield _heading(members[0], color)
        yield from map(printable, _group(members, all_are_in))


def assumed(report: Report) -> str:
    """Return what was inferred from the graph, with the option that overrides it.

    A configuration file is named if there is one.
    """
    found = report.assumed
    parts = [
        *(f"{flag} (--feed)" for flag in found.flags),
        *(f"fetch {fetch} (--fetch)" for fetch in found.fetches),
        *(f"perhaps fetch {fetch} (--fetch)" for fetch in found.possible_fetches),
        *(f"train op {name} (--train-op)" for name in found.train_ops),
    ]
    text = f"assumed {', '.join(parts)}" if parts else "nothing assumed"
    unknown = [f"found no {step} (--{step.replace(' ', '-')})" for step in found.unknown]
    configured = [f"configured by {report.configured_by}"] if report.configured_by else []
    return ", ".join([text, *unknown, *configured])


def _summary(report: Report) -> str:
    number = len(group(defects(report.findings)))
    notes = len(group(report.findings)) - number
    found = [
        *([count(number, "defect")] if number else []),
        *([count(notes, "note")] if notes else []),
    ]
    if report.known:
        known = f"{count(report.known, 'finding')} known by the baseline"
        found = [*(found or ["nothing new"]), known]
    return ", ".join(found) if found else f"nothing found{_silent_rules(report)}"


def _silent_rules(report: Report) -> str:
    """Return which rules had no step to judge, if the graph has running statistics."""
    about = {"fetch": "about inference", "train op": "about training"}
    unknown = [about[step] for step in report.assumed.unknown] if report.statistics else []
    return f"; the rules {' and '.join(unknown)} had no step to judge" if unknown else ""


def _heading(first: Finding, color: bool) -> str:
    heading = f"{first.rule} {_NAMES[first.rule]}"
    if color:
        heading = f"{_BOLD}{_COLORS[first.severity]}{heading}{_PLAIN}"
    return f"{heading} ({first.severity}{'' if first.certain else ', not certain'})"


def _group(members: Sequence[Finding], all_are_in: str) -> Iterator[str]:
    first = members[0]
    yield f"  {group_statement(members, _ABOUT[first.rule])}"
    if len({finding.subject for finding in members}) > 1:
        if first.variable:
            names = [(finding.layer, finding.variable) for finding in members]
            yield from layer_lines(names, all_are_in)
        else:
            yield from subject_lines([finding.subject for finding in members], all_are_in)
    shortest = min(members, key=lambda finding: len(finding.path))
    yield from path_lines(shortest.path)
    yield from built_at_lines([finding.location for finding in members], all_are_in)
    remedy = printable(f"To do: {first.remedy}.")  # before line breaks become those of the text
    yield from wrap(remedy, _WIDTH, initial_indent="  ", subsequent_indent="  ")
