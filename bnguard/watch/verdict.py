"""What one step does to the running statistics, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterator, List, Sequence, Tuple

from bnguard.analysis.dataflow.reachability import closure
from bnguard.analysis.findings import Finding
from bnguard.analysis.formatters.lines import count
from bnguard.analysis.ir.op_types import RESTORES, SAVES
from bnguard.analysis.rules import (
    batch_statistics_at_inference,
    statistics_written_at_inference,
    unordered_statistics_read,
)
from bnguard.analysis.scenario.step import Step
from bnguard.analysis.scenario.step_kinds import INFERS, LOADS, OTHER, SAVES_VARIABLES, kind_of
from bnguard.analysis.scenario.training_flags import TrainingFlag
from bnguard.analysis.timeline import reader, takes_moments

RULES_AT_INFERENCE = (
    statistics_written_at_inference,
    unordered_statistics_read,
    batch_statistics_at_inference,
)
"""The modules of the rules that judge an inference step by itself."""


@dataclass(frozen=True)
class Verdict:
    """What a step does.

    Attributes:
      kind: one of the kinds of `step_kinds`.
      read: the statistics that the fetched values, or the gradients that are applied, are computed
        from.
      written: the statistics that the step writes, or may write.
      unordered: those that it reads and writes in no order.
      batch_moments: the ops of the layers that normalize with the moments of their batch, or, in
        training, compute them.
    """

    kind: str
    read: Tuple[str, ...] = ()
    written: Tuple[str, ...] = ()
    unordered: Tuple[str, ...] = ()
    batch_moments: Tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.kind == LOADS:
            return f"loads {count(len(self.written), 'statistic')}"
        parts = {"writes": self.written, "reads unordered": self.unordered}
        texts = [
            f"{verb} {count(len(names), 'statistic')}" for verb, names in parts.items() if names
        ]
        if self.kind == INFERS and self.batch_moments:
            texts.append(f"uses batch moments in {count(len(self.batch_moments), 'layer')}")
        return "; ".join([self.kind, *texts])


def judge(step: Step, flags: Sequence[TrainingFlag]) -> Verdict:
    """Return what a step does.

    Args:
      step: the step.
      flags: the training flags of its graph.
    """
    kind = kind_of(step, flags)
    statistics, names = step.recognized.statistics, step.recognized.graph.names
    written = tuple(item.name for item in statistics if step.effects(item))
    if kind in (SAVES_VARIABLES, LOADS, OTHER):
        return Verdict(kind, written=written)
    layers = step.recognized.normalizations
    return Verdict(
        kind,
        tuple(item.name for item in statistics if reader(step, item) is not None),
        written,
        tuple(finding.variable for finding in unordered_statistics_read.check_step(step)),
        tuple(names[layer.node] for layer in layers if takes_moments(step, layer, kind)),
    )


def findings_at_inference(step: Step) -> Iterator[Finding]:
    """Yield what the rules about one inference step find in this one."""
    for rule in RULES_AT_INFERENCE:
        yield from rule.check_step(step)


def savers(step: Step) -> Tuple[str, ...]:
    """Return an op that runs all that a Saver saves, for each Saver that the step uses.

    The ops of a Saver have a scope of their own. One that restores may never have saved.
    """
    graph = step.recognized.graph
    used = filter(step.execution.needs, graph.of_types(SAVES | RESTORES))
    scopes = dict.fromkeys(graph.names[node].rpartition("/")[0] + "/" for node in used)
    saves: Dict[str, List[int]] = {scope: [] for scope in scopes}
    for node in graph.of_types(SAVES):
        saves.get(graph.names[node].rpartition("/")[0] + "/", []).append(node)
    last = []
    for scope, nodes in saves.items():
        after = [
            node for node in closure(nodes, graph.consumers) if graph.names[node].startswith(scope)
        ]
        last += [max(after, key=graph.ranks.__getitem__)] if after else []
    return tuple(graph.names[node] for node in last)
