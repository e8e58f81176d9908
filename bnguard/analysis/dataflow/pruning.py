"""Pruning: which nodes a step needs, as a Session prunes the graph to its fetches and feeds.

A feed replaces a tensor, so it cuts the edges from that tensor. A fed placeholder is not run for
a control edge either.
"""

from __future__ import annotations

from typing import AbstractSet, Dict, Iterable, List, Sequence

from bnguard.analysis import limits
from bnguard.analysis.ir.graph import Graph, Tensor
from bnguard.analysis.ir.op_types import PLACEHOLDERS


class Pruning:
    """A graph, pruned to what some fetches need when some tensors are fed.

    Attributes:
      graph: the graph.
      roots: the nodes that are fetched, without those whose fetched tensor is fed.
      fed: the tensors that are fed.
      fed_nodes: the nodes with an output that is fed.
    """

    def __init__(self, graph: Graph, fetches: Sequence[Tensor], fed: Iterable[Tensor]) -> None:
        self.graph = graph
        self.fed: AbstractSet[Tensor] = frozenset(fed)
        self.fed_nodes = frozenset(tensor.node for tensor in self.fed)
        roots = (tensor.node for tensor in fetches if tensor not in self.fed)
        self.roots = tuple(dict.fromkeys(roots))
        self._needed = self._prune()

    def needs(self, node: int) -> bool:
        """Return whether the fetches need `node`, whether it is dead or not."""
        return bool(self._needed[node])

    def needed(self) -> List[int]:
        """Return every node that the fetches need, in the graph's order."""
        return [node for node, needed in enumerate(self._needed) if needed]

    def is_cut(self, source: int, port: int) -> bool:
        """Return whether a feed cuts the edges from this output, or control edge, of a node."""
        if source not in self.fed_nodes:
            return False
        return (source, port) in self.fed or self.graph.types[source] in PLACEHOLDERS

    def data_inputs(self, node: int) -> Sequence[Tensor]:
        """Return the data inputs of a node that are not fed, in order."""
        inputs = self.graph.data_inputs(node)
        if self.fed_nodes.isdisjoint(self.graph.sources[node]):
            return inputs
        return [tensor for tensor in inputs if not self.is_cut(*tensor)]

    def _prune(self) -> bytearray:
        needed = bytearray(len(self.graph))
        sources, types = self.graph.sources, self.graph.types
        stack = list(self.roots)
        # No edge from a fed placeholder is left. It is marked while walking, so that the walk
        # does not enter it, and unmarked at the end.
        placeholders = {node for node in self.fed_nodes if types[node] in PLACEHOLDERS}
        passed = placeholders.difference(stack)
        fed_nodes = self.fed_nodes - passed
        for node in (*stack, *passed):
            needed[node] = 1
        while stack:
            node = stack.pop()
            inputs = sources[node]
            if fed_nodes and not fed_nodes.isdisjoint(inputs):
                edges = zip(inputs, self.graph.ports[node])
                inputs = tuple(edge[0] for edge in edges if not self.is_cut(*edge))
            for source in inputs:
                if not needed[source]:
                    needed[source] = 1
                    stack.append(source)
        for node in passed:
            needed[node] = 0
        limits.spend(sum(needed))
        return needed


def next_towards_fetches(pruning: Pruning) -> Dict[int, int]:
    """Return, for each needed node that is no root, the next node on a shortest way to a root."""
    sources, ports = pruning.graph.sources, pruning.graph.ports
    queue = list(pruning.roots)
    seen = set(queue)
    following: Dict[int, int] = {}
    for node in queue:  # grows while it is iterated: breadth first
        for source, port in zip(sources[node], ports[node]):
            if source not in seen and not pruning.is_cut(source, port):
                seen.add(source)
                following[source] = node
                queue.append(source)
    return following
