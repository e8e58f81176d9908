"""Data sources: where data enters a graph."""

from __future__ import annotations

import re
from typing import List

from bnguard.analysis.ir.graph import Graph
from bnguard.analysis.ir.op_types import DIVISIONS
from bnguard.analysis.ir.protos import DATA_TYPES

_SOURCE_TYPE = re.compile(
    r"Placeholder\w*|IteratorGetNext\w*|\w*Dequeue\w*|Parse\w*Example\w*|Reader\w+|Unstage"
)

_OF_RATES = frozenset(["Add", "AddV2", "Identity", "Mul", "Neg", "Sub"])
_OPS_TO_DROPOUT = 3


def data_sources(graph: Graph) -> List[int]:
    """Return the placeholders and the outlets of input pipelines, without flags and rates."""
    op_types = [op_type for op_type in graph.present_types() if _SOURCE_TYPE.fullmatch(op_type)]
    return [node for node in graph.of_types(op_types) if not _is_setting(graph, node)]


def _is_setting(graph: Graph, source: int) -> bool:
    """Return whether a source is a flag, a rate or the like, not data."""
    attributes = graph.attributes(source)
    if "shape" not in attributes:  # an outlet has lists, `output_shapes` and `output_types`
        return False
    shape = attributes["shape"].shape
    is_scalar = not shape.dim and not shape.unknown_rank
    if shape.unknown_rank and _is_rate(graph, source):
        return True
    return is_scalar or attributes["dtype"].type == DATA_TYPES["DT_BOOL"]


def _is_rate(graph: Graph, source: int) -> bool:
    """Return whether a tensor divides another, or is compared with random numbers, as dropout does.

    It may be subtracted from 1 before.
    """
    nodes = {source}
    for _ in range(_OPS_TO_DROPOUT):
        takers = {consumer for node in nodes for consumer in graph.consumers[node]}
        for taker in takers:
            inputs = [tensor.node for tensor in graph.data_inputs(taker)]
            if graph.types[taker] in DIVISIONS and inputs[-1] in nodes:
                return True
            if any(graph.types[node].startswith("Random") for node in inputs):
                return True
        nodes = {taker for taker in takers if graph.types[taker] in _OF_RATES}
    return False
