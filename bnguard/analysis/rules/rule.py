"""The rule: its code, documentation and check, and the factory of its findings."""

from __future__ import annotations

from dataclasses import dataclass, replace
import re
from typing import Callable, Iterator, Optional

from bnguard.analysis import limits
from bnguard.analysis.findings import ALREADY_TRAINED, NOTE, Finding
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.scenario.scenario import Scenario
from bnguard.analysis.scenario.step import Step

_CHARACTERS_AT_ONCE = 64  # of a text, which are copied in the time of a visit to a node


@dataclass(frozen=True)
class Rule:
    """A rule.

    Attributes:
      code: the stable code, such as BN101.
      module: the name of the module that defines the rule; its last part names the defect.
      documentation: Markdown, with the sections in `SECTIONS`.
      severity: ERROR, WARNING or NOTE, of a finding unless it says otherwise.
      remedy: what to do about a finding, unless it says otherwise.
      check: yields the findings in a scenario.
      about: what a finding is about, in the singular.
      is_rescuable: whether a remedy ends with what to do about a checkpoint already trained.
    """

    code: str
    module: str
    documentation: Optional[str]
    severity: str
    remedy: str
    check: Callable[[Scenario], Iterator[Finding]]
    about: str = "running statistic"
    is_rescuable: bool = False

    @property
    def name(self) -> str:
        """The name of the defect, such as statistics-written-at-inference."""
        return self.module.rpartition(".")[2].replace("_", "-")

    @property
    def summary(self) -> str:
        """The first sentence of "What it does"; empty if the documentation has none."""
        pattern = r"^## What it does\n(.*?\.)\s"
        found = re.search(pattern, self.documentation or "", re.DOTALL | re.MULTILINE)
        return " ".join(found.group(1).split()) if found else ""

    def finding(
        self,
        recognized: RecognizedGraph,
        problem: str,
        node: int,
        statistic: Optional[Statistic] = None,
        step: Optional[Step] = None,
        path_to: Optional[int] = None,
        certain: bool = True,
        variable: str = "",
        layer: str = "",
        fetch: str = "",
        severity: str = "",
        remedy: str = "",
        condition: str = "",
        is_data: bool = False,
    ) -> Finding:
        """Return a finding of this rule.

        Args:
          recognized: the graph.
          problem: what is wrong, without the name of the variable.
          node: the op at fault.
          statistic: the running statistic that it concerns, if there is one.
          step: the step in which it happens, if it is about one step.
          path_to: the node to which the path leads from the fetch of `step`; None for no path.
          certain: False if it depends on a branch that the analysis cannot decide.
          variable: the variable that it concerns, where there is no statistic.
          layer: the scope of the layer that it concerns, where there is no statistic.
          fetch: what is fetched or run, where it is about several steps.
          severity: the severity, if it is not the one of the rule.
          remedy: what to do, if it is not the remedy of the rule.
          condition: what it depends on, if it is not certain and that has a name.
          is_data: whether the path is that of the value of `path_to`.
        """
        path = () if step is None or path_to is None else step.path(path_to, is_data)
        limits.spend(2 * len(path) + (len(problem) + len(remedy)) // _CHARACTERS_AT_ONCE)
        return Finding(
            rule=self.code,
            severity=severity or self.severity,
            certain=certain,
            variable=statistic.name if statistic else variable,
            layer=statistic.layer if statistic else layer,
            op=recognized.graph.names[node],
            path=path,
            fetch=step.fetch if step else fetch,
            problem=f"{problem}, if {condition}" if condition else problem,
            remedy=self._remedy(remedy or self.remedy, severity or self.severity),
            condition=condition,
            location=recognized.location(node),
        )

    def _remedy(self, remedy: str, severity: str) -> str:
        if not self.is_rescuable or severity == NOTE:
            return remedy
        return f"{remedy}. {ALREADY_TRAINED}"


def as_note(finding: Finding, fetch: str) -> Finding:
    """Return a finding about an inference step as a note: the program may not take that step."""
    problem = finding.problem.replace(f"when {fetch} is fetched", f"if you infer with {fetch}")
    return replace(
        finding,
        severity=NOTE,
        problem=f"{problem}; nothing in this graph turns that off",
        remedy="If you infer from another graph, this does not concern you; `bnguard run PROGRAM` "
        f"tells what your program does. {finding.remedy}",
    )
