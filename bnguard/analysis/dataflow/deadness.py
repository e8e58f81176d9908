"""What one step runs, given what is fetched and fed: pruning and dead branches, as a Session.

A Session runs the nodes that the fetches need by any edge, where feeds cut edges. Of these, a
node is dead, and does nothing, when any input is; a Merge, when all are; and a Switch makes one
side of it so. Where a predicate's value is known from constants and feeds, the dead side is
known. Where it is not, what follows runs under a condition (see conditions.py).

In a loop, a predicate may differ between iterations. Its value in the first one decides what
surely runs; only a value that no iteration changes decides what surely does not.

Where constants alone decide, TensorFlow's optimizer may cut the dead branch off before the step
runs, and with it what only this branch needs: that is undecided, too.
"""

from __future__ import annotations

from collections import deque
import heapq
from math import inf
from typing import Dict, List, Mapping, Optional, Sequence, Set, Tuple

from bnguard.analysis import limits
from bnguard.analysis.dataflow.constant_folding import StaticValue
from bnguard.analysis.dataflow.constant_propagation import Values
from bnguard.analysis.dataflow.edges import Edges
from bnguard.analysis.dataflow.predicates import (
    ALWAYS,
    NEVER,
    UNDECIDED,
    BranchOutcome,
    Predicate,
    conjunction,
    disjunction,
)
from bnguard.analysis.ir.graph import CONTROL, LOOP_ENDS, MERGES, Graph, Tensor
from bnguard.analysis.ir.op_types import PLACEHOLDERS, SELECTS, SWITCHES


