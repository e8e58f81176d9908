"""What the audit says, as data: rules make findings, renderers take them and nothing else."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Dict, List, NamedTuple, Tuple

ERROR, WARNING = "error", "warning"


class Op(NamedTuple):
    """An op on a path."""

    name: str
    type: str


@dataclass(frozen=True)
class Finding:
    """One defect of one variable.

    Attributes:
      rule: the rule's code.
      severity: ERROR or WARNING.
      certain: False if it depends on a predicate that the audit could not decide.
      variable: the running statistic; empty if the finding is not about one.
      layer: the scope of the layer that it concerns; may be empty.
      op: the op at fault; may be empty.
      path: from the fetched op back to the one at fault; may be empty.
      fetch: what the step in question fetches or runs; may be empty.
      problem: what is wrong, in words that do not name the variable, so that findings with
        one cause can be put together.
      remedy: what to do.
    """

    rule: str
    severity: str
    certain: bool
    variable: str
    layer: str
    op: str
    path: Tuple[Op, ...]
    fetch: str
    problem: str
    remedy: str

    @property
    def message(self) -> str:
        """The whole of it, in a line."""
        return f"{self.variable or self.op}: {self.problem}. {self.remedy}"

    def as_json(self) -> Dict[str, Any]:
        """The JSON form; `path` is a list of objects with `name` and `type`."""
        fields = {**asdict(self), "path": [op._asdict() for op in self.path]}
        return {**fields, "message": self.message}


@dataclass(frozen=True)
class Assumptions:
    """What was not said and therefore found in the graph; empty where it was said.

    Attributes:
      flags: `NAME = value at inference`, of each training flag.
      fetches: what an inference step fetches, one step for each.
      train_ops: what a training step runs, one step for each.
      unknown: which of "fetch" and "train op" nobody said, and the graph does not tell either.
    """

    flags: Tuple[str, ...] = ()
    fetches: Tuple[str, ...] = ()
    train_ops: Tuple[str, ...] = ()
    unknown: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """The audit of one graph.

    Attributes:
      source: the path, with the tags where a file holds several graphs.
      nodes: how many nodes the graph has, functions not expanded.
      statistics: the names of its running statistics.
      assumed: see there.
      findings: by rule, in the graph's order.
    """

    source: str
    nodes: int
    statistics: Tuple[str, ...]
    assumed: Assumptions
    findings: Tuple[Finding, ...]

    def as_json(self) -> Dict[str, Any]:
        """The JSON form."""
        return {
            "source": self.source,
            "nodes": self.nodes,
            "statistics": list(self.statistics),
            "assumed": asdict(self.assumed),
            "findings": [finding.as_json() for finding in self.findings],
        }


def group(findings: Tuple[Finding, ...]) -> List[Tuple[Finding, ...]]:
    """Put together the findings that have one cause, in the order of the first of each."""
    groups: Dict[Tuple, List[Finding]] = {}
    for finding in findings:
        cause = (finding.rule, finding.certain, finding.fetch, finding.problem)
        groups.setdefault(cause, []).append(finding)
    return [tuple(members) for members in groups.values()]
