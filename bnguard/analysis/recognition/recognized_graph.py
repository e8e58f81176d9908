"""What is known of a graph before any step of it is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import AbstractSet, Dict, Iterable, List, Tuple

from bnguard.analysis.dataflow.provenance import Provenance
from bnguard.analysis.dataflow.reachability import closure
from bnguard.analysis.errors import AuditError
from bnguard.analysis.frontend.loader import LoadedGraph
from bnguard.analysis.ir.graph import CONTROL, Graph, Tensor
from bnguard.analysis.ir.op_types import is_optimizer
from bnguard.analysis.recognition.gradients import after_gradients, gradient_nodes, gradient_takers
from bnguard.analysis.recognition.normalizations import Normalization, find_normalizations
from bnguard.analysis.recognition.statistics import (
    Purpose,
    Statistic,
    Write,
    find_statistics,
    find_writes,
)

_FEW = 3


@dataclass(frozen=True)
class RecognizedGraph:
    """A graph, understood.

    Attributes:
      subject: the graph and what was stored with it.
      tracer: of the graph.
      gradients: the nodes that compute gradients.
      backward: the gradients, the optimizers' ops, and all that depends on any of them.
      appliers: the ops that apply them, by an optimizer's op or by hand, or add them up for that.
      normalizations: in the graph's order.
      writes: all writes of each variable, by its node.
      statistics: the running statistics, in the graph's order.
    """

    loaded: LoadedGraph
    provenance: Provenance
    gradients: AbstractSet[int]
    backward: AbstractSet[int]
    appliers: AbstractSet[int]
    normalizations: Tuple[Normalization, ...]
    writes: Dict[int, List[Write]]
    statistics: Tuple[Statistic, ...]

    @property
    def graph(self) -> Graph:
        """The subject's graph."""
        return self.loaded.graph

    def collection(self, key: str) -> List[int]:
        """The nodes in a collection, as far as they exist."""
        tensors = map(self.graph.tensor, self.loaded.collections.get(key, ()))
        return list(dict.fromkeys(tensor.node for tensor in tensors if tensor is not None))

    def tensor(self, name: str) -> Tensor:
        """The tensor called `name`: `node` or `node:port`.

        Raises:
          AuditError: there is none.
        """
        tensor = self.graph.tensor(name) if name else None
        if tensor is None:
            raise AuditError(f"{self.loaded.label}: no node is named {name!r}{self._similar(name)}")
        return tensor

    def operation(self, name: str) -> Tensor:
        """What to fetch in order to run the op called `name`.

        Raises:
          AuditError: there is none.
        """
        return Tensor(self.tensor(name).node, CONTROL)

    def movers(self, variables: Iterable[int]) -> List[Write]:
        """The writes that train any of `variables`, or move it as an average is moved."""
        writes = (write for one in variables for write in self.writes.get(one, ()))
        return [one for one in writes if one.purpose in (Purpose.OPTIMIZE, Purpose.UPDATE)]

    def loaded_values(self, variable: int) -> List[Tensor]:
        """What ops assign to it that is stored, fed, or another variable's value."""
        writes = (one for one in self.writes.get(variable, ()) if one.purpose is Purpose.LOAD)
        return [self.graph.data_inputs(write.node)[-1] for write in writes]

    def name(self, tensor: Tensor) -> str:
        """`node:port`, or `node` for an op that is run."""
        name = self.graph.names[tensor.node]
        return name if tensor.port == CONTROL else f"{name}:{tensor.port}"

    def _similar(self, name: str) -> str:
        last = name.rpartition("/")[2].partition(":")[0].lower()
        similar = [one for one in self.graph.names if last and last in one.lower()]
        similar.sort(key=lambda one: (len(one), one))
        return f"; do you mean {' or '.join(similar[:_FEW])}?" if similar else ""


def recognize(loaded: LoadedGraph) -> RecognizedGraph:
    """Find the variables of a graph, their writers, and the running statistics among them."""
    graph, provenance = loaded.graph, Provenance(loaded.graph)
    gradients = gradient_nodes(graph)
    normalizations = find_normalizations(provenance, gradients)
    writes = find_writes(loaded, provenance)
    statistics = find_statistics(provenance, gradients, normalizations, writes)
    optimizers = graph.of_types(filter(is_optimizer, list(graph.present_types())))
    after = after_gradients(graph, gradients)
    appliers = gradient_takers(graph, gradients, after).union(optimizers)
    backward = gradients.union(closure(after.union(optimizers), graph.consumers))
    appliers.difference_update(write.node for one in statistics for write in one.updates)
    return RecognizedGraph(
        loaded,
        provenance,
        gradients,
        backward,
        appliers,
        tuple(normalizations),
        writes,
        tuple(statistics),
    )
