"""One step: what a Session evaluates for some fetches and feeds.

Where constants alone decide a branch, TensorFlow's optimizer may cut the dead branch off before the
step runs, and with it what only this branch needs. Whether such a node runs is undecided.
"""

from __future__ import annotations

from typing import AbstractSet, Dict, FrozenSet, List, Mapping, Optional, Sequence, Set, Tuple

from bnguard.analysis.dataflow.constant_folding import StaticValue
from bnguard.analysis.dataflow.constant_propagation import ConstantPropagation
from bnguard.analysis.dataflow.deadness import Deadness
from bnguard.analysis.dataflow.predicates import ALWAYS, NEVER, UNDECIDED, Predicate
from bnguard.analysis.dataflow.pruning import Pruning, next_towards_fetches
from bnguard.analysis.ir.graph import CONTROL, LOOP_ENDS, MERGES, Graph, Tensor
from bnguard.analysis.ir.op_types import SELECTS, SWITCHES, VALUELESS

_MANY = 64  # inputs of a node, among which some may be equal


class Execution:
    """One step.

    Args:
      graph: the graph.
      fetches: the tensors that are fetched, or the ops (port CONTROL) that are run.
      feeds: the value of each tensor that is fed; None for a value that is not known.
      pruning: the pruning for these fetches and feeds, if there is one already.
      outlets: nodes that use their inputs if the step runs them, as the fetches do.

    Attributes:
      graph, fetches, feeds: the arguments.
    """

    def __init__(
        self,
        graph: Graph,
        fetches: Sequence[Tensor],
        feeds: Mapping[Tensor, StaticValue],
        pruning: Optional[Pruning] = None,
        outlets: AbstractSet[int] = frozenset(),
    ) -> None:
        self.graph = graph
        self.fetches = tuple(fetches)
        self.feeds = dict(feeds)
        self._pruning = Pruning(graph, self.fetches, self.feeds) if pruning is None else pruning
        self._outlets = outlets
        self._deadness = Deadness(self._pruning, self.feeds)
        self._constants = ConstantPropagation(graph, self.feeds, self._deadness.is_dead)
        self._removable = _removable(self._pruning, self.fetches, self.feeds)
        # Computed when first asked for:
        self._used: Optional[Set[int]] = None
        self._certainly_used: Optional[Set[int]] = None
        self._next_on_path: Optional[Dict[int, int]] = None
        self._next_by_data: Optional[Dict[int, int]] = None

    def with_feeds(self, feeds: Mapping[Tensor, StaticValue]) -> Execution:
        """Return the step with the same fetches and other feeds."""
        pruning = self._pruning if feeds.keys() == self.feeds.keys() else None
        return Execution(self.graph, self.fetches, feeds, pruning, self._outlets)

    def needs(self, node: int) -> bool:
        """Return whether the fetches need `node`, whether it is dead or not."""
        return self._pruning.needs(node)

    def predicate(self, node: int) -> Predicate:
        """Return the predicate under which the step runs `node`."""
        if not self._pruning.needs(node):
            return NEVER
        predicate = self._deadness.of_node(node)
        return UNDECIDED if predicate is not NEVER and node in self._removable else predicate

    def may_run(self, node: int) -> bool:
        """Return whether the step runs `node` for some outcome of the undecided branches."""
        return self.predicate(node) is not NEVER

    def inputs(self, node: int) -> List[Tuple[Tensor, Predicate]]:
        """Return the data inputs that can reach `node`, and when, without those that are fed."""
        return [
            (tensor, self._deadness.of_output(*tensor))
            for tensor in self._pruning.data_inputs(node)
            if not self._deadness.is_dead(*tensor)
        ]

    def predecessors(self, node: int) -> Sequence[int]:
        """Return the inputs that `node` waits for, data and control, without those that are fed.

        A Merge does not wait for a dead input, nor for the back edge of a loop, which reaches it in
        the next iteration.
        """
        sources, is_cut = self.graph.sources[node], self._pruning.is_cut
        is_merge = self.graph.types[node] in MERGES
        if not is_merge and self._pruning.fed_nodes.isdisjoint(sources):
            return sources
        edges = [edge for edge in zip(sources, self.graph.ports[node]) if not is_cut(*edge)]
        if is_merge:
            edges = [
                (source, port)
                for source, port in edges
                if self.graph.types[source] not in LOOP_ENDS
                and (port == CONTROL or not self._deadness.is_dead(source, port))
            ]
        return [source for source, _ in edges]

    def value(self, tensor: Tensor) -> StaticValue:
        """Return the value of every element in every iteration, or None if it is not known."""
        return self._constants.value(tensor)

    def selector_origin(self, tensor: Tensor) -> Tuple[Tensor, bool]:
        """Return the tensor that a selector comes from, and whether it is negated on the way."""
        return self._constants.selector_origin(tensor)

    def uses(self, node: int) -> bool:
        """Return whether a value from `node` can reach a fetch or an outlet by data edges alone."""
        if self._used is None:
            self._used = self._data_slice(certainly=False)
        return node in self._used

    def certainly_uses(self, node: int) -> bool:
        """Return whether it reaches one of them for every outcome of the undecided branches."""
        if self._certainly_used is None:
            self._certainly_used = self._data_slice(certainly=True)
        return node in self._certainly_used

    def path(self, node: int, longest: int) -> List[int]:
        """Return the nodes of a shortest path from a fetch back to `node`, which it needs.

        A path with more than `longest` nodes is cut to those that are nearest to `node`.
        """
        if self._next_on_path is None:
            self._next_on_path = next_towards_fetches(self._pruning)
        return _followed(self._next_on_path, node, longest)

    def data_path(self, node: int, longest: int) -> List[int]:
        """Return such a path along which the value of `node`, which it uses, reaches a fetch.

        Where it reaches only an outlet, the path goes on from there to a fetch.
        """
        if self._next_by_data is None:
            self._next_by_data = self._next_along_data()
        path = _followed(self._next_by_data, node, longest)
        return [*self.path(path[0], longest - len(path) + 1), *path[1:]]

    def _ends(self, certainly: bool) -> List[int]:
        """Return the fetched nodes, and the outlets that the step may run, or certainly runs."""
        outlets = (node for node in sorted(self._outlets) if self.may_run(node))
        ends = [node for node in outlets if not certainly or self.predicate(node) == ALWAYS]
        return list(dict.fromkeys([*self._pruning.roots, *ends]))

    def _next_along_data(self) -> Dict[int, int]:
        queue = self._ends(certainly=False)
        seen = set(queue)
        following: Dict[int, int] = {}
        for node in queue:  # grows while it is iterated: breadth first
            for source, port in self._value_inputs(node, certainly=False):
                if source not in seen and not self._deadness.is_dead(source, port):
                    seen.add(source)
                    following[source] = node
                    queue.append(source)
        return following

    def _data_slice(self, certainly: bool) -> Set[int]:
        used = set(self._ends(certainly))
        stack = list(used)
        while stack:
            inputs = self._value_inputs(stack.pop(), certainly)
            for tensor in inputs if len(inputs) < _MANY else dict.fromkeys(inputs):
                value: Optional[Tensor] = tensor
                while value is not None and self._can_use(value, certainly):
                    passed_on = self._passed_on(value)
                    if value.node not in used and passed_on is None:
                        stack.append(value.node)
                    used.add(value.node)
                    value = passed_on
        return used

    def _can_use(self, tensor: Tensor, certainly: bool) -> bool:
        reaches = self._deadness.of_output(*tensor)
        return reaches == ALWAYS if certainly else reaches is not NEVER

    def _passed_on(self, tensor: Tensor) -> Optional[Tensor]:
        """Return the one input that a lowered node passes on as this output, unless it is fed."""
        if tensor.node not in self.graph.lowered:
            return None
        inputs = self.graph.data_inputs(tensor.node)
        is_passed_on = tensor.port < len(inputs) and not self._pruning.is_cut(*inputs[tensor.port])
        return inputs[tensor.port] if is_passed_on else None

    def _value_inputs(self, node: int, certainly: bool) -> List[Tensor]:
        """Return the inputs that the value of a node is made of, without selectors."""
        op_type, inputs = self.graph.types[node], self.graph.data_inputs(node)
        if op_type in VALUELESS:
            inputs = []
        elif op_type in SWITCHES:
            inputs = inputs[:1]
        elif op_type in SELECTS:
            choice = self.value(inputs[0])
            if choice is not None:
                inputs = [inputs[1 if choice else 2]]
            elif certainly:
                inputs = inputs[:1]
        return [tensor for tensor in inputs if not self._pruning.is_cut(*tensor)]


