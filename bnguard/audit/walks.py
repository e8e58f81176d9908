"""Walks over a graph: what is before some nodes, what is after them, by which edges."""

from __future__ import annotations

from itertools import chain
from typing import AbstractSet, Iterable, Sequence, Set

from bnguard.audit.graph import CONTROL, Graph

_NONE: AbstractSet[int] = frozenset()


def closure(
    starts: Iterable[int], neighbours: Sequence[Sequence[int]], ends: AbstractSet[int] = _NONE
) -> Set[int]:
    """`starts`, their neighbours, the neighbours of these, and so on.

    Args:
      starts: nodes.
      neighbours: for each node; a graph's `sources` or `consumers`.
      ends: the nodes to go no further than.
    """
    reached = set(starts)
    stack = list(_border(reached - ends, neighbours) - reached)
    reached.update(stack)
    while stack:
        node = stack.pop()
        if node not in ends:
            for neighbour in neighbours[node]:
                if neighbour not in reached:
                    reached.add(neighbour)
                    stack.append(neighbour)
    return reached


def data_closure(graph: Graph, starts: Iterable[int]) -> Set[int]:
    """`starts`, the nodes of their data inputs, the data inputs of these, and so on."""
    behind = set(starts)
    stack = list(behind)
    while stack:
        node = stack.pop()
        sources, ports = graph.sources[node], graph.ports[node]
        if CONTROL in ports:
            sources = sources[: ports.index(CONTROL)]
        for source in sources:
            if source not in behind:
                behind.add(source)
                stack.append(source)
    return behind


def data_flow(
    graph: Graph,
    starts: Iterable[int],
    ends: AbstractSet[int] = _NONE,
    closed: AbstractSet[int] = _NONE,
) -> Set[int]:
    """`starts`, the nodes that take outputs of them, those that take outputs of these, and so on.

    Args:
      graph: the graph.
      starts: nodes.
      ends: the nodes to go no further than.
      closed: the nodes not to go to, nor to start from.
    """
    reached = set(starts) - closed
    first, consumers = reached - ends, graph.consumers
    border = _border(first, consumers) - reached - closed
    stack = [node for node in border if _takes_data_of(graph, node, first)]
    reached.update(stack)
    while stack:
        node = stack.pop()
        for consumer in consumers[node] if node not in ends else ():
            if consumer in reached or consumer in closed:
                continue
            if graph.takes_data(consumer, node):
                reached.add(consumer)
                stack.append(consumer)
    return reached


def _border(nodes: AbstractSet[int], neighbours: Sequence[Sequence[int]]) -> Set[int]:
    """All neighbours, found at once: many nodes have most of theirs in common, or among them."""
    return set(chain.from_iterable(map(neighbours.__getitem__, nodes)))


def _takes_data_of(graph: Graph, consumer: int, nodes: AbstractSet[int]) -> bool:
    ports = graph.ports[consumer]
    return CONTROL not in ports or any(
        source in nodes and port != CONTROL for source, port in zip(graph.sources[consumer], ports)
    )
