"""The remedy for updates that training does not run: made from what the graph has.

Updates in a collection are named by that collection, and by a scope if it contains those of other
networks; others by the names of their ops. In a loop or branch only the layer itself can run them.
"""

from __future__ import annotations

from typing import AbstractSet, Dict, Iterable, List, Optional, Sequence, Set

from bnguard.analysis import limits
from bnguard.analysis.dataflow.loops import nodes_in_loops
from bnguard.analysis.dataflow.reachability import closure
from bnguard.analysis.ir.graph import MERGES
from bnguard.analysis.ir.op_types import SWITCHES
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.scenario.step import Step

UPDATE_OPS = "update_ops"

# Edges from what stands for an update in a collection, such as a group or a Merge, to the update.
_EDGES_TO_UPDATE = 3
_SHOWN_OPS = 4
_SHOWN_COLLECTIONS = 3


class UpdateRemedy:
    """How training can come to run updates.

    Args:
      recognized: the graph.
      steps: the training steps; empty if none is known.
      flags: the nodes of the training flags.
    """

    def __init__(
        self, recognized: RecognizedGraph, steps: Sequence[Step], flags: AbstractSet[int]
    ) -> None:
        self._recognized = recognized
        self._graph = recognized.graph
        self._steps = steps
        self._flags = flags
        self._members: Dict[str, Dict[int, int]] = {}  # see `members`
        self._layers = {
            moment.node: layer.node
            for layer in recognized.normalizations
            for moment in layer.moments
        }
        self._in_loops: Optional[Set[int]] = None

    @property
    def has_collections(self) -> bool:
        """Whether the graph has collections; a GraphDef has none."""
        return bool(self._recognized.loaded.collections)

    def members(self, collection: str) -> Dict[int, int]:
        """Return, for each node in or behind what is in a collection, the member of that."""
        if collection not in self._members:
            graph = self._graph
            found = {node: node for node in self._recognized.collection(collection)}
            for _ in range(_EDGES_TO_UPDATE):
                behind = {
                    source: member
                    for node, member in found.items()
                    for source in graph.sources[node]
                }
                found = {**behind, **found}
            inside = {
                f"{graph.names[node]}/".encode(): member
                for node, member in found.items()
                if node in graph.lowered
            }
            for node, name in enumerate(graph.names.encoded) if inside else ():
                if name.startswith(tuple(inside)):
                    scope = next(scope for scope in inside if name.startswith(scope))
                    found.setdefault(node, inside[scope])
            self._members[collection] = found
        return self._members[collection]

    def text(self, statistics: Sequence[Statistic]) -> str:
        """Return what to do so that training moves these statistics, all with updates alike."""
        updates = [write.node for statistic in statistics for write in statistic.updates]
        place = self._place(updates)
        if place:
            return f"Let the layer update in place (updates_collections=None), inside the {place}"
        trained = {step: self._trained(step, statistics) for step in self._steps}
        several = [step for step, own in trained.items() if own]
        if len(several) > 1:
            parts = [f"{step.fetch} under {self._dependencies(trained[step])}" for step in several]
            return f"Build each train op under the updates of its own network: {'; '.join(parts)}"
        own = trained[several[0]] if several else _first_of_each(statistics)
        dependencies = self._dependencies(own)
        text = f"Build the train op under {dependencies}"
        is_all = dependencies.endswith("tf.get_collection(tf.GraphKeys.UPDATE_OPS))`")
        return f"{text}, or with a create_train_op that does so" if is_all else text

    def _place(self, updates: Sequence[int]) -> str:
        """Return "loop" or "branch" if no op outside of one can wait for the updates."""
        if self._in_loops is None:
            self._in_loops = nodes_in_loops(self._graph)
        if not self._in_loops.isdisjoint(updates):
            return "loop"
        graph, members = self._graph, self.members(UPDATE_OPS)
        merges = set(graph.of_types(MERGES))
        # A layer may have branches of its own, and collect what comes out of these.
        nodes = [members.get(node, node) for node in updates]
        before = closure(nodes, graph.sources, merges) if graph.of_types(SWITCHES) else set()
        selectors = {graph.selector(node).node for node in before if graph.types[node] in SWITCHES}
        own = self._flags if members.keys().isdisjoint(updates) else frozenset()
        is_in_branch = any(
            own.isdisjoint(closure([selector], graph.sources)) for selector in selectors
        )
        return "branch" if is_in_branch else ""

    def _trained(self, step: Step, statistics: Sequence[Statistic]) -> List[int]:
        """Return an update of each statistic whose layer a step computes gradients from."""
        behind = step.behind_gradients() if step.applies_gradients() else set()
        found = []
        for statistic in statistics:
            movers = self._recognized.movers(statistic.parameters)
            is_trained = any(step.execution.needs(write.node) for write in movers)
            if movers and not is_trained:
                continue
            nodes = (write.node for write in statistic.updates)
            found += [node for node in nodes if self._layer_of(node) in behind][:1]
        return found

    def _layer_of(self, update: int) -> Optional[int]:
        """Return the layer whose moments an update averages."""
        stack, seen = [update], {update}
        while stack and len(seen) <= limits.AVERAGE_TENSORS:
            node = stack.pop()
            if node in self._layers:
                return self._layers[node]
            unseen = {tensor.node for tensor in self._graph.data_inputs(node)} - seen
            seen |= unseen
            stack += sorted(unseen)
        return None

    def _dependencies(self, updates: Sequence[int]) -> str:
        """Return the tf.control_dependencies that run `updates`, and no others, if that can be."""
        if not self.has_collections:
            return f"tf.control_dependencies on the update ops {self._named(updates)}"
        names = [
            name
            for name in self._recognized.loaded.collections
            if not set(updates).isdisjoint(self.members(name))
        ]
        names.sort(key=lambda name: name != UPDATE_OPS)
        if not names:
            return (
                f"tf.control_dependencies on the update ops {self._named(updates)}, which are in "
                "no collection; Keras has those of one call in `model.get_updates_for(inputs)`"
            )
        for name in names:
            expression = self._collection(name, updates)
            if expression:
                return f"`tf.control_dependencies({expression})`"
        if len(names) <= _SHOWN_COLLECTIONS and UPDATE_OPS not in names:
            expression = " + ".join(f"tf.get_collection({name!r})" for name in names)
            return f"`tf.control_dependencies({expression})`"
        where = "UPDATE_OPS" if UPDATE_OPS in names else ", ".join(names[:_SHOWN_COLLECTIONS])
        return f"tf.control_dependencies on {self._named(updates)}, which are in {where}"

    def _collection(self, name: str, updates: Sequence[int]) -> str:
        """Return the call that gets `updates`, and no other updates, from a collection, or ""."""
        members = self.members(name)
        if not members.keys() >= set(updates):
            return ""
        key = "tf.GraphKeys.UPDATE_OPS" if name == UPDATE_OPS else repr(name)
        names = self._graph.names
        own = {names[members[node]] for node in updates}
        others = {names[node] for node in self._recognized.collection(name)} - own
        if not others:
            return f"tf.get_collection({key})"
        scope = _common_scope(own)
        if scope and not any(other.startswith(scope) for other in others):
            return f"tf.get_collection({key}, scope={scope!r})"
        return ""

    def _named(self, updates: Sequence[int]) -> str:
        names = [self._graph.names[node] for node in updates]
        shown = ", ".join(names[:_SHOWN_OPS])
        more = len(names) - _SHOWN_OPS
        return f"{shown} and {more} more" if more > 0 else shown


def _common_scope(names: Iterable[str]) -> str:
    """Return the innermost scope that contains all names, with a slash at its end, or ""."""
    common: List[str] = []
    for level in zip(*(name.split("/")[:-1] for name in names)):
        if len(set(level)) > 1:
            break
        common.append(f"{level[0]}/")
    return "".join(common)


def _first_of_each(statistics: Sequence[Statistic]) -> List[int]:
    return [statistic.updates[0].node for statistic in statistics if statistic.updates]
