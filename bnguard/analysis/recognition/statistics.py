"""Variables and their writers; which of them are running statistics."""

from __future__ import annotations

from enum import Enum
import re
from typing import AbstractSet, Dict, List, Mapping, NamedTuple, Sequence, Set, Tuple

from bnguard.analysis import limits
from bnguard.analysis.dataflow.provenance import Provenance
from bnguard.analysis.frontend.loader import LoadedGraph
from bnguard.analysis.ir.graph import Graph, Tensor
from bnguard.analysis.ir.op_types import (
    ARITHMETIC,
    ASSIGNS,
    FUSED_NORMALIZATIONS,
    PLACEHOLDERS,
    RESTORES,
    VARIABLES,
    is_optimizer,
    is_write,
    written_inputs,
)
from bnguard.analysis.recognition.normalizations import Normalization

# The names that layers give their statistics; looked at only where structure says nothing.
_NAME = re.compile(
    r"(?:.*/)?(?:moving|running)_(?P<role>mean|var(?:iance)?)(?:_\d+)?(?:/part_\d+)?\Z", re.DOTALL
)
PARTITION = re.compile(r"/part_\d+\Z")
_STORED = RESTORES | PLACEHOLDERS | VARIABLES | frozenset(["Const", "PlaceholderWithDefault"])
_AVERAGING = ARITHMETIC | frozenset(["Relu", "Sqrt"])  # batch renormalization averages deviations


class Purpose(Enum):
    """Why an op writes a variable."""

    INITIALIZE = "initialize"
    LOAD = "load"  # a stored value, or another variable's
    UPDATE = "update"
    OPTIMIZE = "optimize"


class Write(NamedTuple):
    """An op that writes a variable."""

    node: int
    variable: int
    purpose: Purpose


class Statistic(NamedTuple):
    """A running statistic.

    Attributes:
      variable: its node.
      name: the variable's name.
      role: "mean", "variance", or "" if that cannot be told.
      writes: all, in the graph's order.
      updates: those that move it, as training does.
      readers: the normalizations that may use it.
      sources: the normalizations of whose batches' moments it is the average.
    """

    variable: int
    name: str
    role: str
    writes: Tuple[Write, ...]
    updates: Tuple[Write, ...]
    readers: Tuple[Normalization, ...]
    sources: Tuple[Normalization, ...]

    @property
    def parameters(self) -> Tuple[int, ...]:
        """The gamma and beta, as far as they are variables, of the layer that it is of."""
        parameters = (node for one in self.readers + self.sources for node in one.parameters)
        return tuple(dict.fromkeys(parameters))

    @property
    def layer(self) -> str:
        """The scope that it is in; empty for the outermost."""
        return PARTITION.sub("", self.name).rpartition("/")[0]


def find_writes(loaded: LoadedGraph, provenance: Provenance) -> Dict[int, List[Write]]:
    """All writes of each variable that has any, in the graph's order."""
    graph = provenance.graph
    writes: Dict[int, List[Write]] = {}
    for node in graph.of_types(filter(is_write, graph.present_types())):
        for position in range(written_inputs(graph.types[node])):
            for variable in provenance.variables(graph.data_input(node, position)):
                purpose = _purpose(loaded, provenance, node, variable)
                writes.setdefault(variable, []).append(Write(node, variable, purpose))
    return writes


def find_statistics(
    provenance: Provenance,
    gradients: AbstractSet[int],
    normalizations: Sequence[Normalization],
    writes: Dict[int, List[Write]],
) -> List[Statistic]:
    """The running statistics, in the graph's order.

    They are what a normalization reads as mean or variance; else what an update computes from
    the moments of a batch, but not from gradients; else what has the name of one, and a use.
    """
    graph = provenance.graph
    readers: Dict[int, List[Normalization]] = {}
    roles: Dict[int, str] = {}
    for one in normalizations:
        for role, variables in (("mean", one.running_mean), ("variance", one.running_variance)):
            for variable in variables:
                readers.setdefault(variable, []).append(one)
                roles.setdefault(variable, role)
    owners = {moment: one for one in normalizations for moment in one.moments}
    averaged, helpers = _averages_of_moments(provenance, gradients, set(owners), writes)
    # A second average of the same moments corrects the layer, as in batch renormalization.
    known = {
        moment
        for variable, moments in averaged.items()
        if variable in roles or _NAME.match(graph.names[variable])
        for moment in moments
    }
    for variable, moments in averaged.items():
        if variable not in helpers and not known.issuperset(moments):
            roles.setdefault(variable, _role(provenance, moments[0]))
    for variable in graph.of_types(VARIABLES):
        named = _NAME.match(graph.names[variable])
        if named and not roles.get(variable) and (variable in writes or _is_read(graph, variable)):
            roles[variable] = "mean" if named.group("role") == "mean" else "variance"
    return [
        statistic_of(
            graph,
            variable,
            roles[variable],
            writes,
            readers.get(variable, ()),
            [owners[moment] for moment in averaged.get(variable, ())],
        )
        for variable in sorted(roles)
    ]


