"""Reports: the audit of one graph, with its forms for people and programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Dict, Tuple

from bnguard.analysis.findings import Assumptions, Finding, defects, group
from bnguard.analysis.formatters import format_reports
from bnguard.analysis.timeline import NO_TIMELINE, Timeline


@dataclass(frozen=True, repr=False)
class Report:
    """The audit of one graph. `print` shows what the command line shows.

    Attributes:
      source: the path, with the tags if the file contains several graphs.
      nodes: the number of nodes in the graph, without those of expanded functions.
      statistics: the names of the running statistics.
      assumed: what was inferred from the graph.
      findings: by rule, in the graph's order.
      limits: the limits of the analysis that were reached, and what followed.
      timeline: what each step does to each layer, for pages; empty unless it was asked for.
      path: the path of the file; empty for a graph in memory.
      copies: the paths of other files with the same graph, which are not reported themselves.
      known: the number of further findings, which a baseline lets pass.
      configured_by: the path of the configuration file that applies; empty if there is none.
    """

    source: str
    nodes: int
    statistics: Tuple[str, ...]
    assumed: Assumptions
    findings: Tuple[Finding, ...]
    limits: Tuple[str, ...] = ()
    timeline: Timeline = NO_TIMELINE
    path: str = ""
    copies: Tuple[str, ...] = ()
    known: int = 0
    configured_by: str = ""

    @property
    def ok(self) -> bool:
        """Whether no defect was found; notes do not count."""
        return not defects(self.findings)

    def to_dict(self) -> Dict[str, Any]:
        """Return the JSON form, as lists, dicts, strings, numbers and bools."""
        return {
            "source": self.source,
            "nodes": self.nodes,
            "statistics": list(self.statistics),
            "assumed": asdict(self.assumed),
            "findings": [finding.to_dict() for finding in self.findings],
            "limits": list(self.limits),
            "copies": list(self.copies),
            "known": self.known,
            "configured_by": self.configured_by,
        }

    def to_json(self) -> str:
        """Return an object as text whose list `reports` has the JSON form of this one."""
        return format_reports([self], "json")

    def to_sarif(self) -> str:
        """Return the report as SARIF 2.1.0, for code scanning services."""
        return format_reports([self], "sarif")

    def __str__(self) -> str:
        return format_reports([self], "text")

    def __repr__(self) -> str:
        count = len(group(defects(self.findings)))
        return f"Report({self.source!r}, {len(self.statistics)} statistics, {count} defects)"
