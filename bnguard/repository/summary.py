"""The audit of a repository in a few lines: the total, and the findings of each rule."""

from __future__ import annotations

from collections import Counter
from typing import List, Sequence

from bnguard.analysis.findings import defects, group
from bnguard.analysis.formatters.lines import count
from bnguard.analysis.report import Report
from bnguard.analysis.rules import RULES


def total_line(reports: Sequence[Report], errors: int) -> str:
    """Return how many graphs there are, how much was found in them, and how much is missing.

    Args:
      reports: the reports.
      errors: the number of files and folders that could not be read.
    """
    files = {file for report in reports for file in (report.path, *report.copies)}
    known = sum(report.known for report in reports)
    causes = [members for report in reports for members in group(report.findings)]
    number = sum(bool(defects(members)) for members in causes)
    notes = len(causes) - number
    found = [
        *([count(number, "defect")] if number else []),
        *([count(notes, "note")] if notes else []),
        *([f"{count(known, 'finding')} known by the baseline"] if known else []),
    ]
    graphs = f"{count(len(reports), 'graph')} in {count(len(files), 'file')}"
    unread = f"; {count(errors, 'path')} could not be read" if errors else ""
    return f"Total: {graphs}: {', '.join(found) or 'nothing found'}{unread}"


def statistics_lines(reports: Sequence[Report]) -> List[str]:
    """Return a line for each rule that found something: how many causes, in how many graphs."""
    causes = Counter(members[0].rule for report in reports for members in group(report.findings))
    graphs = Counter(
        rule for report in reports for rule in {finding.rule for finding in report.findings}
    )
    width = max(map(len, map(str, causes.values())), default=0)
    return [
        f"{causes[rule.code]:>{width}}  {rule.code} {rule.name}, "
        f"in {count(graphs[rule.code], 'graph')}"
        for rule in RULES
        if causes[rule.code]
    ]
