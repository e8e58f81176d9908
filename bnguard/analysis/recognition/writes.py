"""Writes: which ops write which variables, and why."""

from __future__ import annotations

from enum import Enum
from typing import Dict, List, NamedTuple

from bnguard.analysis import limits
from bnguard.analysis.dataflow.provenance import Provenance
from bnguard.analysis.frontend.loader import LoadedGraph
from bnguard.analysis.ir.op_types import (
    ASSIGNS,
    PLACEHOLDERS,
    RESTORES,
    VARIABLES,
    is_optimizer,
    is_write,
    written_inputs,
)

_VISITS = 16  # to nodes, which take as long as one write
_STORED = RESTORES | PLACEHOLDERS | VARIABLES | frozenset(["Const", "PlaceholderWithDefault"])


class Purpose(Enum):
    """Why an op writes a variable."""

    INITIALIZE = "initialize"
    LOAD = "load"  # assigns a stored or fed value, or the value of another variable
    UPDATE = "update"
    OPTIMIZE = "optimize"


class Write(NamedTuple):
    """An op that writes a variable."""

    node: int
    variable: int
    purpose: Purpose


def find_writes(loaded: LoadedGraph, provenance: Provenance) -> Dict[int, List[Write]]:
    """Return the writes of each variable that has any, in the graph's order."""
    graph = provenance.graph
    writes: Dict[int, List[Write]] = {}
    for node in graph.of_types(filter(is_write, graph.present_types())):
        for position in range(written_inputs(graph.types[node])):
            variables = provenance.variables(graph.data_input(node, position))
            limits.spend(_VISITS * len(variables))
            for variable in variables:
                purpose = _purpose(loaded, provenance, node, variable)
                writes.setdefault(variable, []).append(Write(node, variable, purpose))
    return writes


def _purpose(loaded: LoadedGraph, provenance: Provenance, node: int, variable: int) -> Purpose:
    graph = provenance.graph
    names, op_type = graph.names, graph.types[node]
    if is_optimizer(op_type):
        return Purpose.OPTIMIZE
    if op_type not in ASSIGNS:
        return Purpose.UPDATE
    if names.encoded[node] == names.encoded[variable] + b"/Assign":
        return Purpose.INITIALIZE
    if names[node] in loaded.initializers:
        return Purpose.INITIALIZE
    origins = provenance.origins(graph.data_inputs(node)[-1])
    is_stored = origins.all_are(lambda origin: graph.types[origin.node] in _STORED)
    return Purpose.LOAD if is_stored else Purpose.UPDATE
