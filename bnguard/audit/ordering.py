"""Which reads and writes of a variable are ordered in a step.

A path of data or control edges from the one to the other orders them; nothing else does. A
resource variable is read by ReadVariableOp, which yields a value. What a ref variable is read
by yields the buffer itself, so that every op which takes it from there is a reader.
"""

from __future__ import annotations

from typing import Dict, Iterable, List, Sequence, Set, Tuple

from bnguard.audit.execution import Execution
from bnguard.audit.graph import CONTROL, LOOP_ENDS, MERGES
from bnguard.audit.operations import FORWARDING, REF_VARIABLES, is_write

_READS_RESOURCE = frozenset(["ReadVariableOp", "ResourceGather", "ResourceGatherNd"])
_READS_NO_VALUE = frozenset(
    [
        "IsVariableInitialized",
        "NoOp",
        "Rank",
        "Shape",
        "ShapeN",
        "Size",
        "VarIsInitializedOp",
        "VariableShape",
    ]
)
_AT_ONCE = 256  # pairs that are tested in one walk over the graph

Pair = Tuple[int, int]


def readers(step: Execution, variable: int) -> List[int]:
    """The ops that may run in `step` and take the variable's value, in the graph's order."""
    graph = step.graph
    is_ref = graph.types[variable] in REF_VARIABLES
    found: Set[int] = set()
    stack, seen = [variable], {variable}
    while stack:
        node = stack.pop()
        for consumer in graph.consumers[node]:
            if consumer in seen or not step.may_run(consumer):
                continue
            position = _data_position(graph.sources[consumer], graph.ports[consumer], node)
            kind = graph.types[consumer]
            if position is None or kind in _READS_NO_VALUE or (is_write(kind) and position == 0):
                continue
            seen.add(consumer)
            if kind in FORWARDING or kind in MERGES or consumer in graph.lowered:
                stack.append(consumer)
            elif is_ref or kind in _READS_RESOURCE:
                found.add(consumer)
    return sorted(found)


def unordered(step: Execution, pairs: Iterable[Pair]) -> List[Pair]:
    """Those of `pairs` of nodes of `step` between which there is no path, either way."""
    pairs = list(pairs)
    if not pairs:
        return []
    nodes = [node for node in range(len(step.graph)) if step.needs(node)]
    nodes.sort(key=step.graph.ranks.__getitem__)
    found: List[Pair] = []
    for start in range(0, len(pairs), _AT_ONCE):
        found += _unordered(step, nodes, pairs[start : start + _AT_ONCE])
    return found


def _unordered(step: Execution, nodes: Sequence[int], pairs: Sequence[Pair]) -> List[Pair]:
    """One walk: for each node the set, as bits, of those in `pairs` that a path leads from."""
    bits: Dict[int, int] = {}
    for pair in pairs:
        for node in pair:
            bits.setdefault(node, 1 << len(bits))
    before: Dict[int, int] = {}
    graph = step.graph
    for node in nodes:
        mask = bits.get(node, 0)
        for source in graph.sources[node]:
            if source in before and not _is_back_edge(graph.types, source, node):
                mask |= before[source]
        if mask:
            before[node] = mask
    return [
        (one, other)
        for one, other in pairs
        if not before[one] & bits[other] and not before[other] & bits[one]
    ]


def _data_position(sources: Sequence[int], ports: Sequence[int], node: int) -> int | None:
    for position, edge in enumerate(zip(sources, ports)):
        if edge[0] == node and edge[1] != CONTROL:
            return position
    return None


def _is_back_edge(types: Sequence[str], source: int, node: int) -> bool:
    return types[node] in MERGES and types[source] in LOOP_ENDS
