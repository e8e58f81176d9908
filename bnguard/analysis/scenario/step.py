"""One step of a program: what it evaluates, and what it does to the running statistics."""

from __future__ import annotations

from typing import Dict, Iterable, Mapping, Optional, Set, Tuple

from bnguard.analysis import limits
from bnguard.analysis.dataflow.constant_folding import StaticValue
from bnguard.analysis.dataflow.execution import Execution
from bnguard.analysis.dataflow.predicates import ALWAYS, conjunction, disjunction
from bnguard.analysis.dataflow.reachability import data_closure
from bnguard.analysis.findings import Op, fetch_in_short
from bnguard.analysis.ir.graph import Tensor
from bnguard.analysis.ir.op_types import is_optimizer
from bnguard.analysis.recognition.normalizations import Normalization
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.scenario.write_effects import WriteEffect, WriteEffects

Feeds = Mapping[Tensor, StaticValue]
"""The value of each tensor that is fed; None for a value that is not known."""

_SHORTEST_PATH = 8  # ops of a path that are kept however many statistics there are


class Step:
    """One step.

    Attributes:
      recognized: the graph.
      fetch: the names of what is fetched or run.
      execution: what the step evaluates.
    """

    def __init__(self, recognized: RecognizedGraph, fetch: str, execution: Execution) -> None:
        self.recognized = recognized
        self.fetch = fetch
        self.execution = execution
        self._graph = recognized.graph
        self._appliers = list(filter(execution.needs, recognized.appliers))
        self._effects = WriteEffects(execution)
        self._longest_path = max(
            _SHORTEST_PATH, limits.PATH_OPS // max(1, len(recognized.statistics))
        )
        self._ops: Dict[int, Op] = {}  # shared by the paths, which have most ops in common
        # Computed when first asked for:
        self._effects_by_variable: Dict[int, Tuple[WriteEffect, ...]] = {}
        self._behind_gradients: Optional[Set[int]] = None

    @classmethod
    def of_fetches(
        cls, recognized: RecognizedGraph, fetch: str, fetches: Iterable[Tensor], feeds: Feeds
    ) -> Step:
        """Return the step that fetches or runs `fetches`.

        What its ops with side effects take is used as what it fetches is: no data edge leads from
        the update ops of metrics, from queues, writers of summaries or `tf.print` to the fetches.
        """
        fetched = tuple(fetches)
        outlets = recognized.side_effects | _members_of_groups(recognized, fetched)
        execution = Execution(recognized.graph, fetched, feeds, outlets=outlets)
        return cls(recognized, fetch, execution)

    @property
    def label(self) -> str:
        """What is fetched or run, for a message."""
        return fetch_in_short(self.fetch)

    def with_feeds(self, feeds: Feeds) -> Step:
        """Return the step with the same fetches and other feeds."""
        return Step(self.recognized, self.fetch, self.execution.with_feeds(feeds))

    def runs(self, node: int) -> bool:
        """Return whether the step certainly runs `node`."""
        return self.execution.predicate(node) == ALWAYS

    def effects(self, statistic: Statistic) -> Tuple[WriteEffect, ...]:
        """Return the writes that may give the statistic another value in this step."""
        if statistic.variable not in self._effects_by_variable:
            self._effects_by_variable[statistic.variable] = self._effects.of(statistic.writes)
        return self._effects_by_variable[statistic.variable]

    def certainly_changes(self, statistic: Statistic) -> bool:
        """Return whether the statistic changes for every outcome of the undecided branches."""
        predicates = [effect.predicate for effect in self.effects(statistic)]
        return disjunction(predicates, statistic.variable) == ALWAYS

    def uses_moments(self, layer: Normalization) -> bool:
        """Return whether a layer may normalize the fetched value with the moments of its batch.

        It does not if the moments only reach the layer's updates.
        """
        execution = self.execution
        moments = [moment.node for moment in layer.moments if execution.may_run(moment.node)]
        return any(map(execution.uses, moments)) and execution.uses(layer.node)

    def condition(self, nodes: Iterable[int]) -> str:
        """Return under which outcomes the step runs all of `nodes`, such as `flag:0 is True`.

        It is empty if they certainly run, or if no tensor has a name that says it.
        """
        predicate = conjunction(map(self.execution.predicate, nodes)) or ALWAYS
        outcomes = {}
        for outcome in predicate:
            if isinstance(outcome.selector, Tensor) and outcome.ports == 2:
                root = self.recognized.provenance.root(outcome.selector)
                is_variable = self.recognized.provenance.is_variable(root)
                names = self.recognized.graph.names
                name = names[root.node] if is_variable else self.recognized.name(root)
                outcomes[name] = bool(outcome.port)
        return " and ".join(f"{name} is {value}" for name, value in sorted(outcomes.items()))

    def applies_gradients(self) -> bool:
        """Return whether an optimizer runs in the step, which then does not only add gradients."""
        optimizers = self._graph.of_types(filter(is_optimizer, self._graph.present_types()))
        return any(map(self.execution.needs, optimizers))

    def behind_gradients(self) -> Set[int]:
        """Return what the gradients that the step applies are computed from."""
        if self._behind_gradients is None:
            self._behind_gradients = data_closure(self._graph, self._appliers)
        return self._behind_gradients

    def foreign(self, nodes: Iterable[int]) -> Set[int]:
        """Return those of `nodes` that the step needs, but computes no applied gradient from."""
        needed = set(filter(self.execution.needs, nodes if self._appliers else ()))
        return needed and needed - data_closure(self._graph, self._appliers, until=needed)

    def path(self, node: int, is_data: bool = False) -> Tuple[Op, ...]:
        """Return the ops of a shortest path from the fetch back to `node`.

        In a graph with very many statistics a long path is cut to its last ops.

        Args:
          node: the node, which the step needs.
          is_data: whether to go along the value of `node` alone, which the fetch is computed from.
        """
        find = self.execution.data_path if is_data else self.execution.path
        nodes = find(node, self._longest_path)
        if nodes[0] not in {tensor.node for tensor in self.execution.fetches}:
            limits.PATH_OPS.reach()  # the path was cut
        for op in nodes:
            if op not in self._ops:
                self._ops[op] = Op(self._graph.names[op], self._graph.types[op])
        return tuple(map(self._ops.__getitem__, nodes))


def _members_of_groups(recognized: RecognizedGraph, fetches: Iterable[Tensor]) -> Set[int]:
    """Return the members of the groups that are fetched, without those that average moments."""
    graph = recognized.graph
    found: Set[int] = set()
    stack = [tensor.node for tensor in fetches]
    while stack:
        node = stack.pop()
        members = set(graph.sources[node]) if graph.types[node] == "NoOp" else set()
        members -= found | recognized.averaging
        found |= members
        stack += members
    return found
