"""Reachability: which nodes are before some nodes, and which are after them, by which edges."""

from __future__ import annotations

from typing import AbstractSet, Iterable, Sequence, Set

from bnguard.analysis import limits
from bnguard.analysis.ir.graph import CONTROL, Graph

_NONE: AbstractSet[int] = frozenset()
_UNBOUNDED = -1  # a count that never gets to 0


def closure(
    starts: Iterable[int], neighbours: Sequence[Sequence[int]], ends: AbstractSet[int] = _NONE
) -> Set[int]:
    """Return `starts`, their neighbours, the neighbours of these, and so on.

    Args:
      starts: nodes.
      neighbours: for each node its neighbours; `sources` or `consumers` of a graph.
      ends: the nodes to go no further than.
    """
    reached = set(starts)
    stack = list(reached - ends)
    while stack:
        for neighbour in neighbours[stack.pop()]:
            if neighbour not in reached:
                reached.add(neighbour)
                if neighbour not in ends:
                    stack.append(neighbour)
    limits.spend(len(reached))
    return reached


def data_closure(
    graph: Graph,
    starts: Iterable[int],
    until: AbstractSet[int] = _NONE,
    closed: AbstractSet[int] = _NONE,
) -> Set[int]:
    """Return `starts`, the nodes of their data inputs, the data inputs of these, and so on.

    Args:
      graph: the graph.
      starts: nodes.
      until: if not empty, stop when all of these are found; the result is then not complete.
      closed: the nodes not to enter, nor to start from.
    """
    behind = set(starts) - closed
    stack = list(behind)
    missing = len(until - behind) if until else _UNBOUNDED
    while stack and missing:
        node = stack.pop()
        sources, ports = graph.sources[node], graph.ports[node]
        if CONTROL in ports:
            sources = sources[: ports.index(CONTROL)]
        for source in sources:
            if source not in behind and source not in closed:
                behind.add(source)
                stack.append(source)
                if source in until:
                    missing -= 1
    limits.spend(len(behind))
    return behind


def data_flow(
    graph: Graph,
    starts: Iterable[int],
    ends: AbstractSet[int] = _NONE,
    closed: AbstractSet[int] = _NONE,
    until: AbstractSet[int] = _NONE,
) -> Set[int]:
    """Return `starts`, the nodes that take their outputs, those that take theirs, and so on.

    Args:
      graph: the graph.
      starts: nodes.
      ends: the nodes to go no further than.
      closed: the nodes not to enter, nor to start from.
      until: if not empty, stop when all of these are found; the result is then not complete.
    """
    reached = set(starts) - closed
    stack, consumers = list(reached - ends), graph.consumers
    missing = len(until - reached) if until else _UNBOUNDED
    while stack and missing:
        node = stack.pop()
        for consumer in consumers[node]:
            if consumer in reached or consumer in closed:
                continue
            if graph.takes_data(consumer, node):
                reached.add(consumer)
                if consumer not in ends:
                    stack.append(consumer)
                if consumer in until:
                    missing -= 1
    limits.spend(len(reached))
    return reached
