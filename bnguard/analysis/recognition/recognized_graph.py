"""Recognition: all that is known of a graph before any step is analysed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import AbstractSet, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

from bnguard.analysis import limits
from bnguard.analysis.dataflow.provenance import Provenance
from bnguard.analysis.dataflow.reachability import closure, data_closure
from bnguard.analysis.errors import AuditError
from bnguard.analysis.findings import Location
from bnguard.analysis.frontend.loader import LoadedGraph
from bnguard.analysis.ir.graph import CONTROL, Graph, Tensor
from bnguard.analysis.ir.op_types import (
    ASSIGNS,
    ENGINE,
    has_no_gradient,
    has_side_effect,
    is_optimizer,
)
from bnguard.analysis.recognition.gradients import (
    Gradients,
    after_gradients,
    differentiated_nodes,
    find_gradients,
    gradient_takers,
)
from bnguard.analysis.recognition.normalizations import Normalization, find_normalizations
from bnguard.analysis.recognition.statistics import (
    Statistic,
    ValueSources,
    find_statistics,
    value_sources,
)
from bnguard.analysis.recognition.writes import Purpose, Write, find_writes


@dataclass(frozen=True)
class RecognizedGraph:
    """A graph with what in it is batch normalization.

    Attributes:
      loaded: the graph and what was stored with it.
      provenance: the provenance of its tensors.
      gradients: what computes gradients.
      backward: the gradients that no layer is given, the optimizers' ops, and all that depends on
        any of them.
      appliers: the ops that apply gradients, by an optimizer or by hand, or accumulate them.
      normalizations: the layers, in the graph's order.
      moments: the moments of batches that the layers take.
      writes: all writes of each variable, by its node.
      statistics: the running statistics, in the graph's order.
      averaging: the writes of statistics, and of what else averages moments, as in batch
        renormalization.
      limits: the limits that recognition reached, and what followed.
    """

    loaded: LoadedGraph
    provenance: Provenance
    gradients: Gradients
    backward: AbstractSet[int]
    appliers: AbstractSet[int]
    normalizations: Tuple[Normalization, ...]
    moments: AbstractSet[Tensor]
    writes: Dict[int, List[Write]]
    statistics: Tuple[Statistic, ...]
    averaging: AbstractSet[int]
    limits: Tuple[str, ...] = ()

    @property
    def graph(self) -> Graph:
        """The graph itself."""
        return self.loaded.graph

    @property
    def update_ops(self) -> Set[int]:
        """The ops that update any running statistic, in a collection or not."""
        return {write.node for statistic in self.statistics for write in statistic.updates}

    @property
    def side_effects(self) -> Set[int]:
        """The ops with side effects, without those that average moments: this uses no moment."""
        types = filter(has_side_effect, list(self.graph.present_types()))
        return set(self.graph.of_types(types)) - self.averaging

    def collection(self, key: str) -> List[int]:
        """Return the nodes in a collection that exist."""
        tensors = map(self.graph.tensor, self.loaded.collections.get(key, ()))
        return list(dict.fromkeys(tensor.node for tensor in tensors if tensor is not None))

    def tensor(self, name: str) -> Tensor:
        """Return the tensor called `name`: `node` or `node:port`.

        Raises:
          AuditError: there is no such node.
        """
        tensor = self.graph.tensor(name) if name else None
        if tensor is None:
            raise AuditError(f"{self.loaded.label}: no node is named {name!r}")
        return tensor

    def operation(self, name: str) -> Tensor:
        """Return what a step fetches to run the op called `name`.

        Raises:
          AuditError: there is no such node.
        """
        return Tensor(self.tensor(name).node, CONTROL)

    def location(self, node: int) -> Optional[Location]:
        """Return where the user's program built a node; None if that is not known."""
        return self.loaded.source_lines.location(self.graph, node)

    def movers(self, variables: Iterable[int]) -> List[Write]:
        """Return the writes that train any of `variables`, or move it as an average is moved."""
        writes = (write for variable in variables for write in self.writes.get(variable, ()))
        return [write for write in writes if write.purpose in (Purpose.OPTIMIZE, Purpose.UPDATE)]

    def written_from(self, write: Write) -> ValueSources:
        """Return what the value that a write assigns, or adds, is computed from."""
        value = self.graph.data_inputs(write.node)[-1]
        return value_sources(self.provenance, self.gradients.nodes, value, self.moments)

    def cut_off(self, nodes: Iterable[int]) -> Set[int]:
        """Return those of `nodes` that the loss depends on, but by ops without gradient alone."""
        graph, found = self.graph, set(nodes)
        if not found:
            return found
        differentiated = differentiated_nodes(graph, self.gradients)
        cutting = set(graph.of_types(filter(has_no_gradient, list(graph.present_types()))))
        found &= data_closure(graph, differentiated)
        return found - data_closure(graph, differentiated, closed=cutting) if found else found

    def is_scalar(self, variable: int) -> bool:
        """Return whether a variable is a number, such as a learning rate."""
        shape = self.graph.attributes(variable)["shape"].shape
        return not shape.dim and not shape.unknown_rank

    def loaded_values(self, variable: int) -> List[Tensor]:
        """Return the stored or fed values, or those of other variables, that ops assign to it."""
        writes = self.writes.get(variable, ())
        loads = [write.node for write in writes if write.purpose is Purpose.LOAD]
        return [self.graph.data_inputs(node)[-1] for node in loads]

    def name(self, tensor: Tensor) -> str:
        """Return `node:port`, or `node` for an op that is run."""
        name = self.graph.names[tensor.node]
        return name if tensor.port == CONTROL else f"{name}:{tensor.port}"