def statistic_of(
    graph: Graph,
    variable: int,
    role: str,
    writes: Mapping[int, Sequence[Write]],
    readers: Sequence[Normalization] = (),
    sources: Sequence[Normalization] = (),
) -> Statistic:
    """A variable as a Statistic; `writes` are those of all variables."""
    own = tuple(writes.get(variable, ()))
    return Statistic(
        variable,
        graph.names[variable],
        role,
        own,
        tuple(one for one in own if one.purpose is Purpose.UPDATE),
        tuple(dict.fromkeys(readers)),
        tuple(dict.fromkeys(sources)),
    )


def _purpose(loaded: LoadedGraph, provenance: Provenance, node: int, variable: int) -> Purpose:
    graph = provenance.graph
    names, kind = graph.names, graph.types[node]
    if is_optimizer(kind):
        return Purpose.OPTIMIZE
    if kind not in ASSIGNS:
        return Purpose.UPDATE
    if names.encoded[node] == names.encoded[variable] + b"/Assign":
        return Purpose.INITIALIZE
    if names[node] in loaded.initializers:
        return Purpose.INITIALIZE
    origins = {
        graph.types[origin.node] for origin in provenance.origins(graph.data_inputs(node)[-1])
    }
    return Purpose.LOAD if origins <= _STORED else Purpose.UPDATE


def _is_read(graph: Graph, variable: int) -> bool:
    """Whether anything takes the variable's value: a SavedModel may hold handles left over."""
    return any(
        graph.consumers[reader] or graph.types[reader] not in ("ReadVariableOp", "Identity")
        for reader in graph.consumers[variable]
    )


def _averages_of_moments(
    provenance: Provenance,
    gradients: AbstractSet[int],
    moments: Set[Tensor],
    writes: Dict[int, List[Write]],
) -> Tuple[Dict[int, List[Tensor]], Set[int]]:
    """The variables that updates give any of `moments`, with these.

    The second result are those among them that help to update another, as zero debiasing does.
    """
    averaged: Dict[int, List[Tensor]] = {}
    helpers: Set[int] = set()
    derived: Dict[int, Set[int]] = {}  # variables assigned what others give, without their own
    for variable, all_writes in writes.items() if moments else ():
        for write in all_writes:
            if write.purpose is Purpose.UPDATE:
                value = provenance.graph.data_inputs(write.node)[-1]
                found, met = _search_moments(provenance, gradients, value, moments)
                if found:
                    averaged.setdefault(variable, []).extend(found)
                    helpers |= met - {variable}
                elif provenance.graph.types[write.node] in ASSIGNS and variable not in met:
                    derived.setdefault(variable, set()).update(met)
    for variable, others in derived.items():
        biased = others & averaged.keys() - derived.keys()
        helpers |= biased
        for one in sorted(biased):
            averaged.setdefault(variable, []).extend(averaged[one])
    return averaged, helpers


def _search_moments(
    provenance: Provenance, gradients: AbstractSet[int], value: Tensor, moments: Set[Tensor]
) -> Tuple[List[Tensor], Set[int]]:
    """Those of `moments` that `value` is computed from, and the variables on the way.

    The way does not lead through gradients: what follows these is trained, or helps to train.
    """
    graph = provenance.graph
    stack, seen = [value], {value}
    found, variables = [], set()
    while stack and len(seen) < limits.AVERAGE_TENSORS:
        current = stack.pop()
        kind = graph.types[current.node]
        if current in moments:
            found.append(current)
        elif kind in VARIABLES:
            variables.add(current.node)
        else:
            inputs = provenance.handed_on(current)
            if not inputs and kind in _AVERAGING and current.node not in gradients:
                inputs = graph.data_inputs(current.node)
            for one in inputs:
                if one not in seen:
                    seen.add(one)
                    stack.append(one)
    return found, variables


def _role(provenance: Provenance, moment: Tensor) -> str:
    if provenance.graph.types[moment.node] in FUSED_NORMALIZATIONS:
        return "mean" if moment.port == 1 else "variance"
    return ""
