"""Which steps a program takes with a graph: found in its structure, where nobody says."""

from __future__ import annotations

from itertools import chain
import re
from typing import AbstractSet, Iterable, List, Sequence, Set

from bnguard.analysis import limits
from bnguard.analysis.dataflow.reachability import closure, data_flow
from bnguard.analysis.ir.graph import CONTROL, Graph
from bnguard.analysis.ir.op_types import ENTERS, EXITS, is_write
from bnguard.analysis.ir.protos import DATA_TYPES
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph

_SUMMARY_TYPE = re.compile(r"\w*Summary(V2)?")
_SOURCE_TYPE = re.compile(
    r"Placeholder\w*|IteratorGetNext\w*|\w*Dequeue\w*|Parse\w*Example\w*|Reader\w+|Unstage"
)
# These take the shape of a tensor or wait for it, and do not hand on its value.
VALUELESS = frozenset(["NoOp", "OnesLike", "Rank", "Shape", "ShapeN", "Size", "ZerosLike"])


def find_train_ops(recognized: RecognizedGraph) -> List[int]:
    """The ops that take a training step, each applying gradients that no other applies."""
    graph, appliers = recognized.graph, recognized.appliers
    if not appliers:
        return recognized.collection("train_op")[-1:]
    after = closure(appliers, graph.consumers)
    sinks = [node for node in after if not graph.consumers[node]]
    return _cover(graph, sinks, appliers)


def find_outputs(
    recognized: RecognizedGraph, train_ops: Sequence[int], flags: Sequence[int]
) -> List[int]:
    """What inference fetches: where the networks end, before labels come in.

    Args:
      model: the graph.
      train_ops: its training steps.
      flags: its training flags. With one, the networks that depend on it are meant; without,
        only a network beside the one that is trained can be meant for inference.
    """
    graph = recognized.graph
    layers = {one.node for one in recognized.normalizations}
    flow = _Flow(graph, recognized.backward)
    trained: Set[int] = set()
    if train_ops and not flags:
        trained = _trained_layers(recognized, train_ops)
    network = flow.after(layers - trained)
    network -= flow.after(trained) | trained
    network -= flow.after(_label_consumers(recognized))
    # What is in a function is not there for a Session to fetch.
    ends = {node for node in flow.ends(network) if node < recognized.loaded.nodes}
    updates = {write.node for one in recognized.statistics for write in one.updates}
    return _cover(graph, ends & flow.after(flags, until=ends) or ends, (layers - trained) | updates)


def inside_loops(graph: Graph) -> Set[int]:
    """The nodes of loops: from their entries to their exits, these among them."""
    return closure(graph.of_types(ENTERS), graph.consumers, set(graph.of_types(EXITS)))


class _Flow:
    """Where values flow forward: by data edges, and not into gradients, shapes and summaries."""

    def __init__(self, graph: Graph, backward: AbstractSet[int]) -> None:
        self._graph = graph
        kinds = list(graph.present_types())
        self._closed = backward | set(graph.of_types(filter(_hands_nothing_on, kinds)))

    def after(self, starts: Iterable[int], until: AbstractSet[int] = frozenset()) -> Set[int]:
        """The nodes that values flow to from `starts`; `until` is as in `walks.data_flow`."""
        return data_flow(self._graph, starts, closed=self._closed, until=until)

    def ends(self, network: Set[int]) -> Set[int]:
        """The nodes from which no value flows on in `network`, nor into a variable."""
        sources, ports = self._graph.sources, self._graph.ports
        # What is taken by a node that waits for nothing is no end; few are left to ask one by one.
        rows = [sources[node] for node in network if CONTROL not in ports[node]]
        likely = network.difference(chain.from_iterable(rows))
        return {node for node in likely if self._ends_at(node, network)}

    def _ends_at(self, node: int, network: Set[int]) -> bool:
        return not any(
            self._graph.takes_data(one, node)
            and (one in network or is_write(self._graph.types[one]))
            for one in self._graph.consumers[node]
        )


def _hands_nothing_on(kind: str) -> bool:
    return bool(kind in VALUELESS or is_write(kind) or _SUMMARY_TYPE.fullmatch(kind))


def _trained_layers(recognized: RecognizedGraph, train_ops: Sequence[int]) -> Set[int]:
    """The normalizations that the training steps run, be it only for the batch's moments."""
    before = closure(train_ops, recognized.graph.sources)
    return {
        one.node
        for one in recognized.normalizations
        if one.node in before or any(moment.node in before for moment in one.moments)
    }


def _label_consumers(recognized: RecognizedGraph) -> List[int]:
    """The nodes that take in what does not come from where the layers' inputs come from."""
    graph, found = recognized.graph, []
    layers = (node for one in recognized.normalizations for node in (one.node, *one.normalized))
    before = closure(layers, graph.sources)
    for source in data_sources(graph):
        edges = [
            (consumer, edge[1])
            for consumer in dict.fromkeys(graph.consumers[source])
            for edge in zip(graph.sources[consumer], graph.ports[consumer])
            if edge[0] == source
        ]
        inputs = {port for consumer, port in edges if consumer in before}
        found += [consumer for consumer, port in edges if port not in inputs]
    return found


def data_sources(graph: Graph) -> List[int]:
    """The nodes that data comes in by: placeholders and the outlets of input pipelines."""
    kinds = [kind for kind in graph.present_types() if _SOURCE_TYPE.fullmatch(kind)]
    return [node for node in graph.of_types(kinds) if not _is_setting(graph, node)]


def _is_setting(graph: Graph, source: int) -> bool:
    """Whether it is a flag, a rate or the like, not data."""
    attributes = graph.attributes(source)
    shape = attributes["shape"].shape
    is_scalar = "shape" in attributes and not shape.dim and not shape.unknown_rank
    return is_scalar or attributes["dtype"].type == DATA_TYPES["DT_BOOL"]


def _cover(graph: Graph, candidates: Iterable[int], wanted: AbstractSet[int]) -> List[int]:
    """Of `candidates`, the last first, those that need some of `wanted` that no other needs.

    Each of them needs at least one of `wanted`.
    """
    last_first = sorted(candidates, key=graph.ranks.__getitem__, reverse=True)
    if len(last_first) == 1:
        return last_first
    chosen: List[int] = []
    seen: Set[int] = set()
    for candidate in last_first:
        new = False
        stack = [] if candidate in seen else [candidate]
        seen.update(stack)
        while stack:
            node = stack.pop()
            new = new or node in wanted
            for source in graph.sources[node]:
                if source not in seen:
                    seen.add(source)
                    stack.append(source)
        if new:
            chosen.append(candidate)
    return chosen[: limits.STEPS]
