"""The remedy for a train op that runs the wrong updates, or none: made from what the graph has.

Updates in a collection are named by that collection, and by a scope if it contains those of other
networks; others by the names of their ops. In a loop or branch only the layer itself can run them.
"""

from __future__ import annotations

import re
from typing import AbstractSet, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

from bnguard.analysis import limits
from bnguard.analysis.dataflow.loops import nodes_in_loops
from bnguard.analysis.dataflow.reachability import closure, data_closure
from bnguard.analysis.ir.graph import MERGES
from bnguard.analysis.ir.op_types import SWITCHES
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.scenario.scenario import Scenario
from bnguard.analysis.scenario.step import Step

UPDATE_OPS = "update_ops"

# Edges from what stands for an update in a collection, such as a group or a Merge, to the update.
_EDGES_TO_UPDATE = 3
_SHOWN_OPS = 4
_SHOWN_COLLECTIONS = 3
_SHOWN_SCOPES = 4
_OF_KERAS = re.compile(r"AssignMovingAvg(_\d+)?(/|\Z)")
_REMEDY_FOR_KERAS = "Keras has those of one call in `model.get_updates_for(inputs)`"


class UpdateRemedy:
    """How training can come to run its updates, and no others.

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
        self._given = steps
        self._flags = flags
        self._members: Dict[str, Dict[int, int]] = {}  # see `members`
        self._own_updates: Dict[Step, str] = {}
        # Computed when first asked for:
        self._computing: Optional[List[Step]] = None
        self._in_loops: Optional[Set[int]] = None
        self._in_branches: Optional[Tuple[Set[int], Set[int]]] = None

    @property
    def _steps(self) -> List[Step]:
        """The steps that compute gradients, or all if none does."""
        if self._computing is None:
            computing = [step for step in self._given if step.behind_gradients()]
            self._computing = computing or list(self._given)
        return self._computing

    @property
    def has_collections(self) -> bool:
        """Whether the graph has collections; a GraphDef has none."""
        return bool(self._recognized.loaded.collections)

    def members(self, collection: str) -> Dict[int, int]:
        """Return, for each node in or behind what is in a collection, the member of that.

        Only UPDATE_OPS may contain what training computes: a loss and a train op depend on updates,
        too, and are in collections of their own.
        """
        if collection not in self._members:
            graph = self._graph
            nodes = self._recognized.collection(collection)
            if collection != UPDATE_OPS:
                nodes = [node for node in nodes if not self._is_of_training(node)]
            found = {node: node for node in nodes}
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

    def _is_of_training(self, node: int) -> bool:
        is_behind = any(node in step.behind_gradients() for step in self._steps)
        return is_behind or node in self._recognized.backward

    def place(self, statistic: Statistic) -> str:
        """Return "loop" or "branch" if no op outside of one can wait for the updates, or ""."""
        if self._in_loops is None:
            self._in_loops = nodes_in_loops(self._graph)
        updates = [write.node for write in statistic.updates]
        if not self._in_loops.isdisjoint(updates):
            return "loop"
        members = self.members(UPDATE_OPS)
        if members.keys().isdisjoint(updates):
            _, of_others = self._branches()
            return "" if of_others.isdisjoint(updates) else "branch"
        # A layer may have branches of its own, and collect what comes out of these.
        in_any, _ = self._branches()
        return "" if in_any.isdisjoint(members.get(node, node) for node in updates) else "branch"

    def text(self, statistics: Sequence[Statistic]) -> str:
        """Return what to do so that training moves these statistics, all in one kind of place."""
        place = self.place(statistics[0])
        if place:
            return f"Let the layer update in place (updates_collections=None), inside the {place}"
        updates = self._updates_by_step(statistics)
        dependencies = {step: self._dependencies(found) for step, found in updates.items()}
        first = next(iter(dependencies.values()))
        if set(dependencies.values()) != {first}:
            parts = (f"{step} under {expression}" for step, expression in dependencies.items())
            return f"Build each train op under the updates of its own network: {'; '.join(parts)}"
        train_op = "the train op"
        if len(self._labels()) > 1:
            train_op = "each train op" if len(dependencies) > 1 else next(iter(dependencies))
        text = f"Build {train_op} under {first}"
        is_all = first == f"`tf.control_dependencies({_get_collection(UPDATE_OPS)})`"
        return f"{text}, or with a create_train_op that does so" if is_all else text

    def own(self, step: Step, statistic: Statistic) -> Dict[int, int]:
        """Return the updates of a statistic whose layers a step trains, each with its layer."""
        behind = step.behind_gradients() if self._trains(step, statistic) else ()
        layers = self._layers_by_update(statistic).items()
        return {update: layer for update, layer in layers if layer is not None and layer in behind}

    def own_updates(self, step: Step) -> str:
        """Return the tf.control_dependencies for the updates of the network that a step trains.

        They run one update of each statistic: if a layer is called several times, that of one call.
        The result is empty if there are none that an op can wait for, or if the loss waits for
        each already.
        """
        if step not in self._own_updates:
            first = [
                update
                for statistic in self._recognized.statistics
                if statistic.updates and not self.place(statistic)
                for update, layer in list(self.own(step, statistic).items())[:1]
                if not self._is_in_place(step, update, layer)
            ]
            self._own_updates[step] = self._dependencies(first) if first else ""
        return self._own_updates[step]

    def train_op(self, step: Step) -> str:
        """Return what to call the train op of a step: by its name if there are several."""
        return self._label(step) if len(self._labels()) > 1 else "the train op"

    def _is_in_place(self, step: Step, update: int, layer: int) -> bool:
        """Return whether an update is in no collection, and its layer's output waits for it."""
        if any(update in self.members(name) for name in self._recognized.loaded.collections):
            return False
        graph, behind = self._graph, step.behind_gradients() - self._recognized.backward
        after = {update}
        for _ in range(_EDGES_TO_UPDATE):
            after = {consumer for node in after for consumer in graph.consumers[node]}
            if any(layer in data_closure(graph, [node], until={layer}) for node in after & behind):
                return True
        return False

    def _branches(self) -> Tuple[Set[int], Set[int]]:
        """Return the nodes in branches, and those in branches that no training flag decides."""
        if self._in_branches is None:
            graph = self._graph
            switches = [
                node
                for node in graph.of_types(SWITCHES)
                if graph.types[graph.selector(node).node] != "LoopCond"
            ]
            by_flags = closure(self._flags, graph.consumers)
            others = [node for node in switches if graph.selector(node).node not in by_flags]
            merges = set(graph.of_types(MERGES))
            self._in_branches = (
                closure(switches, graph.consumers, merges) - merges,
                closure(others, graph.consumers, merges) - merges,
            )
        return self._in_branches

    def _labels(self) -> List[str]:
        """Return what each training step fetches; steps may differ in their feeds alone."""
        return list(dict.fromkeys(map(self._label, self._steps)))

    def _label(self, step: Step) -> str:
        return ", ".join(map(self._recognized.name, step.execution.fetches))

    def _updates_by_step(self, statistics: Sequence[Statistic]) -> Dict[str, List[int]]:
        """Return, for each training step, an update of each statistic whose layer it trains.

        A statistic whose layer no step trains is given to one that runs its layer.
        """
        found: Dict[str, List[int]] = {label: [] for label in self._labels()} or {"": []}
        for statistic in statistics:
            chosen: Dict[str, int] = {}
            for step in self._steps:
                for update in list(self.own(step, statistic))[:1]:
                    chosen.setdefault(self._label(step), update)
            for label, update in (chosen or self._any_that_runs(statistic)).items():
                found[label].append(update)
        return {label: updates for label, updates in found.items() if updates}

    def _any_that_runs(self, statistic: Statistic) -> Dict[str, int]:
        layers = self._layers_by_update(statistic)
        for step in self._steps:
            for update, layer in layers.items():
                if layer is not None and step.execution.needs(layer):
                    return {self._label(step): update}
        return {next(iter(self._labels()), ""): next(iter(layers))}

    def _trains(self, step: Step, statistic: Statistic) -> bool:
        """Return whether a step trains gamma or beta, or may add up gradients of these."""
        movers = self._recognized.movers(statistic.parameters)
        is_trained = any(step.execution.needs(write.node) for write in movers)
        return is_trained or not movers or not step.applies_gradients()

    def _layers_by_update(self, statistic: Statistic) -> Dict[int, Optional[int]]:
        """Return the updates of a statistic, each with the layer whose moments it averages."""
        updates = [write.node for write in statistic.updates]
        if len(statistic.sources) == 1:
            return dict.fromkeys(updates, statistic.sources[0].node)
        layers = {
            moment.node: layer.node for layer in statistic.sources for moment in layer.moments
        }
        return {update: self._nearest(update, layers) for update in updates}

    def _nearest(self, update: int, layers: Mapping[int, int]) -> Optional[int]:
        """Return the layer of the nearest moment that an update is computed from."""
        queue = [update]
        seen = {update}
        for node in queue if layers else ():  # grows while it is iterated: breadth first
            if node in layers:
                return layers[node]
            if len(seen) > limits.AVERAGE_TENSORS:
                limits.AVERAGE_TENSORS.reach()
                break
            unseen = {tensor.node for tensor in self._graph.data_inputs(node)} - seen
            seen |= unseen
            queue += sorted(unseen)
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
            named = f"tf.control_dependencies on the update ops {self._named(updates)}"
            is_keras = any(_OF_KERAS.search(self._graph.names[node]) for node in updates)
            hint = f"; {_REMEDY_FOR_KERAS}" if is_keras else ""
            return f"{named}, which are in no collection{hint}"
        for name in names:
            expression = self._collection(name, updates)
            if expression:
                return f"`tf.control_dependencies({expression})`"
        if len(names) <= _SHOWN_COLLECTIONS and UPDATE_OPS not in names:
            return f"`tf.control_dependencies({' + '.join(map(_get_collection, names))})`"
        where = "UPDATE_OPS" if UPDATE_OPS in names else ", ".join(names[:_SHOWN_COLLECTIONS])
        return f"tf.control_dependencies on {self._named(updates)}, which are in {where}"

    def _collection(self, name: str, updates: Sequence[int]) -> str:
        """Return the code that gets `updates`, and no other updates, from a collection, or ""."""
        members = self.members(name)
        if not members.keys() >= set(updates):
            return ""
        names = self._graph.names
        own = [names[members[node]] for node in updates]
        others = {names[node] for node in self._recognized.collection(name)}.difference(own)
        if not others:
            return _get_collection(name)
        scopes = list(dict.fromkeys(_scope_without(others, member) for member in own))
        if "" in scopes or len(scopes) > _SHOWN_SCOPES:
            return ""
        return " + ".join(_get_collection(name, scope) for scope in scopes)

    def _named(self, updates: Sequence[int]) -> str:
        names = [self._graph.names[self._outlet(node)] for node in updates]
        shown = ", ".join(names[:_SHOWN_OPS])
        more = len(names) - _SHOWN_OPS
        return f"{shown} and {more} more" if more > 0 else shown

    def _outlet(self, update: int) -> int:
        """Return what an op outside can wait for: the update, or the branch or call it is in."""
        graph = self._graph
        parts = graph.names[update].split("/")
        for end in range(1, len(parts)):
            call = graph.find("/".join(parts[:end]))
            if call is not None and call in graph.lowered:
                return call
        in_any, _ = self._branches()
        if update not in in_any:
            return update
        merges = set(graph.of_types(MERGES))
        after = closure([update], graph.consumers, merges) & merges
        return min(after, key=graph.ranks.__getitem__, default=update)


def _get_collection(name: str, scope: str = "") -> str:
    key = "tf.GraphKeys.UPDATE_OPS" if name == UPDATE_OPS else repr(name)
    return f"tf.get_collection({key}, scope={scope!r})" if scope else f"tf.get_collection({key})"


def _scope_without(others: AbstractSet[str], name: str) -> str:
    """Return the outermost scope of `name` that contains none of the others, or ""."""
    parts = name.split("/")[:-1]
    scopes = ("/".join(parts[: end + 1]) + "/" for end in range(len(parts)))
    return next((scope for scope in scopes if not _contains_any(scope, others)), "")


def _contains_any(scope: str, names: Iterable[str]) -> bool:
    return any(name.startswith(scope) for name in names)


def remedy_for(scenario: Scenario) -> UpdateRemedy:
    """Return the remedy for the training steps of a scenario."""
    flags = {flag.tensor.node for flag in scenario.training_flags}
    return UpdateRemedy(scenario.recognized, scenario.training, flags)
