"""Network ends: the tensors that a program may fetch as the output of a network.

A network consists of its layers and of what their values flow to, along data edges, but not into
gradients, shapes and summaries. It ends where labels enter. Its ends are

* predictions: the nodes whose values flow no further, such as a softmax or an argmax;
* losses: those among them that have a gradient, or that labels meet without being a prediction;
* what losses are made of: the nodes that labels meet first; in a loss without labels, the last that
  compute with weights, with the activation that follows them.
"""

from __future__ import annotations

from itertools import chain
import re
from typing import AbstractSet, Dict, Iterable, List, Set

from bnguard.analysis import limits
from bnguard.analysis.dataflow.reachability import closure, data_flow
from bnguard.analysis.ir.graph import CONTROL, MERGES
from bnguard.analysis.ir.op_types import ADDITIONS, ARITHMETIC, MADE_OF_FIRST, VALUELESS, is_write
from bnguard.analysis.recognition.gradients import Differentiated
from bnguard.analysis.recognition.normalizations import Normalization
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.analysis.scenario.data_sources import data_sources

_SUMMARY_TYPE = re.compile(r"\w*Summary(V2)?")
_WEIGHTED_TYPE = re.compile(
    r"(Batch|Sparse)?MatMul(V\d)?|(Depthwise)?Conv\d?[dD]\w*|Einsum|BiasAdd(V1)?|Add(V2)?"
)
_PRODUCT_TYPE = re.compile(r"(Batch|Sparse)?MatMul(V\d)?|(Depthwise)?Conv\d?[dD]\w*|Einsum")
_ACTIVATION_TYPE = re.compile(
    r"\w*(Relu|Relu6|Elu|Selu|Softplus|Softsign|Sigmoid|Tanh|Softmax)|Identity"
)
_PREDICTION_TYPE = re.compile(r"(Log)?Softmax|Sigmoid|Tanh|ArgMax|TopK(V2)?")
_LOGARITHMS = frozenset(["Log", "Log1p"])
_IN_LOGARITHMS = _LOGARITHMS | ADDITIONS | frozenset(["Maximum", "Minimum", "Neg", "Sub"])
_REDUCTIONS = frozenset(["Mean", "Max", "Sum"])
_PASS_GRADIENTS = ADDITIONS | frozenset(["AddN", "Identity"])
_WITHIN_LAYERS = ARITHMETIC | MADE_OF_FIRST | MERGES


