"""Races: which reads and writes of a variable no path orders in a step.

A path of data or control edges from one to the other orders them; nothing else does. A resource
variable is read by ReadVariableOp, which yields a value. The output of a ref variable is its buffer
itself, so every op that takes the buffer is a reader.
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
    Sequence,
    Set,
    Tuple,
)

from bnguard.analysis import limits
from bnguard.analysis.dataflow.execution import Execution
from bnguard.analysis.dataflow.loops import NO_FRAME, Frames, nodes_in_loops
from bnguard.analysis.dataflow.predicates import NEVER, conjunction
from bnguard.analysis.dataflow.reachability import data_closure
from bnguard.analysis.ir.graph import MERGES
from bnguard.analysis.ir.op_types import FORWARDING, REF_VARIABLES, VALUELESS, is_write

_READS_RESOURCE = frozenset(["ReadVariableOp", "ResourceGather", "ResourceGatherNd"])
_READS_NO_VALUE = (VALUELESS - {"OnesLike", "ZerosLike"}) | frozenset(
    ["IsVariableInitialized", "VarIsInitializedOp", "VariableShape"]
)
_BATCH = 512  # writes that one walk over the graph follows; each is a bit
_VISITS = 4  # to nodes, which take as long as one node in such a walk

ReadWritePair = Tuple[int, int]


class Accesses(NamedTuple):
    """The reads of a variable, and the writes of it that they should be ordered with."""

    reads: Sequence[int]
    writes: Sequence[int]


def readers(step: Execution, variable: int) -> List[int]:
    """Return the ops that may run in `step` and take the variable's value, in order."""
    graph = step.graph
    is_ref = graph.types[variable] in REF_VARIABLES
    found: Set[int] = set()
    stack, seen = [variable], {variable}
    while stack:
        node = stack.pop()
        for consumer in graph.consumers[node]:
            if consumer in seen or not step.may_run(consumer):
                continue
            position = graph.data_position(consumer, node)
            op_type = graph.types[consumer]
            if op_type in MERGES and not _can_reach(step, node, consumer):
                continue
            is_written = is_write(op_type) and position == 0
            if position is None or is_written or op_type in _READS_NO_VALUE:
                continue
            seen.add(consumer)
            if op_type in FORWARDING or op_type in MERGES or consumer in graph.lowered:
                stack.append(consumer)
            elif is_ref or op_type in _READS_RESOURCE:
                found.add(consumer)
    return sorted(found)


def _can_reach(step: Execution, node: int, merge: int) -> bool:
    """Return whether a Merge may pass on what `node` yields: an untaken branch yields nothing."""
    return any(tensor.node == node for tensor, _ in step.inputs(merge))


def races(step: Execution, variables: Sequence[Accesses]) -> List[List[ReadWritePair]]:
    """Return, for each variable, the reads that some write races with, each with the first such.

    Accesses on the two sides of one branch do not race: only one of them runs.

    Args:
      step: the step.
      variables: the accesses of each variable, all nodes that `step` needs.
    """
    rank = step.graph.ranks.__getitem__
    nodes = list(filter(step.needs, step.graph.order)) if variables else []
    ranks = list(map(rank, nodes))
    found: List[List[ReadWritePair]] = [[] for _ in variables]
    in_loops = nodes_in_loops(step.graph) if variables else set()
    may_both_run = partial(_may_both_run, step, in_loops)
    for batch in _batches(variables, rank):
        bits: Dict[int, int] = {}
        ends: List[int] = []
        for _, accesses in batch:
            ends += map(rank, [*accesses.reads, *accesses.writes])
            for write in accesses.writes:
                bits.setdefault(write, 1 << len(bits))
        # A path goes up in rank, so it lies between its two ends.
        between = slice(bisect_left(ranks, min(ends)), bisect_right(ranks, max(ends)))
        near = nodes[between]
        limits.spend(_VISITS * len(near))
        before, after = _spread(step, near, bits)
        for number, accesses in batch:
            all_bits = sum(bits[write] for write in set(accesses.writes))
            for read in accesses.reads:
                ordered = before.get(read, 0) | after.get(read, 0)
                if not all_bits & ~ordered:
                    continue
                pairs = ((read, write) for write in accesses.writes if not bits[write] & ordered)
                found[number] += islice(filter(may_both_run, pairs), 1)
    return found


class LoopUpdate(NamedTuple):
    """An update in a loop that starts from a value which was read before the loop.

    Attributes:
      node: the op that writes.
      loop: the name of the loop.
    """

    node: int
    loop: str


def lost_in_loops(step: Execution, frames: Frames, accesses: Accesses) -> Iterator[LoopUpdate]:
    """Yield the writes in loops that overwrite what earlier iterations wrote.

    Iterations that run at the same time may lose an update, too; that is not asked here.

    Args:
      step: the step.
      frames: the frames of its graph.
      accesses: updates of one variable, and the reads that these are computed from.
    """
    for write in accesses.writes:
        frame = frames.of_node[write]
        if frame != NO_FRAME:
            behind = data_closure(step.graph, [write])
            reads = (read for read in accesses.reads if read in behind and read != write)
            if any(frames.of_node[read] != frame for read in reads):
                yield LoopUpdate(write, frames[frame].name)


def _may_both_run(step: Execution, in_loops: AbstractSet[int], pair: ReadWritePair) -> bool:
    """Return whether one step may run both; in a loop, possibly in different iterations."""
    both = conjunction(map(step.predicate, pair))
    return both is not NEVER or not in_loops.isdisjoint(pair)


def _batches(
    variables: Sequence[Accesses], rank: Callable[[int], int]
) -> Iterator[List[Tuple[int, Accesses]]]:
    """Yield the accesses with the number of their variable, those with near writes together."""
    parts = [
        (number, Accesses(accesses.reads, accesses.writes[start : start + _BATCH]))
        for number, accesses in enumerate(variables)
        for start in range(0, len(accesses.writes), _BATCH)
    ]
    parts.sort(key=lambda part: rank(part[1].writes[0]))
    batch: List[Tuple[int, Accesses]] = []
    size = 0
    for part in parts:
        size += len(part[1].writes)
        if batch and size > _BATCH:
            yield batch
            batch, size = [], len(part[1].writes)
        batch.append(part)
    if batch:
        yield batch


def _spread(
    step: Execution, nodes: Sequence[int], bits: Mapping[int, int]
) -> Tuple[Dict[int, int], Dict[int, int]]:
    """Return, for each node, the bits of the nodes that a path leads from, and leads to."""
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
