"""Loops: which nodes run once in each iteration."""

from __future__ import annotations

from typing import Set

from bnguard.analysis.dataflow.reachability import closure
from bnguard.analysis.ir.graph import Graph
from bnguard.analysis.ir.op_types import ENTERS, EXITS


def nodes_in_loops(graph: Graph) -> Set[int]:
    """Return the nodes of loops, from their Enters to their Exits, including both."""
    return closure(graph.of_types(ENTERS), graph.consumers, set(graph.of_types(EXITS)))
