"""Loops: which nodes run once in each iteration, and of which loop."""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Set, Tuple

from bnguard.analysis.dataflow.reachability import closure
from bnguard.analysis.ir.graph import Graph
from bnguard.analysis.ir.op_types import ENTERS, EXITS

NO_FRAME = 0
"""The frame of the nodes that are in no loop."""


class Frame(NamedTuple):
    """A loop, as the executor knows it.

    Attributes:
      parent: the frame around it.
      name: its name; of a `While`, that of the node.
    """

    parent: int
    name: str


class Frames:
    """The frames of a graph, by number; each node is in one.

    Attributes:
      of_node: the frame of each node. An Enter is inside the loop, an Exit outside.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._frames: List[Frame] = [Frame(NO_FRAME, "")]
        self._numbers: Dict[Tuple[int, str], int] = {}
        self.of_node = [NO_FRAME] * len(graph)
        for node in graph.order if graph.of_types(ENTERS) else ():
            self.of_node[node] = self._of(node)

    def __getitem__(self, number: int) -> Frame:
        return self._frames[number]

    def _of(self, node: int) -> int:
        # A node takes nothing from outside of its frame but what enters it.
        around = max((self.of_node[source] for source in self._graph.sources[node]), default=0)
        if self._graph.types[node] in ENTERS:
            return self._entered(node, self.of_node[self._graph.sources[node][0]])
        return self._frames[around].parent if self._graph.types[node] in EXITS else around

    def _entered(self, enter: int, parent: int) -> int:
        attributes = self._graph.attributes(enter)
        name = self._graph.names[enter].rpartition("/")[0]
        if "frame_name" in attributes:
            name = attributes["frame_name"].s.decode("utf-8", "replace")
        if (parent, name) not in self._numbers:
            self._numbers[parent, name] = len(self._frames)
            self._frames.append(Frame(parent, name))
        return self._numbers[parent, name]


def nodes_in_loops(graph: Graph) -> Set[int]:
    """Return the nodes of loops, from their Enters to their Exits, including both."""
    return closure(graph.of_types(ENTERS), graph.consumers, set(graph.of_types(EXITS)))
