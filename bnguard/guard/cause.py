"""The cause: what the audit of the steps that ran says about the statistics that moved or not."""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Sequence

from bnguard.audit.conditions import ALWAYS
from bnguard.audit.effects import Effects
from bnguard.audit.execution import Execution
from bnguard.audit.variables import Write as AuditedWrite
from bnguard.guard.errors import Moved, Still, Write
from bnguard.guard.steps import Step, Steps
from bnguard.statistics import StatisticsDiff
from bnguard.statistics.live import LiveStatistic
from bnguard.statistics.structure import model_of
import tensorflow.compat.v1 as tf


class _Run(NamedTuple):
    step: Step
    execution: Execution
    effects: Effects


class Auditor:
    """Audits steps of one graph, as to some of its running statistics.

    Args:
      graph: the graph; ops that are added to it later are not seen.
      statistics: the ones in question.
    """

    def __init__(self, graph: tf.Graph, statistics: Sequence[LiveStatistic]) -> None:
        self._model = model_of(graph)
        whole = {part.name: one.name for one in statistics for part in one.parts}
        self._writes: Dict[str, List[AuditedWrite]] = {one.name: [] for one in statistics}
        self._updates: Dict[str, List[AuditedWrite]] = {one.name: [] for one in statistics}
        for one in self._model.statistics:
            if one.name in whole:
                self._writes[whole[one.name]] += one.writes
                self._updates[whole[one.name]] += one.updates

    def writes(self, step: Step) -> Dict[str, Write]:
        """How a step writes each statistic that it changes, or may change."""
        run = self._run(step)
        found = {}
        for name, writes in self._writes.items():
            effective = [
                one.node
                for one in writes
                if run.execution.may_run(one.node) and run.effects.changes(one)
            ]
            if effective:
                certain = [one for one in effective if run.execution.condition(one) == ALWAYS]
                found[name] = self._described(run, (certain or effective)[0], bool(certain))
        return found

    def explain_changes(self, difference: StatisticsDiff, steps: Steps) -> List[Moved]:
        """Each variable that changed, with what wrote it in these steps."""
        writes = [self.writes(step) for step in steps]
        return [
            Moved(one.name, one.absolute, tuple(w[one.name] for w in writes if one.name in w))
            for one in difference.changed
        ]

    def explain_stillness(self, names: Sequence[str], steps: Steps) -> List[Still]:
        """Each of these variables, with the reason why these steps did not move it."""
        runs = [self._run(step) for step in steps]
        return [Still(name, self._why_still(self._updates[name], runs)) for name in names]

    def _run(self, step: Step) -> _Run:
        model = self._model
        feeds = {model.tensor(name): value for name, value in step.feeds}
        fetches = [
            model.tensor(name) if ":" in name else model.operation(name) for name in step.fetches
        ]
        execution = Execution(model.graph, fetches, feeds)
        return _Run(step, execution, Effects(execution))

    def _described(self, run: _Run, node: int, certain: bool) -> Write:
        names, types = self._model.graph.names, self._model.graph.types
        path = " <- ".join(f"{names[one]} ({types[one]})" for one in run.execution.path(node))
        return Write(str(run.step), names[node], path, certain)

    def _why_still(self, updates: Sequence[AuditedWrite], runs: Sequence[_Run]) -> str:
        ops = ", ".join(self._model.graph.names[one.node] for one in updates)
        ran = "; ".join(str(run.step) for run in runs)
        if not updates:
            return "nothing in the graph updates it. Build its layer for training, too"
        if not runs:
            return "no step ran in the block. Train inside it, by session.run"
        if not any(run.execution.needs(one.node) for run in runs for one in updates):
            return (
                f"no step reaches its update op {ops}; these ran: {ran}. Make the train op depend "
                "on the collection UPDATE_OPS, or use updates_collections=None"
            )
        if not any(run.execution.may_run(one.node) for run in runs for one in updates):
            return (
                f"its update op {ops} is in a branch that the step does not take; these ran: "
                f"{ran}. Feed the training flag, and make the ops inside the branch part of it"
            )
        return (
            f"its update op {ops} is reached, but leaves the value as it is; these ran: {ran}. "
            "Check the training flag, and that decay is below 1"
        )
