"""What can come along the edges of a graph in a step, as far as that has been decided.

`Execution` decides it, in order, and writes it here; what it has not written holds always.
"""

from __future__ import annotations

from typing import Dict, Mapping, Sequence

from bnguard.analysis.dataflow.constant_folding import StaticValue
from bnguard.analysis.dataflow.predicates import ALWAYS, NEVER, Predicate
from bnguard.analysis.ir.graph import Graph, Tensor
from bnguard.analysis.ir.op_types import PLACEHOLDERS


class Edges:
    """The edges in one step.

    Attributes:
      fed_nodes: the nodes of which something is fed.
      nodes: the conditions of nodes, where they are not ALWAYS.
      outputs: those of each output of a Switch that may run.
    """

    def __init__(self, graph: Graph, feeds: Mapping[Tensor, StaticValue]) -> None:
        self.fed_nodes = {tensor.node for tensor in feeds}
        self.nodes: Dict[int, Predicate] = {}
        self.outputs: Dict[int, Sequence[Predicate]] = {}
        self._graph = graph
        self._feeds = feeds

    def is_cut(self, source: int, port: int) -> bool:
        """A feed replaces the tensor; a fed placeholder is not even run for a control edge."""
        if source not in self.fed_nodes:
            return False
        return (source, port) in self._feeds or self._graph.types[source] in PLACEHOLDERS

    def predicate(self, source: int, port: int) -> Predicate:
        """When anything comes along the edges from this output."""
        if self.is_cut(source, port):
            return ALWAYS
        outputs = self.outputs.get(source, ())
        return outputs[port] if 0 <= port < len(outputs) else self.nodes.get(source, ALWAYS)

    def reaches(self, source: int, port: int) -> bool:
        """Whether anything can, for some outcome of undecided predicates."""
        return self.predicate(source, port) is not NEVER
