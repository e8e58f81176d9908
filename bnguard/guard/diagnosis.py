"""The cause: what the audit of the steps that ran says about the statistics that moved or not."""

from __future__ import annotations

from math import inf
from typing import Any, Dict, List, Sequence

import tensorflow.compat.v1 as tf

from bnguard.analysis.dataflow.execution import Execution
from bnguard.analysis.findings import Finding
from bnguard.analysis.recognition.writes import Write
from bnguard.analysis.rules import statistics_written_at_inference
from bnguard.analysis.scenario.step import Step
from bnguard.guard.errors import Moved, Still
from bnguard.guard.run_key import RunKey
from bnguard.guard.run_recorder import RecordedRuns
from bnguard.statistics import StatisticsDiff
from bnguard.statistics.graph_discovery import LiveStatistic, structure_of


class Diagnosis:
    """Audits steps of one graph, as to some of its running statistics.

    Args:
      graph: the graph; ops that are added to it later are not seen.
      statistics: the ones in question.
    """

    def __init__(self, graph: tf.Graph, statistics: Sequence[LiveStatistic]) -> None:
        self._recognized = structure_of(graph).recognized
        self._whole = {part.name: one.name for one in statistics for part in one.parts}

    def findings(self, step: RunKey) -> Dict[str, Finding]:
        """What rule BN101 says of each statistic that a step writes, or may write."""
        found: Dict[str, Finding] = {}
        for finding in statistics_written_at_inference.check_step(self._audited(step)):
            if finding.variable in self._whole:
                found.setdefault(self._whole[finding.variable], finding)
        return found

    def explain_changes(self, difference: StatisticsDiff, steps: RecordedRuns) -> List[Moved]:
        """Each variable that changed, with what the audit finds in these steps."""
        moved = [Moved(one.name, one.absolute) for one in difference.changed]
        for one in difference.reshaped:
            moved.append(Moved(one.name, inf, reshaped=f"{one.before} became {one.after}"))
        found: Dict[str, Dict[Any, Finding]] = {one.variable: {} for one in moved}
        for step in steps:
            for name, finding in self.findings(step).items():
                # Steps that differ in a counter that is fed have one cause.
                found.get(name, {}).setdefault((step.fetches, finding.op), finding)
        return [one._replace(findings=tuple(found[one.variable].values())) for one in moved]

    def explain_stillness(self, names: Sequence[str], steps: RecordedRuns) -> List[Still]:
        """Each of these variables, with the reason why these steps did not move it."""
        updates: Dict[str, List[Write]] = {name: [] for name in names}
        for one in self._recognized.statistics:
            name = self._whole.get(one.name)
            if name in updates:
                updates[name] += one.updates
        audited = [self._audited(step) for step in steps.whole()]
        return [Still(name, self._why_still(updates[name], audited)) for name in names]

    def _audited(self, step: RunKey) -> Step:
        recognized = self._recognized
        feeds = {recognized.tensor(name): value for name, value in step.feeds}
        fetches = [
            recognized.tensor(name) if ":" in name else recognized.operation(name)
            for name in step.fetches
        ]
        return Step(recognized, str(step), Execution(recognized.graph, fetches, feeds))

    def _why_still(self, updates: Sequence[Write], steps: Sequence[Step]) -> str:
        ops = ", ".join(self._recognized.graph.names[one.node] for one in updates)
        ran = "; ".join(step.fetch for step in steps)
        if not updates:
            return "nothing in the graph updates it. Build its layer for training, too"
        if not steps:
            return "no step ran to its end in the block. Train inside it, by session.run"
        if not any(step.execution.needs(one.node) for step in steps for one in updates):
            return (
                f"no step reaches its update op {ops}; these ran: {ran}. Make the train op depend "
                "on the collection UPDATE_OPS, or use updates_collections=None"
            )
        if not any(step.execution.may_run(one.node) for step in steps for one in updates):
            return (
                f"its update op {ops} is in a branch that the step does not take; these ran: "
                f"{ran}. Feed the training flag, or move the update out of the branch"
            )
        return (
            f"its update op {ops} is reached, but leaves the value as it is; these ran: {ran}. "
            "Check the training flag, and that decay is below 1"
        )