class NetworkEnds:
    """The networks of a graph, and where they end.

    Args:
      recognized: the graph.

    Attributes:
      predictions, inputs_of_losses, losses: the ends that a Session can fetch.
    """

    def __init__(self, recognized: RecognizedGraph) -> None:
        self._recognized = recognized
        self._graph = recognized.graph
        op_types = list(self._graph.present_types())
        ending = set(self._graph.of_types(filter(_ends_flow, op_types)))
        self._closed = recognized.backward | ending
        self._layers = {layer.node: layer for layer in recognized.normalizations}
        inner = self._closed | recognized.gradients.nodes
        labels = [node for node in _label_consumers(recognized) if not self._leads_to_weights(node)]
        after_labels = data_flow(self._graph, labels, closed=inner)
        self._nodes = self.after(self._layers) - after_labels
        self._nodes -= self._only_averaged(after_labels)
        last = self._last_nodes()
        losses = self._in_losses(last, after_labels)
        made_of = self._made_of(losses, after_labels) if losses else set()
        self.predictions = set(filter(self._can_be_fetched, last - losses))
        self.inputs_of_losses = set(filter(self._can_be_fetched, made_of))
        self.losses = set(filter(self._can_be_fetched, losses))

    def after(self, starts: Iterable[int], until: AbstractSet[int] = frozenset()) -> Set[int]:
        """Return the nodes that values flow to from `starts`; `until` as in `data_flow`."""
        return data_flow(self._graph, starts, closed=self._closed, until=until)

    def _leads_to_weights(self, node: int) -> bool:
        """Return whether data enters the network here, before further weights, and no labels."""
        types = self._graph.types
        return any(
            _PRODUCT_TYPE.fullmatch(types[after])
            and any(map(self._recognized.provenance.variables, self._graph.data_inputs(after)))
            for after in self.after([node])
        )

    def lone_layers(self, end: int) -> List[Normalization]:
        """Return the layers whose own output an end is, without anything after them."""
        stack, seen = [end], {end}
        while stack:
            node = stack.pop()
            if node not in self._layers:
                if self._graph.types[node] not in _WITHIN_LAYERS:
                    return []
                unseen = self._inputs(node).difference(seen)
                seen |= unseen
                stack += unseen
        limits.spend(len(seen))
        return [self._layers[node] for node in sorted(self._layers.keys() & seen)]

    def between(self, layers: AbstractSet[int]) -> Set[int]:
        """Return the activations that alone carry on what some of `layers` compute.

        Such as the image that a generator gives to a discriminator.
        """
        activations = [
            node
            for node in self._graph.of_types(["Sigmoid", "Tanh"])
            if node in self._nodes and self._can_be_fetched(node)
        ]
        if len(activations) > limits.ACTIVATIONS:
            limits.ACTIVATIONS.reach()
        return {
            node for node in activations[: limits.ACTIVATIONS] if self._is_between(node, layers)
        }

    def _is_between(self, node: int, layers: AbstractSet[int]) -> bool:
        beyond = self.after([node]) - {node}
        before = self._before([node]).intersection(layers)
        if not before or layers.isdisjoint(beyond):
            return False
        return beyond.isdisjoint(data_flow(self._graph, before, closed=self._closed | {node}))

    def _can_be_fetched(self, node: int) -> bool:
        """Return whether a node is no gradient, and in the graph itself.

        A Session cannot fetch what is in a function.
        """
        recognized = self._recognized
        return node < recognized.loaded.nodes and node not in recognized.gradients.nodes

    def _only_averaged(self, after_labels: AbstractSet[int]) -> Set[int]:
        """Return the nodes whose values flow into variables only, as an average's do."""
        graph = self._graph
        writes = graph.of_types(filter(is_write, list(graph.present_types())))
        found: Set[int] = set()
        others = self._nodes | after_labels
        takers: Dict[int, int] = {}  # how many of the others take the value of a node
        stack = [source for write in writes for source in self._inputs(write)]
        while stack:
            node = stack.pop()
            if node not in takers:
                near = others.intersection(graph.consumers[node])
                takers[node] = sum(graph.takes_data(taker, node) for taker in near)
            if not takers[node] and node not in found:
                found.add(node)
                others.discard(node)
                for source in self._inputs(node):
                    if source in takers:
                        takers[source] -= 1
                    stack.append(source)
        return found

    def _last_nodes(self) -> Set[int]:
        """Return the nodes whose values flow no further in the network."""
        graph = self._graph
        # A node without control inputs takes the value of each source. Few nodes are left to check.
        rows = [graph.sources[node] for node in self._nodes if CONTROL not in graph.ports[node]]
        likely = self._nodes.difference(chain.from_iterable(rows))
        return {
            node
            for node in likely
            if not any(
                consumer in self._nodes and graph.takes_data(consumer, node)
                for consumer in graph.consumers[node]
            )
        }

    def _in_losses(self, last: Set[int], after_labels: AbstractSet[int]) -> Set[int]:
        """Return those of the last nodes that belong to a loss."""
        if self._recognized.gradients.nodes:
            differentiated = Differentiated(self._graph, self._recognized.gradients)
            return {node for node in last if self._has_gradient(node, differentiated)}
        met = self._taken_by(after_labels) & last
        return {node for node in met if not _PREDICTION_TYPE.fullmatch(self._graph.types[node])}

    def _has_gradient(self, node: int, differentiated: Differentiated) -> bool:
        """Return whether a node has a gradient.

        The gradient of a sum, or of an Identity, is that of its output, and makes no node. Such
        a node has one if nothing else can have given its inputs theirs.
        """
        if node in differentiated:
            return True
        stack, seen = [node], {node}
        while stack:
            current = stack.pop()
            if current in differentiated:
                if not any(taker in differentiated for taker in self._graph.consumers[current]):
                    return True
            elif self._graph.types[current] in _PASS_GRADIENTS:
                unseen = self._inputs(current).difference(seen)
                seen |= unseen
                stack += unseen
        return False

    def _made_of(self, losses: AbstractSet[int], after_labels: AbstractSet[int]) -> Set[int]:
        """Return the nodes of the network that losses are made of."""
        met = self._taken_by(after_labels)
        following = {consumer for node in met for consumer in self._graph.consumers[node]}
        first = met - self.after(following & self._nodes)
        with_labels = losses & self.after(first)
        found = set(map(self._before_logarithm, first & self._before(with_labels)))
        others = losses - with_labels
        weighted = set(filter(self._is_weighted, self._nodes)) if others else set()
        last = self._before(others, weighted) & weighted
        return found.union(map(self._with_activation, last) if last else others)

    def _before_logarithm(self, node: int) -> int:
        """Return the probability that a logarithm is taken of; `node` if it takes none.

        Return also what the reshape of a loss function is given.
        """
        graph = self._graph
        types = _IN_LOGARITHMS if graph.types[node] in _LOGARITHMS else frozenset()
        scope = graph.names[node].rpartition("/")[0]
        takers = (graph.names[consumer] for consumer in graph.consumers[node])
        if graph.types[node] == "Reshape" and scope and scope in takers:
            types = frozenset(["Reshape"])
        while graph.types[node] in types and len(self._inputs(node)) == 1:
            (node,) = self._inputs(node)
        return node

    def _taken_by(self, consumers: AbstractSet[int]) -> Set[int]:
        """Return the nodes of the network whose values any of `consumers` takes."""
        graph = self._graph
        sources = (tensor.node for node in consumers for tensor in graph.data_inputs(node))
        return self._nodes.intersection(sources)

    def _before(self, starts: Iterable[int], ends: AbstractSet[int] = frozenset()) -> Set[int]:
        """Return `starts` and what is before them in the network, up to `ends`."""
        before = set(starts)
        stack = list(before - ends)
        while stack:
            for source in self._inputs(stack.pop()).difference(before):
                before.add(source)
                if source not in ends:
                    stack.append(source)
        limits.spend(len(before))
        return before

    def _inputs(self, node: int) -> Set[int]:
        """Return the nodes of the network whose values a node takes."""
        graph = self._graph
        found = self._nodes.intersection(graph.sources[node])
        if found and CONTROL in graph.ports[node]:
            found.intersection_update(tensor.node for tensor in graph.data_inputs(node))
        return found

    def _is_weighted(self, node: int) -> bool:
        """Return whether a node computes with a variable, or is a layer that does."""
        if not _WEIGHTED_TYPE.fullmatch(self._graph.types[node]):
            return False
        inputs = self._graph.data_inputs(node)
        return any(
            self._recognized.provenance.variables(tensor)
            for tensor in inputs
            if tensor.node not in self._nodes
        )

    def _with_activation(self, node: int) -> int:
        """Return the last of the activations and poolings after a node that nothing else takes."""
        while True:
            following = [
                consumer
                for consumer in dict.fromkeys(self._graph.consumers[node])
                if consumer in self._nodes and self._graph.takes_data(consumer, node)
            ]
            if len(following) != 1 or not self._keeps_rows(following[0]):
                return node
            (node,) = following

    def _keeps_rows(self, node: int) -> bool:
        """Return whether a node is an activation, or reduces each row of a batch by itself."""
        op_type, inputs = self._graph.types[node], self._graph.data_inputs(node)
        if op_type in _REDUCTIONS and len(inputs) > 1:
            axes = self._recognized.provenance.origins(inputs[1]).only
            found = None if axes is None else self._graph.constant_list(axes.node)
            return found is not None and 0 not in (found or [0])
        return _ACTIVATION_TYPE.fullmatch(op_type) is not None


def _ends_flow(op_type: str) -> bool:
    is_summary = _SUMMARY_TYPE.fullmatch(op_type) is not None
    return op_type in VALUELESS or is_write(op_type) or is_summary


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