def _followed(following: Mapping[int, int], node: int, longest: int) -> List[int]:
    path = [node]
    while path[-1] in following and len(path) < longest:
        path.append(following[path[-1]])
    return path[::-1]


def _removable(
    pruning: Pruning, fetches: Sequence[Tensor], feeds: Mapping[Tensor, StaticValue]
) -> FrozenSet[int]:
    """Return the needed nodes that the optimizer may remove before the step runs."""
    graph = pruning.graph
    defaults = [Tensor(node, 0) for node in graph.of_types(["PlaceholderWithDefault"])]
    if not _has_constant_selector(pruning, defaults):
        return frozenset()
    unknown = dict.fromkeys([*feeds, *defaults])  # the optimizer does not know what is fed
    optimized = Pruning(graph, fetches, unknown)
    kept = _live_slice(optimized, Deadness(optimized, unknown))
    return frozenset(node for node in pruning.needed() if node not in kept)


def _has_constant_selector(pruning: Pruning, defaults: Sequence[Tensor]) -> bool:
    constants = ConstantPropagation(pruning.graph, dict.fromkeys(defaults))
    origins = {
        constants.selector_origin(selector)[0]
        for selector, switches in pruning.graph.decided_by.items()
        if any(map(pruning.needs, switches))
    }
    return any(constants.value(origin) is not None for origin in origins)


def _live_slice(pruning: Pruning, deadness: Deadness) -> Set[int]:
    """Return the nodes that the roots need by edges along which something can come."""
    graph = pruning.graph
    live = set(pruning.roots)
    stack = list(live)
    while stack:
        node = stack.pop()
        for source, port in zip(graph.sources[node], graph.ports[node]):
            if source in live or deadness.is_dead(source, port) or pruning.is_cut(source, port):
                continue
            live.add(source)
            stack.append(source)
    return live
