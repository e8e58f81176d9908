"""Entry points: the train ops and the outputs of a graph, inferred from its structure."""

from __future__ import annotations

from itertools import chain
import re
from typing import AbstractSet, Iterable, List, Sequence, Set

from bnguard.analysis import limits
from bnguard.analysis.dataflow.reachability import closure, data_flow
from bnguard.analysis.ir.graph import CONTROL, Graph
from bnguard.analysis.ir.op_types import VALUELESS, is_write
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.analysis.scenario.data_sources import data_sources

_SUMMARY_TYPE = re.compile(r"\w*Summary(V2)?")


def find_train_ops(recognized: RecognizedGraph) -> List[int]:
    """Return the ops that run a training step; each applies gradients that no other applies."""
    graph, appliers = recognized.graph, recognized.appliers
    if not appliers:
        return recognized.collection("train_op")[-1:]
    after = closure(appliers, graph.consumers)
    sinks = [node for node in after if not graph.consumers[node]]
    return _cover(graph, sinks, appliers)


def find_outputs(
    recognized: RecognizedGraph, train_ops: Sequence[int], flags: Sequence[int]
) -> List[int]:
    """Return what inference fetches: where the networks end, before labels enter.

    Args:
      recognized: the graph.
      train_ops: its training steps.
      flags: its training flags. If there are any, inference uses the networks that depend on them.
        Otherwise it can only use a network that is not trained.
    """
    graph = recognized.graph
    layers = {layer.node for layer in recognized.normalizations}
    flow = _ValueFlow(graph, recognized.backward)
    trained: Set[int] = set()
    if train_ops and not flags:
        trained = _trained_layers(recognized, train_ops)
    network = flow.after(layers - trained)
    network -= flow.after(trained) | trained
    network -= flow.after(_label_consumers(recognized))
    # A Session cannot fetch what is in a function.
    ends = {node for node in flow.ends(network) if node < recognized.loaded.nodes}
    updates = {write.node for statistic in recognized.statistics for write in statistic.updates}
    return _cover(graph, ends & flow.after(flags, until=ends) or ends, (layers - trained) | updates)


class _ValueFlow:
    """Where values flow: along data edges, but not into gradients, shapes and summaries."""

    def __init__(self, graph: Graph, backward: AbstractSet[int]) -> None:
        self._graph = graph
        op_types = list(graph.present_types())
        self._closed = backward | set(graph.of_types(filter(_ends_flow, op_types)))

    def after(self, starts: Iterable[int], until: AbstractSet[int] = frozenset()) -> Set[int]:
        """Return the nodes that values flow to from `starts`; `until` as in `data_flow`."""
        return data_flow(self._graph, starts, closed=self._closed, until=until)

    def ends(self, network: Set[int]) -> Set[int]:
        """Return the nodes of `network` whose values flow neither on in it nor into a variable."""
        sources, ports = self._graph.sources, self._graph.ports
        # A node without control inputs takes the value of each source. Few nodes are left to check.
        rows = [sources[node] for node in network if CONTROL not in ports[node]]
        likely = network.difference(chain.from_iterable(rows))
        return {node for node in likely if self._ends_at(node, network)}

    def _ends_at(self, node: int, network: Set[int]) -> bool:
        return not any(
            self._graph.takes_data(consumer, node)
            and (consumer in network or is_write(self._graph.types[consumer]))
            for consumer in self._graph.consumers[node]
        )


def _ends_flow(op_type: str) -> bool:
    is_summary = _SUMMARY_TYPE.fullmatch(op_type) is not None
    return op_type in VALUELESS or is_write(op_type) or is_summary


def _trained_layers(recognized: RecognizedGraph, train_ops: Sequence[int]) -> Set[int]:
    """Return the normalizations that the training steps run, or compute only the moments of."""
    before = closure(train_ops, recognized.graph.sources)
    return {
        layer.node
        for layer in recognized.normalizations
        if layer.node in before or any(moment.node in before for moment in layer.moments)
    }


def _label_consumers(recognized: RecognizedGraph) -> List[int]:
    """Return the nodes that take data which no layer takes."""
    graph = recognized.graph
    layers = recognized.normalizations
    inputs = (node for layer in layers for node in (layer.node, *layer.normalized))
    before = closure(inputs, graph.sources)
    found: List[int] = []
    for source in data_sources(graph):
        edges = [
            (consumer, port)
            for consumer in dict.fromkeys(graph.consumers[source])
            for edge_source, port in zip(graph.sources[consumer], graph.ports[consumer])
            if edge_source == source
        ]
        layer_ports = {port for consumer, port in edges if consumer in before}
        found += [consumer for consumer, port in edges if port not in layer_ports]
    return found


def _cover(graph: Graph, candidates: Iterable[int], wanted: AbstractSet[int]) -> List[int]:
    """Choose the candidates, last first, that each need some of `wanted` that no other needs."""
    last_first = sorted(candidates, key=graph.ranks.__getitem__, reverse=True)
    if len(last_first) == 1:
        return last_first
    chosen: List[int] = []
    seen: Set[int] = set()
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
