"""The report on a program's run: its steps, then the findings on each graph."""

from __future__ import annotations

import json
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from bnguard.analysis.findings import ERROR, Location
from bnguard.analysis.formatters import format_reports
from bnguard.analysis.formatters.lines import count
from bnguard.analysis.report import Report
from bnguard.runtime.streams import printable

_SHOWN_FETCHES = 4
_SHOWN_STEPS = 40


class WatchedStep(NamedTuple):
    """A distinct step.

    Attributes:
      runs: how often it ran.
      fetches: the names of what it fetches.
      feeds: name and value of each fed scalar that distinguishes it, such as a training flag.
      location: where the program called it first; None if that is not known.
      kind: trains, updates, infers, saves or other.
      written, unordered: names of statistics that it writes, and that it reads in no order.
      batch_moments: names of layers' ops that use the moments of their batch.
      summary: kind and numbers, in words.
    """

    runs: int
    fetches: Tuple[str, ...]
    feeds: Tuple[Tuple[str, Any], ...]
    location: Optional[Location]
    kind: str
    written: Tuple[str, ...]
    unordered: Tuple[str, ...]
    batch_moments: Tuple[str, ...]
    summary: str

    @property
    def label(self) -> str:
        """The fetches and the fed flags, in short."""
        names = [*self.fetches[:_SHOWN_FETCHES]]
        more = len(self.fetches) - len(names)
        names += [f"{more} more"] if more else []
        return ", ".join([*names, *(f"{name}={value!r}" for name, value in self.feeds)])

    def to_dict(self) -> Dict[str, Any]:
        """Return the JSON form; a fed text is a string, `location` an object or null."""
        feeds = {
            name: value.decode("utf-8", "replace") if isinstance(value, bytes) else value
            for name, value in self.feeds
        }
        location = self.location and self.location.to_dict()
        return {**self._asdict(), "feeds": feeds, "location": location}


class GraphReport(NamedTuple):
    """The report on one graph.

    Attributes:
      report: the findings.
      steps: the distinct steps, in the order of their first runs.
      unjudged: the number of runs of further steps, which were not judged.
    """

    report: Report
    steps: Tuple[WatchedStep, ...]
    unjudged: int = 0


class WatchReport(NamedTuple):
    """The report on a program's run.

    Attributes:
      graphs: one entry for each graph of which the program ran steps.
      note: why there are no steps, or fewer than the program ran; may be empty.
    """

    graphs: Tuple[GraphReport, ...]
    note: str = ""

    @property
    def reports(self) -> Tuple[Report, ...]:
        """The reports on the graphs."""
        return tuple(graph.report for graph in self.graphs)

    @property
    def has_errors(self) -> bool:
        """Whether any finding is an error."""
        return any(
            finding.severity == ERROR for report in self.reports for finding in report.findings
        )

    def to_text(self, color: bool = False) -> str:
        """Return one line for each step, then the findings."""
        lines: List[str] = []
        for graph in self.graphs:
            lines += [*_step_lines(graph), "", format_reports([graph.report], "text", color), ""]
        return "\n".join([*lines, *([self.note] if self.note else [])]).rstrip()

    def to_json(self) -> str:
        """Return the JSON form: an object with `graphs` and `note`."""
        graphs = [
            {
                **graph.report.to_dict(),
                "steps": [step.to_dict() for step in graph.steps],
                "unjudged": graph.unjudged,
            }
            for graph in self.graphs
        ]
        return json.dumps({"graphs": graphs, "note": self.note}, indent=2)

    def to_sarif(self) -> str:
        """Return the findings as SARIF 2.1.0."""
        return format_reports(self.reports, "sarif")


def _step_lines(graph: GraphReport) -> Iterator[str]:
    shown = graph.steps[:_SHOWN_STEPS]
    rows = [
        (f"{step.runs} x", printable(step.label), _where(step.location), step.summary)
        for step in shown
    ]
    widths = [max(map(len, column)) for column in zip(*rows)] if rows else []
    for number, label, where, summary in rows:
        cells = (number.rjust(widths[0]), label.ljust(widths[1]), where.ljust(widths[2]), summary)
        yield "  ".join(cells).rstrip()
    rest = _runs(graph.steps[_SHOWN_STEPS:]) + graph.unjudged
    if rest:
        yield f"and {count(rest, 'run')} of more steps; {count(graph.unjudged, 'run')} not judged"


def _runs(steps: Sequence[WatchedStep]) -> int:
    return sum(step.runs for step in steps)


def _where(location: Optional[Location]) -> str:
    return "" if location is None else printable(str(location._replace(function="", text="")))
