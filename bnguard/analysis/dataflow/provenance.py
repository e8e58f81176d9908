"""Where the elements of a tensor come from: back through the ops that only hand them on."""

from __future__ import annotations

from typing import Dict, List, Optional, Set, Tuple

from bnguard.analysis import limits
from bnguard.analysis.dataflow.execution import Execution
from bnguard.analysis.ir.graph import MERGES, Graph, Tensor
from bnguard.analysis.ir.op_types import (
    MADE_OF_ALL_BUT,
    MADE_OF_FIRST,
    RESOURCE_VARIABLES,
    SWITCHES,
    VARIABLES,
    is_write,
    writes_resources,
)

# No chain of conds and casts between a variable and its use is as long as this.


def _first_handles(graph: Graph) -> Dict[int, int]:
    first: Dict[Tuple[bytes, bytes], int] = {}
    handles = {}
    for node in graph.of_types(RESOURCE_VARIABLES):
        attributes = graph.attributes(node)
        shared_name = attributes["shared_name"].s or graph.names[node].encode()
        handles[node] = first.setdefault((attributes["container"].s, shared_name), node)
    return handles


class Provenance:
    """Traces tensors of one graph, remembering the way.

    Attributes:
      graph: the graph.
      step: with one, a Merge hands on only what can reach it in that step.
    """

    def __init__(self, graph: Graph, step: Optional[Execution] = None) -> None:
        self.graph = graph
        self.step = step
        self._roots: Dict[Tensor, Tensor] = {}
        self._handles = _first_handles(graph)
        self._handing_on = frozenset(filter(_hands_on, graph.present_types()))
        # The types of which no op hands anything on: most ops are of these.
        lowered = {graph.types[node] for node in graph.lowered}
        self._computing = frozenset(graph.present_types()) - self._handing_on - lowered

    def root(self, tensor: Tensor) -> Tensor:
        """Where `tensor` comes from, as far as there is only one way."""
        if self.graph.types[tensor.node] in self._computing:
            return tensor
        passed: List[Tensor] = []
        while tensor not in self._roots and len(passed) < limits.PROVENANCE_TENSORS:
            inputs = self.handed_on(tensor)
            if len(inputs) != 1:
                break
            passed.append(tensor)
            tensor = inputs[0]
        root = self._roots.get(tensor, tensor)
        for one in passed:
            self._roots[one] = root
        return root

    def origins(self, tensor: Tensor) -> List[Tensor]:
        """The tensors that `tensor` is made of: variables, constants and computed values."""
        root = self.root(tensor)
        if self.graph.types[root.node] in self._computing or not self.handed_on(root):
            return [root]
        found, stack = [], [root]
        seen: Set[Tensor] = {root}
        while stack and len(seen) < limits.PROVENANCE_TENSORS:
            current = stack.pop()
            inputs = self.handed_on(current)
            if not inputs:
                found.append(current)
            for one in map(self.root, inputs):
                if one not in seen:
                    seen.add(one)
                    stack.append(one)
        return found

    def variables(self, tensor: Tensor) -> List[int]:
        """The variables among the origins, each by its node.

        Handles of one resource variable, told by its shared name, count as the first of them.
        """
        types, handles = self.graph.types, self._handles
        if types[tensor.node] in VARIABLES:  # as most that are asked for
            return [handles.get(tensor.node, tensor.node)]
        nodes = (one.node for one in self.origins(tensor))
        return [handles.get(node, node) for node in nodes if types[node] in VARIABLES]

    def handed_on(self, tensor: Tensor) -> List[Tensor]:
        """The inputs that `tensor` hands on; none if it computes something, or is a source."""
        node, port = tensor
        kind = self.graph.types[node]
        if node in self.graph.lowered or kind == "IdentityN":
            return self.graph.data_inputs(node)[port : port + 1]
        if kind not in self._handing_on:
            return []
        if kind in MERGES and self.step is not None:
            return [one for one, _ in self.step.inputs(node)] if port == 0 else []
        if kind not in MADE_OF_ALL_BUT:
            return [self.graph.data_input(node, 0)] if port == 0 or kind in SWITCHES else []
        if port:
            return []
        inputs, left_out = self.graph.data_inputs(node), MADE_OF_ALL_BUT[kind]
        if left_out is not None and inputs:
            del inputs[left_out]
        return inputs


def _hands_on(kind: str) -> bool:
    """Whether the output of ops of this type is made of elements of their inputs."""
    if kind in MADE_OF_FIRST or kind in MADE_OF_ALL_BUT or kind == "IdentityN":
        return True
    return is_write(kind) and not writes_resources(kind)
