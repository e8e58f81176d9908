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
from typing import Dict, List, Mapping, Optional, Sequence, Set, Tuple

from bnguard.audit.conditions import ALWAYS, NEVER, UNDECIDED, Choice, Condition, all_of, any_of
from bnguard.audit.folding import Known, can_fold, fold
from bnguard.audit.graph import CONTROL, LOOP_ENDS, MERGES, Graph, Tensor
from bnguard.audit.operations import EXITS, FORWARDING, PLACEHOLDERS, SWITCHES

# A value passes these unchanged, and without leaving its iteration.
_TRANSPARENT = FORWARDING - EXITS - LOOP_ENDS


class Execution:
    """One step.

    Attributes:
      graph: what the step is of.
      fetches: the tensors that are fetched, or the ops (port CONTROL) that are run.
      feeds: the value of each tensor that is fed; None where it may be any.
    """

    def __init__(
        self, graph: Graph, fetches: Sequence[Tensor], feeds: Mapping[Tensor, Known]
    ) -> None:
        self.graph = graph
        self.fetches = tuple(fetches)
        self.feeds = dict(feeds)
        self._fed_nodes = {tensor.node for tensor in feeds}
        self._needed = self._prune()
        self._conditions: Dict[int, Condition] = {}  # where it is not ALWAYS
        self._port_conditions: Dict[Tuple[int, int], Condition] = {}  # of Switches
        self._values: Tuple[Dict[Tensor, Known], Dict[Tensor, Known]] = ({}, {})
        self._decide()
        self._doubt_what_constants_cut()
        self._used: Optional[Set[int]] = None
        self._next_on_path: Optional[Dict[int, int]] = None

    def condition(self, node: int) -> Condition:
        """When the step runs `node`."""
        return self._conditions.get(node, ALWAYS) if self._needed[node] else NEVER

    def needs(self, node: int) -> bool:
        """Whether the fetches need `node`, dead or not."""
        return bool(self._needed[node])

    def may_run(self, node: int) -> bool:
        """Whether the step runs `node`, at least for some outcome of undecided predicates."""
        return self.condition(node) is not NEVER

    def edge_condition(self, tensor: Tensor) -> Condition:
        """When `tensor`, as an input of a node that is needed, has a value."""
        return self._edge(*tensor)

    def live_inputs(self, node: int) -> List[Tensor]:
        """The data inputs that reach `node` in this step; those that are fed do not count."""
        return [
            Tensor(*edge)
            for edge in zip(self.graph.sources[node], self.graph.ports[node])
            if edge[1] != CONTROL and not self._is_cut(*edge) and self._edge(*edge) is not NEVER
        ]

    def value(self, tensor: Tensor) -> Known:
        """What `tensor` is in every element and every iteration, or None if that is not known."""
        return self._value(tensor, first_iteration=False)

    def uses(self, node: int) -> bool:
        """Whether a value from `node` can get into what is fetched, by data edges alone."""
        if self._used is None:
            self._used = self._data_slice()
        return node in self._used

    def path(self, node: int) -> List[int]:
        """The nodes from a fetch back to `node`, which it needs, by the fewest edges."""
        if self._next_on_path is None:
            self._next_on_path = self._walk_back()
        path = [node]
        while path[-1] in self._next_on_path:
            path.append(self._next_on_path[path[-1]])
        return path[::-1]

    # Pruning

    def _prune(self) -> bytearray:
        needed = bytearray(len(self.graph))
        stack = []
        for node in self._roots():
            if not needed[node]:
                needed[node] = 1
                stack.append(node)
        sources, fed = self.graph.sources, self._fed_nodes
        while stack:
            node = stack.pop()
            for source in sources[node]:
                if not needed[source] and (source not in fed or self._reaches(source, node)):
                    needed[source] = 1
                    stack.append(source)
        return needed

    def _roots(self) -> List[int]:
        return [tensor.node for tensor in self.fetches if tensor not in self.feeds]

    def _reaches(self, source: int, node: int) -> bool:
        """Whether an edge from `source`, of which something is fed, to `node` is left."""
        edges = zip(self.graph.sources[node], self.graph.ports[node])
        return any(edge[0] == source and not self._is_cut(*edge) for edge in edges)

    def _is_cut(self, source: int, port: int) -> bool:
        """A feed replaces the tensor; a fed placeholder is not even run for a control edge."""
        if source not in self._fed_nodes:
            return False
        return (source, port) in self.feeds or self.graph.types[source] in PLACEHOLDERS

    # Dead branches

    def _decide(self) -> None:
        """Find each needed node's condition, in an order where its inputs come first."""
        graph, needed, ranks = self.graph, self._needed, self.graph.ranks
        queue = [(ranks[node], node) for node in graph.of_types(SWITCHES) if needed[node]]
        queued = {node for _, node in queue}
        heapq.heapify(queue)
        while queue:
            _, node = heapq.heappop(queue)
            condition = self._combine(node)
            if condition != ALWAYS:
                self._conditions[node] = condition
            settled = condition == ALWAYS
            if graph.types[node] in SWITCHES:
                settled = self._split(node, condition) and settled
            if settled:
                continue
            for consumer in graph.consumers[node]:
                if needed[consumer] and consumer not in queued:
                    queued.add(consumer)
                    heapq.heappush(queue, (ranks[consumer], consumer))

    def _combine(self, node: int) -> Condition:
        kind = self.graph.types[node]
        if kind in MERGES:
            return any_of([self._edge(*edge) for edge in self._entries(node)], node)
        if kind == "ControlTrigger":
            return ALWAYS
        undecided = []
        for source, port in zip(self.graph.sources[node], self.graph.ports[node]):
            condition = self._edge(source, port)
            if condition is NEVER:
                return NEVER
            if condition:
                undecided.append(condition)
        return all_of(undecided) if undecided else ALWAYS

    def _edge(self, source: int, port: int) -> Condition:
        if self._is_cut(source, port):
            return ALWAYS
        condition = self._conditions.get(source, ALWAYS)
        return self._port_conditions.get((source, port), condition)

    def _entries(self, merge: int) -> List[Tensor]:
        """A Merge's data inputs without a loop's back edge."""
        inputs = self.graph.data_inputs(merge)
        return [one for one in inputs if self.graph.types[one.node] not in LOOP_ENDS]

    def _split(self, switch: int, condition: Condition) -> bool:
        """Set the conditions of a Switch's outputs; whether they are simply the Switch's."""
        if condition is NEVER:
            return True
        selector = self.graph.data_inputs(switch)[-1]
        ports = self._port_count(switch)
        predicate, negated = self._predicate(selector)
        known, likely = (
            self._selected(selector, ports, False),
            self._selected(selector, ports, True),
        )
        if self.graph.types[selector.node] == "LoopCond":
            # What leaves the loop does so in the last iteration; the first decides on the body.
            outcomes = {0: condition, 1: NEVER if likely == 0 else condition}
            if likely is None:
                outcomes[1] = all_of([condition, frozenset([Choice(predicate, 1, 2)])])
        else:
            outcomes = {}
            for port in range(ports):
                choice = Choice(predicate, ports - 1 - port if negated else port, ports)
                if known is not None:
                    outcomes[port] = condition if port == known else NEVER
                elif port == likely:
                    outcomes[port] = condition
                else:
                    outcomes[port] = all_of([condition, frozenset([choice])])
        for port, outcome in outcomes.items():
            if outcome != condition:
                self._port_conditions[switch, port] = outcome
        return all(outcome == condition for outcome in outcomes.values())

    def _port_count(self, switch: int) -> int:
        if self.graph.types[switch] != "_SwitchN":
            return 2
        return max(1, self.graph.attributes(switch)["num_outs"].i)

    def _selected(self, selector: Tensor, ports: int, first_iteration: bool) -> Optional[int]:
        value = self._value(selector, first_iteration)
        if value is None or isinstance(value, bytes):
            return None
        if ports == 2 and isinstance(value, bool):
            return int(value)
        return int(value) if 0 <= value < ports else ports - 1

    def _predicate(self, selector: Tensor) -> Tuple[Tensor, bool]:
        """Where a predicate comes from, and whether it is negated on the way."""
        negated = False
        while selector not in self.feeds:
            inputs = self.graph.data_inputs(selector.node)
            kind = self.graph.types[selector.node]
            if selector.node in self.graph.lowered and selector.port < len(inputs):
                selector = inputs[selector.port]
            elif inputs and kind in _TRANSPARENT:
                selector = inputs[0]
            elif inputs and kind == "LogicalNot":
                selector, negated = inputs[0], not negated
            else:
                break
        return selector, negated

    def _doubt_what_constants_cut(self) -> None:
        graph = self.graph
        constant = _WithoutFeeds(graph, [], {})
        selectors = {
            graph.data_inputs(switch)[-1]
            for switch in graph.of_types(SWITCHES)
            if self._needed[switch]
        }
        if all(constant.value(selector) is None for selector in selectors):
            return
        defaults = [Tensor(node, 0) for node in graph.of_types(["PlaceholderWithDefault"])]
        feeds = dict.fromkeys([*self.feeds, *defaults])
        kept = _WithoutFeeds(graph, self.fetches, feeds)._live_slice()
        for node in range(len(graph)):
            if self._needed[node] and node not in kept and self.may_run(node):
                self._conditions[node] = UNDECIDED

    def _live_slice(self) -> Set[int]:
        live = set(self._roots())
        stack = list(live)
        while stack:
            node = stack.pop()
            for edge in zip(self.graph.sources[node], self.graph.ports[node]):
                if edge[0] not in live and not self._is_cut(*edge):
                    if self._edge(*edge) is not NEVER:
                        live.add(edge[0])
                        stack.append(edge[0])
        return live

    # Values

    def _value(self, tensor: Tensor, first_iteration: bool) -> Known:
        memo = self._values[first_iteration]
        stack = [tensor]
        while stack:
            current = stack[-1]
            if current in memo:
                stack.pop()
                continue
            operands = self._operands(current, first_iteration)
            missing = [one for one in operands or () if one not in memo]
            if missing:
                stack.extend(missing)
            else:
                memo[current] = self._compute(current, operands, memo)
                stack.pop()
        return memo[tensor]

    def _operands(self, tensor: Tensor, first_iteration: bool) -> Optional[List[Tensor]]:
        """What the value of `tensor` is computed from; None if that is beyond us, or it is fed."""
        node, port = tensor
        kind = self.graph.types[node]
        if tensor in self.feeds:
            return None
        if kind in MERGES:
            entries = self._entries(node)
            is_loop = len(entries) < len(self.graph.data_inputs(node))
            if port or (is_loop and not first_iteration and not self._is_invariant(node)):
                return None
            return [one for one in entries if self._edge(*one) is not NEVER]
        if kind in EXITS and first_iteration:
            return None  # a loop ends in its last iteration
        inputs = self.graph.data_inputs(node)
        if node in self.graph.lowered or kind == "IdentityN":
            return inputs[port : port + 1] or None
        if kind in SWITCHES:
            return inputs[:1]
        return inputs if can_fold(kind) and port == 0 else None

    def _is_invariant(self, merge: int) -> bool:
        """Whether each iteration hands the loop's variable on unchanged."""
        ends = [
            one for one in self.graph.data_inputs(merge) if self.graph.types[one.node] in LOOP_ENDS
        ]
        values = [self.graph.data_inputs(end.node)[:1] for end in ends]
        return all(value and self._predicate(value[0]) == ((merge, 0), False) for value in values)

    def _compute(
        self, tensor: Tensor, operands: Optional[List[Tensor]], memo: Mapping[Tensor, Known]
    ) -> Known:
        if operands is None:
            return self.feeds.get(tensor)
        values = [memo[one] for one in operands]
        kind = self.graph.types[tensor.node]
        if can_fold(kind) and kind not in SWITCHES:
            return fold(kind, lambda: self.graph.attributes(tensor.node), values)
        return values[0] if values and all(value == values[0] for value in values) else None

    # Walks

    def _data_slice(self) -> Set[int]:
        graph, used = self.graph, set(self._roots())
        stack = list(used)
        while stack:
            node = stack.pop()
            inputs = self.live_inputs(node)
            for source, _ in inputs[:1] if graph.types[node] in SWITCHES else inputs:
                if source not in used:
                    used.add(source)
                    stack.append(source)
        return used

    def _walk_back(self) -> Dict[int, int]:
        queue = deque(dict.fromkeys(self._roots()))
        seen = set(queue)
        following = {}
        while queue:
            node = queue.popleft()
            for source, port in zip(self.graph.sources[node], self.graph.ports[node]):
                if source not in seen and not self._is_cut(source, port):
                    seen.add(source)
                    following[source] = node
                    queue.append(source)
        return following


class _WithoutFeeds(Execution):
    """A step as the optimizer sees it, which does not know what will be fed."""

    def _doubt_what_constants_cut(self) -> None:
        """This is what the doubts are founded on."""
