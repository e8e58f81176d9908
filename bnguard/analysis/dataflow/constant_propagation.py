"""Which value a tensor has in a step, as far as constants and feeds tell."""

from __future__ import annotations

from typing import Dict, List, Mapping, Optional, Tuple

from bnguard.analysis.dataflow.constant_folding import StaticValue, can_fold, fold
from bnguard.analysis.dataflow.edges import Edges
from bnguard.analysis.ir.graph import LOOP_ENDS, MERGES, Graph, Tensor
from bnguard.analysis.ir.op_types import EXITS, FORWARDING, SWITCHES
from bnguard.analysis.ir.tensor_values import uniform_value

# A value passes these unchanged, and without leaving its iteration.
_TRANSPARENT = FORWARDING - EXITS - LOOP_ENDS


class Values:
    """The values in one step.

    Attributes:
      graph: what the step is of.
      feeds: the value of each tensor that is fed; None where it may be any.
      edges: the step's.
    """

    def __init__(self, graph: Graph, feeds: Mapping[Tensor, StaticValue], edges: Edges) -> None:
        self.graph = graph
        self.feeds = feeds
        self.edges = edges
        self._always: Dict[Tensor, StaticValue] = {}
        self._at_first: Dict[Tensor, StaticValue] = {}

    def always(self, tensor: Tensor) -> StaticValue:
        """What `tensor` is in every element and every iteration; None if that is not known."""
        return self._evaluate(tensor, self._always)

    def at_first(self, tensor: Tensor) -> StaticValue:
        """The same, in the first iteration of each loop that it is in."""
        return self._evaluate(tensor, self._at_first)

    def selector_origin(self, tensor: Tensor) -> Tuple[Tensor, bool]:
        """Where a predicate comes from, and whether it is negated on the way."""
        graph, negated = self.graph, False
        while tensor not in self.feeds:
            kind = graph.types[tensor.node]
            inputs = graph.data_inputs(tensor.node)
            if tensor.node in graph.lowered and tensor.port < len(inputs):
                tensor = inputs[tensor.port]
            elif inputs and kind in _TRANSPARENT:
                tensor = inputs[0]
            elif inputs and kind == "LogicalNot":
                tensor, negated = inputs[0], not negated
            else:
                break
        return tensor, negated

    def entries(self, merge: int) -> List[Tensor]:
        """A Merge's data inputs but for a loop's back edge."""
        inputs = self.graph.data_inputs(merge)
        return [one for one in inputs if self.graph.types[one.node] not in LOOP_ENDS]

    def _evaluate(self, tensor: Tensor, memo: Dict[Tensor, StaticValue]) -> StaticValue:
        stack = [tensor]
        while stack:
            current = stack[-1]
            if current in memo:
                stack.pop()
                continue
            operands = self._operands(current, memo is self._at_first)
            missing = [one for one in operands or () if one not in memo]
            if missing:
                stack.extend(missing)
            else:
                memo[current] = self._compute(current, operands, memo)
                stack.pop()
        return memo[tensor]

    def _operands(self, tensor: Tensor, at_first: bool) -> Optional[List[Tensor]]:
        """What the value is computed from; None if it is given, or beyond us."""
        node, port = tensor
        kind = self.graph.types[node]
        if tensor in self.feeds or kind == "Const":
            return None
        if kind in MERGES:
            entries = self.entries(node)
            is_loop = len(entries) < len(self.graph.data_inputs(node))
            if port or (is_loop and not at_first and not self._is_invariant(node)):
                return None
            return [one for one in entries if self.edges.reaches(*one)]
        if kind in EXITS and at_first:
            return None  # a loop ends in its last iteration
        if node in self.graph.lowered or kind == "IdentityN":
            return self.graph.data_inputs(node)[port : port + 1] or None
        if kind in SWITCHES:
            return self.graph.data_inputs(node)[:1]
        return self.graph.data_inputs(node) if can_fold(kind) and port == 0 else None

    def _is_invariant(self, merge: int) -> bool:
        """Whether each iteration hands a loop's variable on unchanged."""
        inputs = self.graph.data_inputs(merge)
        ends = [one.node for one in inputs if self.graph.types[one.node] in LOOP_ENDS]
        carried = [self.graph.data_inputs(end)[0] for end in ends]
        return all(self.selector_origin(one) == ((merge, 0), False) for one in carried)

    def _compute(
        self, tensor: Tensor, operands: Optional[List[Tensor]], memo: Mapping[Tensor, StaticValue]
    ) -> StaticValue:
        if operands is None:
            constant = None if tensor in self.feeds else self.graph.constant(tensor.node)
            return self.feeds.get(tensor) if constant is None else uniform_value(constant)
        values = [memo[one] for one in operands]
        kind = self.graph.types[tensor.node]
        if can_fold(kind) and kind not in SWITCHES:
            return fold(kind, lambda: self.graph.attributes(tensor.node), values)
        return values[0] if values and all(value == values[0] for value in values) else None
