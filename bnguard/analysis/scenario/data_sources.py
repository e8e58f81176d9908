"""Data sources: where data enters a graph."""

from __future__ import annotations

import re
from typing import List

from bnguard.analysis.ir.graph import Graph
from bnguard.analysis.ir.protos import DATA_TYPES

_SOURCE_TYPE = re.compile(
    r"Placeholder\w*|IteratorGetNext\w*|\w*Dequeue\w*|Parse\w*Example\w*|Reader\w+|Unstage"
)


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
    return is_scalar or attributes["dtype"].type == DATA_TYPES["DT_BOOL"]
