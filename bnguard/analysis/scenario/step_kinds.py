"""What a step that a program took is for: training, inference, or something else."""

from __future__ import annotations

from typing import Iterator, Sequence, Set

from bnguard.analysis.dataflow.reachability import data_closure
from bnguard.analysis.ir.op_types import PLACEHOLDERS, SAVES, is_optimizer
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.analysis.scenario.step import Step
from bnguard.analysis.scenario.training_flags import TrainingFlag

TRAINS, UPDATES, INFERS = "trains", "updates", "infers"
SAVES_VARIABLES, LOADS, OTHER = "saves", "loads", "other"
"""The kinds of steps. `updates` runs only update ops that the program fetches by name, or, in a
graph without an optimizer, feeds a training flag. `loads` runs no layer and gives statistics other
values, as an initializer or a restoring Saver does. `other` runs no layer either."""

_EDGES_TO_UPDATE = 3  # from what stands for an update in a collection, such as a group, to it


def kind_of(step: Step, flags: Sequence[TrainingFlag]) -> str:
    """Return the kind of a step.

    Args:
      step: the step, with the feeds that the program gave.
      flags: the training flags of its graph.
    """
    recognized, execution = step.recognized, step.execution
    fetched = {tensor.node for tensor in execution.fetches}
    train_ops = recognized.collection("train_op")
    if any(map(execution.may_run, recognized.appliers)) or not fetched.isdisjoint(train_ops):
        return TRAINS
    if not fetched.isdisjoint(recognized.gradients.nodes) and _applies_fed_gradients(recognized):
        return TRAINS
    if any(map(execution.needs, recognized.graph.of_types(SAVES))):
        return SAVES_VARIABLES
    if not any(map(execution.may_run, _nodes_of_layers(recognized))):
        return LOADS if any(map(step.effects, recognized.statistics)) else OTHER
    if not recognized.appliers and any(
        execution.feeds.get(flag.tensor) is flag.training for flag in flags
    ):
        return UPDATES  # nothing else is trained in this graph
    return UPDATES if fetched <= _update_ops(recognized) else INFERS


def _applies_fed_gradients(recognized: RecognizedGraph) -> bool:
    """Return whether an optimizer takes what the program feeds, after it fetched the gradients."""
    graph, gradients = recognized.graph, recognized.gradients.nodes
    of_optimizers = filter(is_optimizer, list(graph.present_types()))
    optimizers = recognized.appliers & set(graph.of_types(of_optimizers))
    placeholders = set(graph.of_types(PLACEHOLDERS))
    behind = (data_closure(graph, [optimizer]) for optimizer in optimizers)
    return any(gradients.isdisjoint(nodes) and placeholders & nodes for nodes in behind)


def _nodes_of_layers(recognized: RecognizedGraph) -> Iterator[int]:
    """Yield the nodes that normalize, and those of moments, which may be run for updates alone."""
    for layer in recognized.normalizations:
        yield layer.node
        yield from (moment.node for moment in layer.moments)


def _update_ops(recognized: RecognizedGraph) -> Set[int]:
    """Return the update ops, what stands for one in UPDATE_OPS, and groups of these alone."""
    graph = recognized.graph
    updates = recognized.update_ops.union(recognized.collection("update_ops"))
    for _ in range(_EDGES_TO_UPDATE):
        consumers = {taker for node in updates for taker in graph.consumers[node]}
        updates.update(
            node
            for node in consumers
            if graph.types[node] in ("NoOp", "Identity") and updates.issuperset(graph.sources[node])
        )
    return updates
