"""Entry points: the train ops and the outputs of a graph, inferred from its structure."""

from __future__ import annotations

from collections import Counter
from typing import AbstractSet, Iterable, List, Mapping, NamedTuple, Sequence, Set

from bnguard.analysis import limits
from bnguard.analysis.dataflow.reachability import closure, data_closure
from bnguard.analysis.ir.graph import Graph, Tensor
from bnguard.analysis.recognition.normalizations import Normalization
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.analysis.scenario.network_ends import NetworkEnds


def find_train_ops(recognized: RecognizedGraph) -> List[int]:
    """Return the ops that run a training step; each applies gradients that no other applies."""
    graph, appliers = recognized.graph, recognized.appliers
    if not appliers:
        return recognized.collection("train_op")[-1:]
    after = closure(appliers, graph.consumers)
    sinks = [node for node in after if not graph.consumers[node]]
    return _cover(graph, sinks, appliers)


class Outputs(NamedTuple):
    """What inference fetches.

    Attributes:
      inference: the outputs of networks that a training flag controls, or that are not trained.
      possible: outputs of trained networks that nothing turns to inference. A program that infers
        from this graph fetches such a one; another infers from another graph.
    """

    inference: List[int]
    possible: List[int]


def find_outputs(
    recognized: RecognizedGraph, train_ops: Sequence[int], flags: Sequence[int]
) -> Outputs:
    """Return what inference fetches: where the networks end, before labels enter.

    Args:
      recognized: the graph.
      train_ops: its training steps.
      flags: its training flags.
    """
    graph = recognized.graph
    networks = NetworkEnds(recognized)
    layers = {layer.node for layer in recognized.normalizations}
    run = closure(train_ops, graph.sources)
    behind = _behind_gradients(recognized, run)
    trained = layers & behind
    users = Counter(
        variable for layer in recognized.normalizations for variable in set(layer.variables)
    )
    predictions = {
        end
        for end in networks.predictions
        if not trained or not _is_unused(recognized, networks.lone_layers(end), users, behind, run)
    }
    by_preference = (predictions, networks.inputs_of_losses, networks.losses)
    controlled = networks.after(flags)
    inference = controlled | (networks.after(layers - trained) - networks.after(trained))
    if flags and controlled.isdisjoint(set().union(*by_preference)):
        inference = set().union(*by_preference)  # the flag only decides on updates
    updates = recognized.update_ops
    of_batch = {layer.node for layer in recognized.normalizations if layer.moments} | updates
    chosen: List[int] = []
    for ends in by_preference if flags else ():
        chosen = _cover(graph, ends & controlled, layers | updates, chosen)
    for ends in by_preference:
        chosen = _cover(graph, ends & inference, of_batch if flags else layers | updates, chosen)
    left = trained - controlled
    known = closure(chosen, graph.sources) if left else set()
    uncontrolled = _uncontrolled(recognized, left, known)
    possible: List[int] = []
    if uncontrolled:
        between = networks.between(left) if len(train_ops) > 1 else set()
        for ends in (between, *by_preference):
            possible = _cover(graph, ends - inference, uncontrolled, possible)
    return Outputs(chosen, possible)


def _is_unused(
    recognized: RecognizedGraph,
    layers: Sequence[Normalization],
    users: Mapping[int, int],
    behind: Set[int],
    run: Set[int],
) -> bool:
    """Return whether layers that nothing follows have no output that is of use.

    It is so if training runs only their updates; or if they are given tensors of the network that
    is trained, and share no variable with a layer of that: what is left over of an experiment.

    Args:
      recognized: the graph.
      layers: the layers.
      users: how many layers each variable is one of.
      behind: the nodes that gradients are computed from.
      run: the nodes that training runs.
    """
    limits.spend(len(layers))
    own = Counter(variable for layer in layers for variable in set(layer.variables))
    is_shared = any(users[variable] > count for variable, count in own.items())
    return bool(layers) and all(
        layer.node not in behind
        and (
            any(moment.node in run for moment in layer.moments)
            or (not is_shared and _is_given(recognized, layer, behind))
        )
        for layer in layers
    )


def _is_given(recognized: RecognizedGraph, layer: Normalization, nodes: Set[int]) -> bool:
    """Return whether what a layer normalizes comes from `nodes`."""
    roots = [recognized.provenance.root(Tensor(node, 0)).node for node in layer.normalized]
    return bool(roots) and nodes.issuperset(roots)


def _uncontrolled(
    recognized: RecognizedGraph, trained: AbstractSet[int], known: AbstractSet[int]
) -> Set[int]:
    """Return the trained layers that use their batch, and no layer of a known output stands for.

    A layer stands for another if it uses its variables, as in a second network for inference.
    """
    layers = recognized.normalizations
    shared = {variable for layer in layers if layer.node in known for variable in layer.variables}
    found: Set[int] = set()
    for layer in layers:
        if layer.node in trained and layer.moments and shared.isdisjoint(layer.variables):
            found.add(layer.node)
            shared.update(layer.variables)
    return found


def _behind_gradients(recognized: RecognizedGraph, run: Set[int]) -> Set[int]:
    """Return the nodes that training computes gradients from, or all that it runs."""
    appliers = recognized.appliers & run
    return data_closure(recognized.graph, appliers) if appliers else run


def _cover(
    graph: Graph,
    candidates: Iterable[int],
    wanted: AbstractSet[int],
    earlier: Sequence[int] = (),
) -> List[int]:
    """Choose the candidates, last first, that each need some of `wanted` that no other needs.

    The result begins with the nodes that were chosen earlier.
    """
    last_first = sorted(candidates, key=graph.ranks.__getitem__, reverse=True)
    chosen = list(earlier)
    if not chosen and len(last_first) == 1:
        return last_first
    seen = closure(chosen, graph.sources) if last_first else set()
    for candidate in last_first:
        needs_new = False
        stack = [] if candidate in seen else [candidate]
        seen.update(stack)
        while stack:
            node = stack.pop()
            needs_new = needs_new or node in wanted
            for source in graph.sources[node]:
                if source not in seen:
                    seen.add(source)
                    stack.append(source)
        if needs_new:
            chosen.append(candidate)
    if len(chosen) > limits.STEPS:
        limits.STEPS.reach()
    return chosen[: limits.STEPS]
