"""Which reads and writes of a variable are ordered in a step.

A path of data or control edges from the one to the other orders them; nothing else does. A
resource variable is read by ReadVariableOp, which yields a value. What a ref variable is read
by yields the buffer itself, so that every op which takes it from there is a reader.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from functools import partial
from itertools import islice
from typing import (
    AbstractSet,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
)

from bnguard.analysis.dataflow.execution import Execution
from bnguard.analysis.dataflow.predicates import NEVER, conjunction
from bnguard.analysis.ir.graph import CONTROL, MERGES
from bnguard.analysis.ir.op_types import FORWARDING, REF_VARIABLES, is_write
from bnguard.analysis.scenario.entry_points import inside_loops

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
_AT_ONCE = 512  # writes that are followed in one walk over the graph

ReadWritePair = Tuple[int, int]  # a read and a write


class Accesses(NamedTuple):
    """The reads of a variable, and the writes of it that they should be ordered with."""

    reads: Sequence[int]
    writes: Sequence[int]


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


def races(step: Execution, all_accesses: Sequence[Accesses]) -> List[List[ReadWritePair]]:
    """For each claim the reads that nothing orders with some write, with the first such write.

    What is on the two sides of one branch needs no order: only one of them runs.

    Args:
      step: the step.
      claims: of each variable its reads and its writes, all nodes that `step` needs.
    """
    rank = step.graph.ranks.__getitem__
    nodes = sorted(filter(step.needs, range(len(step.graph))), key=rank) if all_accesses else []
    ranks = list(map(rank, nodes))
    found: List[List[ReadWritePair]] = [[] for _ in all_accesses]
    in_loops = inside_loops(step.graph) if all_accesses else set()
    may_both_run = partial(_may_both_run, step, in_loops)
    for batch in _batches(all_accesses, rank):
        bits: Dict[int, int] = {}
        ends: List[int] = []
        for _, accesses in batch:
            ends += map(rank, [*accesses.reads, *accesses.writes])
            for write in accesses.writes:
                bits.setdefault(write, 1 << len(bits))
        # A path goes up in rank, so that it is between its two ends.
        between = slice(bisect_left(ranks, min(ends)), bisect_right(ranks, max(ends)))
        before, after = _spread(step, nodes[between], bits)
        for number, accesses in batch:
            for read in accesses.reads:
                ordered = before.get(read, 0) | after.get(read, 0)
                pairs = ((read, write) for write in accesses.writes if not bits[write] & ordered)
                found[number] += islice(filter(may_both_run, pairs), 1)
    return found


def _may_both_run(step: Execution, in_loops: AbstractSet[int], pair: ReadWritePair) -> bool:
    """In one step; what is in a loop, be it in two of its iterations."""
    return conjunction(map(step.predicate, pair)) is not NEVER or not in_loops.isdisjoint(pair)


def _batches(
    all_accesses: Sequence[Accesses], rank: Callable[[int], int]
) -> Iterator[List[Tuple[int, Accesses]]]:
    """The claims with their numbers, those together whose writes are near to each other."""
    parts = [
        (number, Accesses(accesses.reads, accesses.writes[start : start + _AT_ONCE]))
        for number, accesses in enumerate(all_accesses)
        for start in range(0, len(accesses.writes), _AT_ONCE)
    ]
    parts.sort(key=lambda part: rank(part[1].writes[0]))
    batch: List[Tuple[int, Accesses]] = []
    size = 0
    for part in parts:
        size += len(part[1].writes)
        if batch and size > _AT_ONCE:
            yield batch
            batch, size = [], len(part[1].writes)
        batch.append(part)
    if batch:
        yield batch


def _spread(
    step: Execution, nodes: Sequence[int], bits: Mapping[int, int]
) -> Tuple[Dict[int, int], Dict[int, int]]:
    """For each of `nodes`, in order, the bits of what a path leads from to it, and from it to."""
    before, after = dict(bits), dict(bits)
    for node in nodes:
        for source in step.predecessors(node):
            if source in before:
                before[node] = before.get(node, 0) | before[source]
    for node in reversed(nodes):
        if node in after:
            for source in step.predecessors(node):
                after[source] = after.get(source, 0) | after[node]
    return before, after


def _data_position(sources: Sequence[int], ports: Sequence[int], node: int) -> Optional[int]:
    for position, edge in enumerate(zip(sources, ports)):
        if edge[0] == node and edge[1] != CONTROL:
            return position
    return None
