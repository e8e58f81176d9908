"""Markdown, for the summary of a CI job or a comment: a table, and the paths as a diagram."""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Sequence

from bnguard.analysis.findings import Finding, defects, group, group_statement
from bnguard.analysis.formatters.lines import count, markdown_cell
from bnguard.analysis.formatters.mermaid import flowchart
from bnguard.analysis.formatters.sarif import rule_page
from bnguard.analysis.rules import RULES
from bnguard.runtime.streams import printable

if TYPE_CHECKING:
    from bnguard.analysis.report import Report

_HEADINGS = ("rule", "severity", "what is wrong, and what to do", "where")
_MOST_ROWS = 200  # GitHub refuses a summary of more than a mebibyte
_DRAWN = 10  # causes; GitHub draws no larger diagram than of 50,000 letters
_RULES = {rule.code: rule for rule in RULES}


def render(reports: Sequence[Report], color: bool = False, errors: Sequence[str] = ()) -> str:
    """Return a heading with the numbers, a table with a row for each cause, and a flowchart."""
    causes = [(report, members) for report in reports for members in group(report.findings)]
    is_unread = errors and not reports
    lines = [f"## bnguard: {'nothing could be read' if is_unread else _numbers(reports)}", ""]
    if causes:
        rows = [_row(report, members) for report, members in causes[:_MOST_ROWS]]
        lines += ["| " + " | ".join(_HEADINGS) + " |", "| --- " * len(_HEADINGS) + "|", *rows, ""]
    if len(causes) > _MOST_ROWS:
        lines += [f"and {len(causes) - _MOST_ROWS} more (`--format json` has all)", ""]
    drawn = [members for _, members in causes if any(finding.path for finding in members)]
    if drawn:
        lines += [f"From what is fetched to the op at fault{_of(drawn)}:", ""]
        lines += ["```mermaid", flowchart(drawn[:_DRAWN]), "```", ""]
    known = sum(report.known for report in reports)
    remarks = [f"{count(known, 'more finding')} known by the baseline"] if known else []
    for report in reports:
        remarks += [f"{report.source}: limit reached: {limit}" for limit in report.limits]
    remarks += [f"could not be read: {error}" for error in errors]
    lines += [f"* {markdown_cell(remark)}" for remark in remarks]
    return "\n".join(lines).rstrip()


def _numbers(reports: Sequence[Report]) -> str:
    groups = [members for report in reports for members in group(report.findings)]
    number = sum(bool(defects(members)) for members in groups)
    notes = len(groups) - number
    found = [
        *([count(number, "defect")] if number else []),
        *([count(notes, "note")] if notes else []),
    ]
    return f"{', '.join(found) or 'nothing found'} in {count(len(reports), 'graph')}"


def _row(report: Report, members: Sequence[Finding]) -> str:
    first = members[0]
    rule = _RULES[first.rule]
    problem = group_statement(members, rule.about)
    located = next((finding.location for finding in members if finding.location), None)
    where: List[str] = [report.source, *([str(located._replace(text=""))] if located else [])]
    cells = [
        f"[{rule.code}]({rule_page(rule.code)}) {rule.name}",
        first.severity if first.certain else f"{first.severity}, not certain",
        f"{markdown_cell(problem)}.<br>{_with_code(first.remedy)}.",
        "<br>".join(map(markdown_cell, where)),
    ]
    return f"| {' | '.join(cells)} |"


def _with_code(text: str) -> str:
    """Return a text for a cell in which what is between backticks is code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return markdown_cell(text)
    code = (f"`{printable(part)}`".replace("|", "\\|") for part in parts[1::2])
    plain = map(markdown_cell, parts[::2])
    return "".join(part for pair in zip(plain, [*code, ""]) for part in pair)


def _of(drawn: Sequence[Sequence[Finding]]) -> str:
    return f", of the first {_DRAWN} of {len(drawn)}" if len(drawn) > _DRAWN else ""
