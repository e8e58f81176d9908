"""Running statistics: which variables they are, what moves them, and which layers use them."""

from __future__ import annotations

import re
from typing import AbstractSet, Dict, List, Mapping, NamedTuple, Sequence, Set, Tuple

from bnguard.analysis import limits
from bnguard.analysis.dataflow.provenance import Provenance
from bnguard.analysis.ir.graph import Graph, Tensor
from bnguard.analysis.ir.op_types import ARITHMETIC, ASSIGNS, FUSED_NORMALIZATIONS, VARIABLES
from bnguard.analysis.recognition.normalizations import Normalization
from bnguard.analysis.recognition.writes import Purpose, Write

PARTITION = re.compile(r"/part_\d+\Z")
"""The end of the name of one slice of a partitioned variable."""

# The names that layers give their statistics; used only where the structure does not tell.
_NAME = re.compile(
    r"(?:.*/)?(?:moving|running)_(?P<role>mean|var(?:iance)?)(?:_\d+)?(?:/part_\d+)?\Z", re.DOTALL
)
_VISITS = 16  # to nodes, which take as long as one tensor of a search
_AVERAGING = ARITHMETIC | frozenset(["Relu", "Sqrt"])  # batch renormalization averages deviations


class Statistic(NamedTuple):
    """A running statistic.

    Attributes:
      variable: the node of the variable.
      name: the name of the variable.
      role: "mean", "variance", or "" if it is not known.
      writes: all writes, in the graph's order.
      updates: the writes that move it, as training does.
      readers: the normalizations that may use it.
      sources: the normalizations whose batch moments it averages.
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
        """The gamma and beta of its layer, without those that are not variables."""
        layers = self.readers + self.sources
        return tuple(dict.fromkeys(node for layer in layers for node in layer.parameters))

    @property
    def layer(self) -> str:
        """The scope of the variable; empty for the outermost."""
        return PARTITION.sub("", self.name).rpartition("/")[0]


def find_statistics(
    provenance: Provenance,
    gradients: AbstractSet[int],
    normalizations: Sequence[Normalization],
    writes: Dict[int, List[Write]],
) -> List[Statistic]:
    """Return the running statistics, in the graph's order.

    A variable is one if a normalization reads it as mean or variance; or if an update computes its
    value from the moments of a batch, but not from gradients; or if it is named like one and used.
    """
    graph = provenance.graph
    readers: Dict[int, List[Normalization]] = {}
    roles: Dict[int, str] = {}
    for layer in normalizations:
        for role, variables in (("mean", layer.running_mean), ("variance", layer.running_variance)):
            for variable in variables:
                readers.setdefault(variable, []).append(layer)
                roles.setdefault(variable, role)
    owners = {moment: layer for layer in normalizations for moment in layer.moments}
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
            roles.setdefault(variable, _role(graph, moments[0]))
    for variable in graph.of_types(VARIABLES):
        named = _NAME.match(graph.names[variable])
        if named and not roles.get(variable) and (variable in writes or _is_read(graph, variable)):
            roles[variable] = "mean" if named.group("role") == "mean" else "variance"
    return [
        make_statistic(
            graph,
            variable,
            roles[variable],
            writes,
            readers.get(variable, ()),
            [owners[moment] for moment in averaged.get(variable, ())],
        )
        for variable in sorted(roles)
    ]


def make_statistic(
    graph: Graph,
    variable: int,
    role: str,
    writes: Mapping[int, Sequence[Write]],
    readers: Sequence[Normalization] = (),
    sources: Sequence[Normalization] = (),
) -> Statistic:
    """Return a variable as a Statistic; `writes` are those of all variables."""
    own_writes = tuple(writes.get(variable, ()))
    return Statistic(
        variable,
        graph.names[variable],
        role,
        own_writes,
        tuple(write for write in own_writes if write.purpose is Purpose.UPDATE),
        tuple(dict.fromkeys(readers)),
        tuple(dict.fromkeys(sources)),
    )


def _is_read(graph: Graph, variable: int) -> bool:
    """Return whether an op takes the variable's value; a SavedModel may hold unused handles."""
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
    """Return the variables that updates move by any of `moments`, with these moments.

    The second result are the variables among them that help to update others, as in zero debiasing.
    """
    averaged: Dict[int, List[Tensor]] = {}
    helpers: Set[int] = set()
    derived: Dict[int, Set[int]] = {}  # variables that are assigned values made of other variables
    for variable, all_writes in writes.items() if moments else ():
        for write in all_writes:
            if write.purpose is Purpose.UPDATE:
                value = provenance.graph.data_inputs(write.node)[-1]
                found, variables, _ = value_sources(provenance, gradients, value, moments)
                if found:
                    averaged.setdefault(variable, []).extend(found)
                    helpers |= variables - {variable}
                elif provenance.graph.types[write.node] in ASSIGNS and variable not in variables:
                    derived.setdefault(variable, set()).update(variables)
    for variable, others in derived.items():
        biased = others & averaged.keys() - derived.keys()
        helpers |= biased
        for other in sorted(biased):
            averaged.setdefault(variable, []).extend(averaged[other])
    return averaged, helpers


class ValueSources(NamedTuple):
    """What a value is computed from by arithmetic, besides constants.

    Attributes:
      moments: moments of a batch.
      variables: variables, on the way to moments or without any.
      others: other tensors.
    """

    moments: List[Tensor]
    variables: Set[int]
    others: List[Tensor]


def value_sources(
    provenance: Provenance, gradients: AbstractSet[int], value: Tensor, moments: AbstractSet[Tensor]
) -> ValueSources:
    """Return what `value` is computed from; of moments, those of `moments`.

    The search does not enter gradients: what depends on them is trained, or helps to train.
    """
    graph = provenance.graph
    stack, seen = [value], {value}
    sources = ValueSources([], set(), [])
    while stack:
        if len(seen) > limits.AVERAGE_TENSORS:
            limits.AVERAGE_TENSORS.reach()
            sources.moments.extend(tensor for tensor in stack if tensor in moments)
            sources.others.extend(stack)
            break
        current = stack.pop()
        op_type = graph.types[current.node]
        if current in moments:
            sources.moments.append(current)
        elif op_type in VARIABLES:
            sources.variables.add(current.node)
        else:
            inputs = provenance.passed_on(current)
            if not inputs and op_type in _AVERAGING and current.node not in gradients:
                inputs = graph.data_inputs(current.node)
            if not inputs and op_type != "Const":
                sources.others.append(current)
            for tensor in inputs:
                if tensor not in seen:
                    seen.add(tensor)
                    stack.append(tensor)
    limits.spend(_VISITS * len(seen))
    return sources


def _role(graph: Graph, moment: Tensor) -> str:
    if graph.types[moment.node] in FUSED_NORMALIZATIONS:
        return "mean" if moment.port == 1 else "variance"
    return ""
