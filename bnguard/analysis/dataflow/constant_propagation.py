"""Constant propagation: the value of a tensor, as far as constants and feeds determine it.

In a loop a value may differ between iterations. Each tensor therefore has two static values: the
one that it has in every iteration, and the one that it has in the first.
"""

from __future__ import annotations

from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from bnguard.analysis.dataflow.constant_folding import StaticValue, can_fold, fold
from bnguard.analysis.ir.graph import LOOP_ENDS, MERGES, Graph, Tensor
from bnguard.analysis.ir.op_types import EXITS, FORWARDING, SWITCHES

# A value passes these unchanged, and without leaving its iteration.
_TRANSPARENT = FORWARDING - EXITS - LOOP_ENDS


def _is_never_dead(source: int, port: int) -> bool:
    return False


class ConstantPropagation:
    """The static values of a graph's tensors.

    Args:
      graph: the graph.
      feeds: the value of each tensor that is fed; None for a value that is not known.
      is_dead: whether nothing ever comes from this output of a node, so that a Merge ignores it.
        What it answers about a node must not change once the value of that node, or of a node
        after it, has been asked for. By default nothing is dead.
    """

    def __init__(
        self,
        graph: Graph,
        feeds: Mapping[Tensor, StaticValue],
        is_dead: Callable[[int, int], bool] = _is_never_dead,
    ) -> None:
        self._graph = graph
        self._feeds = feeds
        self._is_dead = is_dead
        self._values: Dict[Tensor, StaticValue] = {}
        self._first_values: Dict[Tensor, StaticValue] = {}
        self._selector_origins: Dict[Tensor, Tuple[Tensor, bool]] = {}  # a cache

    def value(self, tensor: Tensor) -> StaticValue:
        """Return the value of every element in every iteration, or None if it is not known."""
        return self._evaluate(tensor, self._values)

    def first_value(self, tensor: Tensor) -> StaticValue:
        """Return the value of every element in the first iteration of each loop around it."""
        return self._evaluate(tensor, self._first_values)

    def selector_origin(self, tensor: Tensor) -> Tuple[Tensor, bool]:
        """Return the tensor that a selector comes from, and whether it is negated on the way."""
        graph, negated = self._graph, False
        passed: List[Tuple[Tensor, bool]] = []
        while tensor not in self._feeds and tensor not in self._selector_origins:
            passed.append((tensor, negated))
            op_type = graph.types[tensor.node]
            inputs = graph.data_inputs(tensor.node)
            if tensor.node in graph.lowered and tensor.port < len(inputs):
                tensor = inputs[tensor.port]
            elif inputs and op_type in _TRANSPARENT:
                tensor = inputs[0]
            elif inputs and op_type == "LogicalNot":
                tensor, negated = inputs[0], not negated
            else:
                break
        origin, rest = self._selector_origins.get(tensor, (tensor, False))
        negated ^= rest
        for earlier, was_negated in passed:
            self._selector_origins[earlier] = origin, negated ^ was_negated
        return origin, negated

    def _evaluate(self, tensor: Tensor, values: Dict[Tensor, StaticValue]) -> StaticValue:
        stack = [tensor]
        while stack:
            current = stack[-1]
            if current in values:
                stack.pop()
                continue
            operands = self._operands(current, values is self._first_values)
            missing = [operand for operand in operands or () if operand not in values]
            if missing:
                stack.extend(missing)
            else:
                values[current] = self._compute(current, operands, values)
                stack.pop()
        return values[tensor]

    def _operands(self, tensor: Tensor, in_first: bool) -> Optional[Sequence[Tensor]]:
        """Return what the value is computed from; None if it is given, or cannot be known."""
        node, port = tensor
        op_type = self._graph.types[node]
        if tensor in self._feeds or op_type == "Const":
            return None
        if op_type in MERGES:
            entries = merge_entries(self._graph, node)
            is_loop = len(entries) < len(self._graph.data_inputs(node))
            if is_loop and (port or not (in_first or self._is_invariant(node))):
                return None
            if port:
                return []  # the index of the input that is taken
            return [entry for entry in entries if not self._is_dead(*entry)]
        if op_type in EXITS and in_first:
            return None  # a loop ends in its last iteration
        if node in self._graph.lowered or op_type == "IdentityN":
            return self._graph.data_inputs(node)[port : port + 1] or None
        if op_type in SWITCHES or op_type == "ReadVariableOp":
            return self._graph.data_inputs(node)[:1]  # a variable's value is given as a feed
        return self._graph.data_inputs(node) if can_fold(op_type) and port == 0 else None

    def _is_invariant(self, merge: int) -> bool:
        """Return whether each iteration passes the variable of a loop on unchanged."""
        inputs = self._graph.data_inputs(merge)
        ends = [tensor.node for tensor in inputs if self._graph.types[tensor.node] in LOOP_ENDS]
        carried = [self._graph.data_inputs(end)[0] for end in ends]
        return all(self.selector_origin(tensor) == ((merge, 0), False) for tensor in carried)

    def _compute(
        self,
        tensor: Tensor,
        operands: Optional[Sequence[Tensor]],
        values: Mapping[Tensor, StaticValue],
    ) -> StaticValue:
        if operands is None:
            if tensor in self._feeds:
                return self._feeds[tensor]
            return self._graph.constant_value(tensor.node)
        operand_values = [values[operand] for operand in operands]
        op_type = self._graph.types[tensor.node]
        if can_fold(op_type) and op_type not in SWITCHES:
            return fold(op_type, lambda: self._graph.attributes(tensor.node), operand_values)
        if op_type in MERGES and tensor.port:
            return self._only_index(tensor.node)
        if operand_values and all(value == operand_values[0] for value in operand_values):
            return operand_values[0]
        return None

    def _only_index(self, merge: int) -> Optional[int]:
        """Return the index of the only input of a Merge that is not dead; None if there are more.

        A Merge gives the index of the input that it takes as its output `value_index`.
        """
        entries = enumerate(self._graph.data_inputs(merge))
        alive = [index for index, entry in entries if not self._is_dead(*entry)]
        return alive[0] if len(alive) == 1 else None


def merge_entries(graph: Graph, merge: int) -> List[Tensor]:
    """Return the data inputs of a Merge without the back edge of a loop."""
    inputs = graph.data_inputs(merge)
    return [tensor for tensor in inputs if graph.types[tensor.node] not in LOOP_ENDS]
