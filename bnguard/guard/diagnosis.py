"""Explain from an audit of the recorded runs why statistics changed, or did not change."""

from __future__ import annotations

from math import inf
from typing import Any, Dict, List, Sequence

import tensorflow.compat.v1 as tf

from bnguard.analysis.findings import Finding
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.recognition.writes import Write
from bnguard.analysis.rules import statistics_never_written, statistics_written_at_inference
from bnguard.analysis.scenario.step import Step
from bnguard.analysis.scenario.step_kinds import TRAINS, UPDATES, kind_of
from bnguard.analysis.scenario.training_flags import find_training_flags
from bnguard.analysis.scenario.update_remedy import UpdateRemedy
from bnguard.guard.errors import Moved, Unmoved
from bnguard.guard.run_key import RunKey
from bnguard.guard.run_recorder import RecordedRuns
from bnguard.statistics import StatisticsDiff
from bnguard.statistics.graph_discovery import LiveStatistic, structure_of


class Diagnosis:
    """Audits of a graph's steps, limited to some of its running statistics.

    Args:
      graph: the graph; ops that are added to it later are ignored.
      statistics: the running statistics to explain.
    """

    def __init__(self, graph: tf.Graph, statistics: Sequence[LiveStatistic]) -> None:
        self._recognized = structure_of(graph).recognized
        self._full_names = {
            part.name: statistic.name for statistic in statistics for part in statistic.parts
        }
        self._first_parts = {statistic.name: statistic.parts[0].name for statistic in statistics}

    def findings(self, run_key: RunKey) -> Dict[str, Finding]:
        """Return the BN101 finding of each statistic that a step writes, or may write."""
        found: Dict[str, Finding] = {}
        for finding in statistics_written_at_inference.check_step(
            audited_step(self._recognized, run_key)
        ):
            if finding.variable in self._full_names:
                found.setdefault(self._full_names[finding.variable], finding)
        return found

    def trains(self, run_key: RunKey) -> bool:
        """Return whether a step trains: it applies gradients, or runs update ops alone."""
        step = audited_step(self._recognized, run_key)
        return kind_of(step, find_training_flags(self._recognized)) in (TRAINS, UPDATES)

    def explain_changes(self, difference: StatisticsDiff, runs: RecordedRuns) -> List[Moved]:
        """Return each variable that changed, with the audit's findings in these runs."""
        moved = [Moved(change.name, change.absolute) for change in difference.changed]
        for reshaped in difference.reshaped:
            types = f"{reshaped.before} became {reshaped.after}"
            moved.append(Moved(reshaped.name, inf, reshaped=types))
        found: Dict[str, Dict[Any, Finding]] = {variable.variable: {} for variable in moved}
        for run_key in runs:
            for name, finding in self.findings(run_key).items():
                # Runs that differ only in a fed counter have the same cause.
                found.get(name, {}).setdefault((run_key.fetches, finding.op), finding)
        return [
            variable._replace(findings=tuple(found[variable.variable].values()))
            for variable in moved
        ]

    def explain_unmoved(self, names: Sequence[str], runs: RecordedRuns) -> List[Unmoved]:
        """Return each of these variables with the reason why the runs did not change it."""
        updates: Dict[str, List[Write]] = {name: [] for name in names}
        advice: Dict[str, str] = {}
        steps = [audited_step(self._recognized, run_key) for run_key in runs.completed()]
        for statistic in self._recognized.statistics:
            name = self._full_names.get(statistic.name)
            if name in updates:
                updates[name] += statistic.updates
                if not statistic.updates or self._is_unshared(statistic, steps):
                    advice[name] = statistics_never_written.advice(self._recognized, statistic)
        unreached = [
            write.node
            for writes in updates.values()
            if not _reach_any(steps, writes)
            for write in writes
        ]
        remedy = self._remedy(unreached, steps) if unreached and steps else ""
        return [
            self._unmoved(name, updates[name], steps, advice.get(name, remedy)) for name in names
        ]

    def _is_unshared(self, statistic: Statistic, steps: Sequence[Step]) -> bool:
        """Return whether no step runs its layer, but other statistics move with its weights."""
        layers = [layer.node for layer in statistic.sources]
        is_run = any(step.execution.needs(node) for step in steps for node in layers)
        return (
            not is_run
            and not _reach_any(steps, statistic.updates)
            and statistics_never_written.shares_weights(self._recognized, statistic)
        )

    def _unmoved(
        self, name: str, updates: Sequence[Write], steps: Sequence[Step], remedy: str
    ) -> Unmoved:
        recognized = self._recognized
        nodes = [update.node for update in updates]
        place = nodes[0] if nodes else recognized.graph.find(self._first_parts[name])
        return Unmoved(
            name,
            _why_unmoved(updates, steps, remedy),
            tuple(map(recognized.graph.names.__getitem__, nodes)),
            None if place is None else recognized.location(place),
        )

    def _remedy(self, updates: Sequence[int], steps: Sequence[Step]) -> str:
        statistics = [
            statistic
            for statistic in self._recognized.statistics
            if any(write.node in updates for write in statistic.updates)
        ]
        flags = {flag.tensor.node for flag in find_training_flags(self._recognized)}
        return UpdateRemedy(self._recognized, steps, flags).text(statistics)


def audited_step(recognized: RecognizedGraph, run_key: RunKey) -> Step:
    """Return the step of a `Session.run`, for the rules."""
    feeds = {recognized.tensor(name): value for name, value in run_key.feeds}
    fetches = [
        recognized.tensor(name) if ":" in name else recognized.operation(name)
        for name in run_key.fetches
    ]
    return Step.of_fetches(recognized, str(run_key), fetches, feeds)


def _why_unmoved(updates: Sequence[Write], steps: Sequence[Step], remedy: str) -> str:
    ran = "; ".join(step.fetch for step in steps)
    if not updates:
        return f"no op in the graph updates it. {remedy}"
    if not steps:
        return "no step completed in the block. Train inside the block, with session.run"
    if not _reach_any(steps, updates):
        return f"no step reaches its update op; steps that ran: {ran}. {remedy}"
    nodes = [update.node for update in updates]
    if not any(step.execution.may_run(node) for step in steps for node in nodes):
        return (
            f"its update op is in a branch that no step takes; steps that ran: {ran}. "
            "Check the value fed to the training flag, or move the update out of the branch"
        )
    conditions = filter(None, (step.condition([node]) for step in steps for node in nodes))
    condition = next(conditions, "")
    if condition:
        return (
            f"its update op runs only if {condition}; steps that ran: {ran}. Set or feed that in "
            "training"
        )
    return (
        f"its update op is reached but does not change the value; steps that ran: {ran}. "
        "Check the training flag, and that decay is below 1"
    )


def _reach_any(steps: Sequence[Step], updates: Sequence[Write]) -> bool:
    return any(step.execution.needs(update.node) for step in steps for update in updates)
