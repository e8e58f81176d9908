"""The report on a program's run: its steps, then the findings on each graph."""

from __future__ import annotations

import json
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from bnguard.analysis.findings import ERROR, Location
from bnguard.analysis.formatters import format_reports, html
from bnguard.analysis.formatters.json import VERSION
from bnguard.analysis.formatters.lines import count
from bnguard.analysis.formatters.text import finding_lines, numbers
from bnguard.analysis.report import Report
from bnguard.analysis.scenario.step_kinds import OTHER
from bnguard.runtime.streams import printable
from bnguard.watch.call_history import Call

_SHOWN_FETCHES = 2
_SHOWN_STEPS = 40
_LONGEST_LABEL = 60  # columns
_WITHOUT_LAYER = "without a layer or a change of a statistic"


class WatchedStep(NamedTuple):
    """A distinct step.

    Attributes:
      runs: how often it ran.
      fetches: the names of what it fetches.
      feeds: name and value of each fed scalar that distinguishes it, such as a training flag.
      location: where the program called it first; None if that is not known.
      kind: trains, updates, infers, saves, loads or other.
      read, written, unordered: names of statistics that it reads, that it writes, and that it reads
        and writes in no order.
      batch_moments: names of layers' ops that use the moments of their batch.
      summary: kind and numbers, in words.
      calls: some of its calls, if they were to be kept.
    """

    runs: int
    fetches: Tuple[str, ...]
    feeds: Tuple[Tuple[str, Any], ...]
    location: Optional[Location]
    kind: str
    read: Tuple[str, ...]
    written: Tuple[str, ...]
    unordered: Tuple[str, ...]
    batch_moments: Tuple[str, ...]
    summary: str
    calls: Tuple[Call, ...] = ()

    @property
    def label(self) -> str:
        """The fetches and the fed flags, in short."""
        names = list(map(_short, self.fetches[:_SHOWN_FETCHES]))
        more = len(self.fetches) - len(names)
        names += [f"{more} more"] if more else []
        flags = [
            f"{_short(name)}={value}" for name, value in self.feeds if not isinstance(value, bytes)
        ]
        return printable(", ".join([*names, *flags]))

    def to_dict(self) -> Dict[str, Any]:
        """Return the JSON form, without the calls; a fed text is a string, `location` an object."""
        feeds = {
            name: value.decode("utf-8", "replace") if isinstance(value, bytes) else value
            for name, value in self.feeds
        }
        location = self.location and self.location.to_dict()
        fields = {**self._asdict(), "feeds": feeds, "location": location}
        del fields["calls"]
        return fields


class GraphReport(NamedTuple):
    """The report on one graph.

    Attributes:
      report: the findings.
      steps: the distinct steps, in the order of their first runs.
      unfed_flags: a sentence on each training flag that was never fed.
      unjudged: the number of runs of further steps, which were not judged.
    """

    report: Report
    steps: Tuple[WatchedStep, ...]
    unfed_flags: Tuple[str, ...] = ()
    unjudged: int = 0

    def to_dict(self) -> Dict[str, Any]:
        """Return the JSON form: that of the report, with the steps."""
        return {
            **self.report.to_dict(),
            "steps": [step.to_dict() for step in self.steps],
            "unfed_flags": list(self.unfed_flags),
            "unjudged": self.unjudged,
        }

    def remarks(self) -> Iterator[str]:
        """Yield lines on what is not in the steps."""
        yield from self.unfed_flags
        others = [step.runs for step in self.steps if step.kind == OTHER]
        if others:
            noun = count(len(others), "other step")
            yield f"{count(sum(others), 'run')} of {noun}, {_WITHOUT_LAYER}"
        yield from self.unjudged_lines()

    def unjudged_lines(self) -> Iterator[str]:
        """Yield a line on the runs that were not judged, if there are any."""
        if self.unjudged:
            yield f"{count(self.unjudged, 'run')} of more steps, which were not judged"

    def lines(self, color: bool) -> Iterator[str]:
        """Yield one line for each step, then the findings."""
        yield from _step_lines(self)
        yield ""
        yield f"{printable(self.report.source)}: {numbers(self.report)}"
        yield from map(printable, self.unfed_flags)
        yield from finding_lines(self.report, color, "--json")


class WatchReport(NamedTuple):
    """The report on a program's run.

    Attributes:
      graphs: one entry for each graph of which the program ran steps.
      notes: why there are no steps, or fewer than the program ran; may be empty.
      is_complete: False if a step or a graph could not be judged, as a note says.
    """

    graphs: Tuple[GraphReport, ...]
    notes: Tuple[str, ...] = ()
    is_complete: bool = True

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
            lines += [*graph.lines(color), ""]
        return "\n".join([*lines, *map(printable, self.notes)]).rstrip()

    def to_json(self) -> str:
        """Return the JSON form: that of an audit, with the steps of each graph and `notes`."""
        document = {
            "version": VERSION,
            "reports": [graph.to_dict() for graph in self.graphs],
            "errors": [],
            "notes": list(self.notes),
        }
        return json.dumps(document, indent=2)

    def to_sarif(self) -> str:
        """Return the findings as SARIF 2.1.0."""
        return format_reports(self.reports, "sarif")

    def to_html(self) -> str:
        """Return a page with the timeline of each graph, if it has one, and the findings."""
        return html.page(
            [(graph.report, list(graph.remarks())) for graph in self.graphs], self.notes
        )


def _step_lines(graph: GraphReport) -> Iterator[str]:
    others = [step for step in graph.steps if step.kind == OTHER]
    steps = [step for step in graph.steps if step.kind != OTHER]
    rows = [
        (f"{step.runs} x", _cut(step.label), _where(step.location), step.summary)
        for step in steps[:_SHOWN_STEPS]
    ]
    if others:
        noun = "another step" if len(others) == 1 else f"{len(others)} other steps"
        text = f"{noun}, {_WITHOUT_LAYER}"
        rows.append((f"{sum(step.runs for step in others)} x", text, "", ""))
    widths = [max(map(len, column)) for column in zip(*rows)]
    for number, label, where, summary in rows:
        cells = (number.rjust(widths[0]), label.ljust(widths[1]), where.ljust(widths[2]), summary)
        yield "  ".join(cells).rstrip()
    hidden = sum(step.runs for step in steps[_SHOWN_STEPS:])
    if hidden:
        yield f"and {count(hidden, 'run')} of more steps (--json has all)"
    yield from (f"and {line}" for line in graph.unjudged_lines())


def _short(name: str) -> str:
    """Return the name of a tensor as most people write it, without the port 0."""
    return name[:-2] if name.endswith(":0") else name


def _cut(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else f"{label[: _LONGEST_LABEL - 3]}..."


def _where(location: Optional[Location]) -> str:
    return "" if location is None else printable(str(location._replace(function="", text="")))