class Execution:
    """One step.

    Attributes:
      graph: what the step is of.
      fetches: the tensors that are fetched, or the ops (port CONTROL) that are run.
      feeds: the value of each tensor that is fed; None where it may be any.
    """

    # `needed` is what pruning for these fetches and feeds comes to, if somebody knows it.
    def __init__(
        self,
        graph: Graph,
        fetches: Sequence[Tensor],
        feeds: Mapping[Tensor, StaticValue],
        needed: Optional[bytearray] = None,
    ) -> None:
        self.graph = graph
        self.fetches = tuple(fetches)
        self.feeds = dict(feeds)
        self._edges = Edges(graph, self.feeds)
        self._values = Values(graph, self.feeds, self._edges)
        self._needed = self._prune() if needed is None else needed
        self._undecided: Optional[List[int]] = None  # a heap of the ranks of nodes to decide
        self._of_rank: Dict[int, int] = {}  # the nodes that are in this heap, or were, by rank
        self._unsure: Set[int] = set()  # the nodes that may not run, and the Switches that do
        self._splits: Dict[Tuple[Tensor, int, Predicate], List[Predicate]] = {}
        self._doubtful: Optional[Set[int]] = None
        self._used: Optional[Set[int]] = None
        self._surely_used: Optional[Set[int]] = None
        self._next_on_path: Optional[Dict[int, int]] = None

    def with_feeds(self, feeds: Mapping[Tensor, StaticValue]) -> Execution:
        """What fetches the same, with other feeds."""
        needed = self._needed if feeds.keys() == self.feeds.keys() else None
        return Execution(self.graph, self.fetches, feeds, needed)

    def needs(self, node: int) -> bool:
        """Whether the fetches need `node`, dead or not."""
        return bool(self._needed[node])

    def predicate(self, node: int) -> Predicate:
        """When the step runs `node`."""
        if not self._needed[node]:
            return NEVER
        self._decide(node)
        predicate = self._edges.nodes.get(node, ALWAYS)
        return UNDECIDED if predicate is not NEVER and node in self._in_doubt() else predicate

    def may_run(self, node: int) -> bool:
        """Whether the step runs `node`, at least for some outcome of undecided predicates."""
        return self.predicate(node) is not NEVER

    def inputs(self, node: int) -> List[Tuple[Tensor, Predicate]]:
        """The data inputs that can reach `node` in this step, and when; not those that are fed."""
        self._decide(node)
        return [
            (tensor, self._edges.predicate(*tensor))
            for tensor in self.graph.data_inputs(node)
            if not self._edges.is_cut(*tensor) and self._edges.reaches(*tensor)
        ]

    def predecessors(self, node: int) -> List[int]:
        """What `node` waits for: its inputs, data and control, but those that are fed.

        A Merge does not wait for a dead input, nor for the back edge of a loop, which it gets in
        another iteration.
        """
        sources = self.graph.sources[node]
        if self.graph.types[node] in MERGES:
            self._decide(node)
            sources = tuple(
                source
                for source, port in zip(sources, self.graph.ports[node])
                if self.graph.types[source] not in LOOP_ENDS
                and (port == CONTROL or self._edges.reaches(source, port))
            )
        fed = self._edges.fed_nodes
        if fed.isdisjoint(sources):
            return list(sources)
        return [one for one in sources if one not in fed or self._is_left(one, node)]

    def value(self, tensor: Tensor) -> StaticValue:
        """What `tensor` is in every element and every iteration, or None if that is not known."""
        self._decide(tensor.node)
        return self._values.always(tensor)

    def uses(self, node: int) -> bool:
        """Whether a value from `node` can get into what is fetched, by data edges alone."""
        if self._used is None:
            self._used = self._data_slice()
        return node in self._used

    def surely_uses(self, node: int) -> bool:
        """Whether it gets there however undecided predicates turn out."""
        if self._surely_used is None:
            self._surely_used = self._data_slice(surely=True)
        return node in self._surely_used

    def path(self, node: int, longest: int) -> List[int]:
        """The nodes from a fetch back to `node`, which it needs, by the fewest edges.

        Of a path with more than `longest` nodes these are the last ones.
        """
        if self._next_on_path is None:
            self._next_on_path = self._walk_back()
        path = [node]
        while path[-1] in self._next_on_path and len(path) < longest:
            path.append(self._next_on_path[path[-1]])
        return path[::-1]

    # Pruning

    def _prune(self) -> bytearray:
        needed = bytearray(len(self.graph))
        stack, sources, types = self._roots(), self.graph.sources, self.graph.types
        # Of a fed placeholder no edge is left. It is marked while walking, so that nothing goes
        # there and no edge need be asked about; it is not needed in the end.
        fed = self._edges.fed_nodes
        passed = {node for node in fed if types[node] in PLACEHOLDERS}.difference(stack)
        fed = fed - passed
        for node in (*stack, *passed):
            needed[node] = 1
        while stack:
            node = stack.pop()
            for source in sources[node]:
                if not needed[source] and (source not in fed or self._is_left(source, node)):
                    needed[source] = 1
                    stack.append(source)
        for node in passed:
            needed[node] = 0
        return needed

    def _roots(self) -> List[int]:
        return list(dict.fromkeys(one.node for one in self.fetches if one not in self.feeds))

    def _is_left(self, source: int, node: int) -> bool:
        """Whether an edge from `source`, of which something is fed, to `node` is left."""
        edges = zip(self.graph.sources[node], self.graph.ports[node])
        return any(edge[0] == source and not self._edges.is_cut(*edge) for edge in edges)

    # Dead branches

    def _decide(self, node: int) -> None:
        """Find the conditions of `node` and of all before it, from the Switches on, in order."""
        graph, needed = self.graph, self._needed
        ranks, consumers = graph.ranks, graph.consumers
        # Before the Merge of a loop is, by its back edge, the loop's body, which ranks above it.
        last = inf if graph.of_types(LOOP_ENDS) else ranks[node]
        if self._undecided is None:
            switches = [one for one in graph.of_types(SWITCHES) if needed[one]]
            self._of_rank.update((ranks[one], one) for one in switches)
            self._undecided = sorted(self._of_rank)
        while self._undecided and self._undecided[0] <= last:
            current = self._of_rank[heapq.heappop(self._undecided)]
            if not self._settle(current):
                self._unsure.add(current)
                for consumer in consumers[current]:
                    rank = ranks[consumer]
                    if needed[consumer] and rank not in self._of_rank:
                        self._of_rank[rank] = consumer
                        heapq.heappush(self._undecided, rank)

    def _settle(self, node: int) -> bool:
        """Set a node's condition, and those of its outputs; False if not all hold for sure."""
        predicate = self._combine(node)
        if predicate != ALWAYS:
            self._edges.nodes[node] = predicate
        if self.graph.types[node] not in SWITCHES or predicate is NEVER:
            return predicate == ALWAYS
        self._edges.outputs[node] = self._split(node, predicate)
        return False

    def _combine(self, node: int) -> Predicate:
        kind = self.graph.types[node]
        if kind in MERGES:
            entries = self._values.entries(node)
            predicates = [self._edges.predicate(*one) for one in entries]
            return ALWAYS if ALWAYS in predicates else disjunction(predicates, node)
        if kind == "ControlTrigger":
            return ALWAYS
        undecided = []
        sources = self.graph.sources[node]
        if self._unsure.isdisjoint(sources):
            return ALWAYS
        for source, port in zip(sources, self.graph.ports[node]):
            if source in self._unsure:
                predicate = self._edges.predicate(source, port)
                if predicate is NEVER:
                    return NEVER
                undecided.append(predicate)
        return conjunction(undecided)

    def _split(self, switch: int, predicate: Predicate) -> List[Predicate]:
        """The conditions of a Switch's outputs: the same wherever one predicate decides."""
        key = self.graph.selector(switch), self._port_count(switch), predicate
        outcomes = self._splits.get(key)
        if outcomes is None:
            outcomes = self._splits[key] = self._outcomes(*key)
        return outcomes

    def _outcomes(self, selector: Tensor, ports: int, predicate: Predicate) -> List[Predicate]:
        known = _selected(self._values.always(selector), ports)
        if known is not None:
            return [predicate if port == known else NEVER for port in range(ports)]
        likely = _selected(self._values.at_first(selector), ports)
        selector_origin, negated = self._values.selector_origin(selector)
        choices = [BranchOutcome(selector_origin, port, ports) for port in range(ports)]
        outcomes = [
            predicate if port == likely else conjunction([predicate, frozenset([choice])])
            for port, choice in enumerate(choices[::-1] if negated else choices)
        ]
        if self.graph.types[selector.node] == "LoopCond" and ports == 2:
            # What leaves the loop does so in the last iteration; the first decides on the body.
            outcomes = [predicate, NEVER if likely == 0 else outcomes[1]]
        return outcomes

    def _port_count(self, switch: int) -> int:
        if self.graph.types[switch] != "_SwitchN":
            return 2
        return min(max(1, self.graph.attributes(switch)["num_outs"].i), limits.SWITCH_OUTPUTS)

    # What the optimizer may cut off

    def _in_doubt(self) -> Set[int]:
        """What a step runs only if the optimizer leaves it in the graph."""
        if self._doubtful is None:
            self._doubtful = set()
            if self._has_constant_predicate():
                graph = self.graph
                defaults = [Tensor(one, 0) for one in graph.of_types(["PlaceholderWithDefault"])]
                feeds = dict.fromkeys([*self.feeds, *defaults])  # it does not know what is fed
                kept = Execution(graph, self.fetches, feeds)._live_slice()
                self._doubtful.update(
                    node for node in range(len(graph)) if self._needed[node] and node not in kept
                )
        return self._doubtful

    def _has_constant_predicate(self) -> bool:
        graph = self.graph
        defaults = [Tensor(one, 0) for one in graph.of_types(["PlaceholderWithDefault"])]
        unfed = dict.fromkeys(defaults)
        constants = Values(graph, unfed, Edges(graph, unfed))
        selector_origins = {
            constants.selector_origin(selector)[0]
            for selector, switches in graph.decided_by.items()
            if any(map(self.needs, switches))
        }
        return any(constants.always(one) is not None for one in selector_origins)

    def _live_slice(self) -> Set[int]:
        live = self._decided_roots()
        stack, edges = list(live), self._edges
        while stack:
            node = stack.pop()
            for edge in zip(self.graph.sources[node], self.graph.ports[node]):
                if edge[0] not in live and edges.reaches(*edge) and not edges.is_cut(*edge):
                    live.add(edge[0])
                    stack.append(edge[0])
        return live

    # Walks

    def _decided_roots(self) -> Set[int]:
        """Where a walk starts that looks at the conditions of what it meets."""
        roots = self._roots()
        for node in roots:
            self._decide(node)
        return set(roots)

    def _data_slice(self, surely: bool = False) -> Set[int]:
        used = self._decided_roots()
        stack = list(used)
        while stack:
            for source, port in self._value_inputs(stack.pop(), surely):
                if source not in used:
                    reaches = self._edges.predicate(source, port)
                    if reaches == ALWAYS if surely else reaches is not NEVER:
                        used.add(source)
                        stack.append(source)
        return used

    def _value_inputs(self, node: int, surely: bool) -> List[Tensor]:
        """The inputs that a node's value is made of: not what it waits for, or what it leaves."""
        kind, inputs = self.graph.types[node], self.graph.data_inputs(node)
        if kind in SWITCHES:
            inputs = inputs[:1]
        elif kind in SELECTS:
            choice = self._values.always(inputs[0])
            if choice is not None:
                inputs = [inputs[1 if choice else 2]]
            elif surely:
                inputs = inputs[:1]
        return [one for one in inputs if not self._edges.is_cut(*one)]

    def _walk_back(self) -> Dict[int, int]:
        queue = deque(self._roots())
        seen = set(queue)
        following = {}
        while queue:
            node = queue.popleft()
            for source, port in zip(self.graph.sources[node], self.graph.ports[node]):
                if source not in seen and not self._edges.is_cut(source, port):
                    seen.add(source)
                    following[source] = node
                    queue.append(source)
        return following


def _selected(value: StaticValue, ports: int) -> Optional[int]:
    """The output of a Switch that a predicate, or an index, of this value selects."""
    if value is None or isinstance(value, bytes):
        return None
    if isinstance(value, bool):
        return int(value)
    return int(value) if 0 <= value < ports else ports - 1