def recognize(loaded: LoadedGraph) -> RecognizedGraph:
    """Find the variables of a graph, their writes, and the running statistics among them."""
    with limits.collect() as reached:
        recognized = _recognize(loaded)
    return replace(recognized, limits=tuple(reached))


def _recognize(loaded: LoadedGraph) -> RecognizedGraph:
    graph, provenance = loaded.graph, Provenance(loaded.graph)
    if ENGINE in graph.present_types():
        limits.ENGINES.reach()
    found = find_gradients(graph)
    gradients = found.nodes
    normalizations = find_normalizations(provenance, gradients)
    writes = find_writes(loaded, provenance)
    statistics = find_statistics(provenance, gradients, normalizations, writes)
    optimizers = graph.of_types(filter(is_optimizer, list(graph.present_types())))
    training = gradients - _gradients_in_network(graph, found, normalizations)
    after = after_gradients(graph, training)
    appliers = gradient_takers(graph, training, after).union(optimizers)
    backward = training.union(closure(after.union(optimizers), graph.consumers))
    updates = (write.node for statistic in statistics for write in statistic.updates)
    appliers.difference_update(updates)
    moments = {moment for layer in normalizations for moment in layer.moments}
    return RecognizedGraph(
        loaded,
        provenance,
        found,
        backward,
        appliers,
        tuple(normalizations),
        moments,
        writes,
        tuple(statistics),
        _averaging(provenance, gradients, moments, statistics, writes),
    )


def _averaging(
    provenance: Provenance,
    gradients: AbstractSet[int],
    moments: AbstractSet[Tensor],
    statistics: Iterable[Statistic],
    writes: Mapping[int, Sequence[Write]],
) -> Set[int]:
    """Return the writes of statistics, and those of other variables that average moments."""
    found = {write.node for statistic in statistics for write in statistic.writes}
    graph = provenance.graph
    for write in chain.from_iterable(writes.values()) if moments else ():
        if write.purpose is Purpose.UPDATE and write.node not in found:
            value = graph.data_inputs(write.node)[-1]
            sources = value_sources(provenance, gradients, value, moments)
            adds = graph.types[write.node] not in ASSIGNS or write.variable in sources.variables
            if sources.moments and adds:
                found.add(write.node)
    return found


def _gradients_in_network(
    graph: Graph, gradients: Gradients, normalizations: Sequence[Normalization]
) -> AbstractSet[int]:
    """Return the gradients that a layer's input is computed from, as in meta-learning.

    Where scopes tell gradients, these are all in the scope.
    """
    layers = {layer.node for layer in normalizations} - gradients.nodes
    used = data_closure(graph, layers) & gradients.nodes if gradients.nodes else set()
    names = graph.names.encoded
    scopes = {
        scope for scope in gradients.scopes if any(names[node].startswith(scope) for node in used)
    }
    inside = (node for node in gradients.nodes if names[node].startswith(tuple(scopes)))
    return used.union(inside) if scopes else used
