"""Provenance: where the elements of a tensor come from, back through ops that only pass them on."""

from __future__ import annotations

from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from bnguard.analysis import limits
from bnguard.analysis.dataflow.execution import Execution
from bnguard.analysis.ir.graph import MERGES, Graph, Tensor
from bnguard.analysis.ir.op_types import (
    MADE_OF_ALL_BUT,
    MADE_OF_FIRST,
    RESOURCE_VARIABLES,
    SELECTS,
    SWITCHES,
    VARIABLES,
    is_write,
    writes_resources,
)

_VISITS = 8  # to nodes, which take as long as one tensor of a search


class Origins(NamedTuple):
    """The tensors that a tensor is made of: variables, constants and computed values.

    Attributes:
      tensors: the origins that were found.
      is_complete: whether these are all; False if the search reached its limit.
    """

    tensors: Tuple[Tensor, ...]
    is_complete: bool

    @property
    def only(self) -> Optional[Tensor]:
        """The single origin; None if there are several, none, or possibly more."""
        return self.tensors[0] if self.is_complete and len(self.tensors) == 1 else None

    def all_are(self, is_such: Callable[[Tensor], bool]) -> bool:
        """Return whether there are origins, all are known, and all are such."""
        return self.is_complete and bool(self.tensors) and all(map(is_such, self.tensors))


class Provenance:
    """The provenance of the tensors of one graph.

    Args:
      graph: the graph.
      step: if given, a Merge passes on only what can reach it in that step.
    """

    def __init__(self, graph: Graph, step: Optional[Execution] = None) -> None:
        self.graph = graph
        self._step = step
        self._roots: Dict[Tensor, Tensor] = {}
        self._handles = _first_handles(graph)
        op_types = frozenset(graph.present_types())
        self._pass_through_types = frozenset(filter(_passes_through, op_types))
        # Most ops are of these types, and are their own origins.
        lowered_types = {graph.types[node] for node in graph.lowered}
        self._computing_types = op_types - self._pass_through_types - lowered_types

    def root(self, tensor: Tensor) -> Tensor:
        """Return where `tensor` comes from, as far back as there is only one way.

        Of tensors that only pass on each other, in a circle, it is the first in the graph.
        """
        if self.graph.types[tensor.node] in self._computing_types:
            return tensor
        passed: Dict[Tensor, None] = {}
        while tensor not in self._roots:
            inputs = self.passed_on(tensor)
            if len(inputs) != 1:
                break
            if tensor in passed:
                in_order = list(passed)
                tensor = min(in_order[in_order.index(tensor) :])
                break
            passed[tensor] = None
            tensor = inputs[0]
        root = self._roots.get(tensor, tensor)
        self._roots.update(dict.fromkeys(passed, root))
        return root

    def origins(self, tensor: Tensor) -> Origins:
        """Return the tensors that `tensor` is made of."""
        root = self.root(tensor)
        if self.graph.types[root.node] in self._computing_types or not self.passed_on(root):
            return Origins((root,), is_complete=True)
        found: List[Tensor] = []
        stack = [root]
        seen: Set[Tensor] = {root}
        while stack:
            if len(seen) > limits.PROVENANCE_TENSORS:
                limits.PROVENANCE_TENSORS.reach()
                limits.spend(_VISITS * len(seen))
                return Origins(tuple(found), is_complete=False)
            current = stack.pop()
            inputs = self.passed_on(current)
            if not inputs:
                found.append(current)
            for source in map(self.root, inputs):
                if source not in seen:
                    seen.add(source)
                    stack.append(source)
        limits.spend(_VISITS * len(seen))
        return Origins(tuple(found), is_complete=True)

    def variables(self, tensor: Tensor) -> List[int]:
        """Return the variables among the origins, each by its node.

        Handles of one resource variable, which have one shared name, count as the first of them.
        """
        types, handles = self.graph.types, self._handles
        if types[tensor.node] in VARIABLES:  # the usual case
            return [handles.get(tensor.node, tensor.node)]
        nodes = (origin.node for origin in self.origins(tensor).tensors)
        return [handles.get(node, node) for node in nodes if types[node] in VARIABLES]

    def is_variable(self, tensor: Tensor) -> bool:
        """Return whether a tensor is a variable itself."""
        return self.graph.types[tensor.node] in VARIABLES

    def passed_on(self, tensor: Tensor) -> Sequence[Tensor]:
        """Return the inputs that `tensor` is made of; none if it is computed, or is a source."""
        node, port = tensor
        op_type = self.graph.types[node]
        if node in self.graph.lowered or op_type == "IdentityN":
            return self.graph.data_inputs(node)[port : port + 1]
        if op_type not in self._pass_through_types:
            return []
        if op_type in MERGES and self._step is not None:
            return [source for source, _ in self._step.inputs(node)] if port == 0 else []
        if op_type not in MADE_OF_ALL_BUT:
            is_passed = port == 0 or op_type in SWITCHES
            return [self.graph.data_input(node, 0)] if is_passed else []
        if port:
            return []
        inputs, left_out = self.graph.data_inputs(node), MADE_OF_ALL_BUT[op_type]
        if op_type in SELECTS and self._step is not None:
            selected = self._step.value(inputs[0])
            if isinstance(selected, bool):
                return [inputs[1 if selected else 2]]
        if left_out is None:
            return inputs
        return inputs[left_out + 1 :] if left_out == 0 else inputs[:left_out]


def _first_handles(graph: Graph) -> Dict[int, int]:
    first: Dict[Tuple[bytes, bytes], int] = {}
    handles = {}
    for node in graph.of_types(RESOURCE_VARIABLES):
        attributes = graph.attributes(node)
        shared_name = attributes["shared_name"].s or graph.names[node].encode()
        handles[node] = first.setdefault((attributes["container"].s, shared_name), node)
    return handles


def _passes_through(op_type: str) -> bool:
    """Return whether the output of ops of this type is made of elements of their inputs."""
    if op_type in MADE_OF_FIRST or op_type in MADE_OF_ALL_BUT or op_type == "IdentityN":
        return True
    return is_write(op_type) and not writes_resources(op_type)
