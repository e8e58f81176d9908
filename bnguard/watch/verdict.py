"""What one step does to the running statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Sequence, Set, Tuple

from bnguard.analysis.findings import Finding
from bnguard.analysis.ir.op_types import RESTORES, SAVES
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.analysis.rules import (
    batch_statistics_at_inference,
    statistics_written_at_inference,
    unordered_statistics_read,
)
from bnguard.analysis.scenario.step import Step
from bnguard.analysis.scenario.training_flags import TrainingFlag

TRAINS, UPDATES, INFERS, SAVES_VARIABLES, OTHER = "trains", "updates", "infers", "saves", "other"
"""The kinds of steps. `updates` runs only update ops that the program fetches by name, or feeds a
training flag in a graph without an optimizer. `other` runs no layer, such as an initialization."""

_EDGES_TO_UPDATE = 3  # from what stands for an update in a collection, such as a group, to it


@dataclass(frozen=True)
class Verdict:
    """What a step does.

    Attributes:
      kind: one of the kinds above.
      written: the statistics that the step writes, or may write.
      unordered: those that it reads and writes in no order.
      batch_moments: the ops of the layers that normalize with the moments of their batch.
      findings: the findings of the rules about a step that does not train.
    """

    kind: str
    written: Tuple[str, ...] = ()
    unordered: Tuple[str, ...] = ()
    batch_moments: Tuple[str, ...] = ()
    findings: Tuple[Finding, ...] = ()

    def __str__(self) -> str:
        parts = [
            *(_counted("writes", self.written, "statistic")),
            *(_counted("reads unordered", self.unordered, "statistic")),
            *(_counted("uses batch moments in", self.batch_moments, "layer")),
        ]
        return "; ".join([self.kind, *parts])


def judge(step: Step, flags: Sequence[TrainingFlag]) -> Verdict:
    """Return what a step does, with the findings about it if it infers.

    Args:
      step: the step.
      flags: the training flags of its graph.
    """
    kind = _kind(step, flags)
    names = step.recognized.graph.names
    written = [item.name for item in step.recognized.statistics if step.effects(item)]
    if kind in (SAVES_VARIABLES, OTHER):
        return Verdict(kind, tuple(written))
    unordered = list(unordered_statistics_read.check_step(step))
    layers = [layer for layer in step.recognized.normalizations if step.uses_moments(layer)]
    findings: List[Finding] = []
    if kind == INFERS:
        findings += statistics_written_at_inference.check_step(step)
        findings += unordered
        findings += batch_statistics_at_inference.check_step(step)
    return Verdict(
        kind,
        tuple(written),
        tuple(finding.variable for finding in unordered),
        tuple(names[layer.node] for layer in layers),
        tuple(findings),
    )


def _kind(step: Step, flags: Sequence[TrainingFlag]) -> str:
    recognized, execution = step.recognized, step.execution
    fetched = {tensor.node for tensor in execution.fetches}
    train_ops = set(recognized.collection("train_op"))
    if any(map(execution.needs, recognized.appliers)) or not fetched.isdisjoint(train_ops):
        return TRAINS
    if any(map(execution.needs, recognized.graph.of_types(SAVES))):
        return SAVES_VARIABLES
    if not any(map(execution.may_run, [layer.node for layer in recognized.normalizations])):
        return OTHER
    if not recognized.appliers and any(
        execution.feeds.get(flag.tensor) is flag.training for flag in flags
    ):
        return UPDATES  # nothing else is trained in this graph
    return UPDATES if fetched <= _update_ops(recognized) else INFERS


def _update_ops(recognized: RecognizedGraph) -> Set[int]:
    """Return the update ops, what stands for one in UPDATE_OPS, and groups of these alone."""
    graph = recognized.graph
    updates = {write.node for item in recognized.statistics for write in item.updates}
    updates.update(recognized.collection("update_ops"))
    for _ in range(_EDGES_TO_UPDATE):
        consumers = {taker for node in updates for taker in graph.consumers[node]}
        updates.update(
            node
            for node in consumers
            if graph.types[node] in ("NoOp", "Identity") and updates.issuperset(graph.sources[node])
        )
    return updates


def savers(step: Step) -> Tuple[str, ...]:
    """Return an op that saves for each Saver that the step saves or restores with.

    The ops of a Saver have a scope of their own.
    """
    graph = step.recognized.graph
    saves = graph.of_types(SAVES)
    used = {node for node in saves if step.execution.needs(node)}
    restores = filter(step.execution.needs, graph.of_types(RESTORES))
    scopes = tuple({graph.names[node].partition("/")[0] + "/" for node in restores})
    used.update(node for node in saves if scopes and graph.names[node].startswith(scopes))
    return tuple(graph.names[node] for node in sorted(used))


def _counted(verb: str, names: Tuple[str, ...], noun: str) -> Tuple[str, ...]:
    plural = "" if len(names) == 1 else "s"
    return (f"{verb} {len(names)} {noun}{plural}",) if names else ()
