"""A graph under construction."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence, Set, Tuple

from bnguard.analysis.ir.graph import Definitions, Names

Edge = Tuple[int, int]
"""A node and its output port."""


class Draft:
    """A graph under construction: the parts of a `Graph`, which grow."""

    def __init__(self, definitions: Sequence[bytes]) -> None:
        self.names = Names([], {})
        self.types: List[str] = []
        self.sources: List[Tuple[int, ...]] = []
        self.ports: List[Tuple[int, ...]] = []
        self.definitions = Definitions(definitions, self.names)
        self.lowered: Set[int] = set()
        self.function_nodes: Dict[int, Tuple[str, str]] = {}
        self.early: Set[int] = set()  # nodes numbered before one of their inputs

    def add(self, name: str, op_type: str, edges: Sequence[Edge], definition: Any = None) -> int:
        """Append a node and return its number."""
        self.names.append(name)
        self.types.append(op_type)
        self.definitions.append(definition)
        self.sources.append(())
        self.ports.append(())
        self.connect(len(self.names) - 1, edges)
        return len(self.names) - 1

    def edges(self, node: int) -> List[Edge]:
        """Return the inputs of a node, data and control."""
        return list(zip(self.sources[node], self.ports[node]))

    def connect(self, node: int, edges: Sequence[Edge]) -> None:
        """Replace a node's inputs."""
        self.sources[node], self.ports[node] = zip(*edges) if edges else ((), ())
        if edges and max(self.sources[node]) >= node:
            self.early.add(node)
