"""The timeline: which steps read, write or bypass the statistics of which layers, as data."""

from __future__ import annotations

from typing import Dict, FrozenSet, Iterator, List, NamedTuple, Optional, Tuple

from bnguard.analysis.findings import Location, Op
from bnguard.analysis.recognition.normalizations import Normalization
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.rules import unordered_statistics_read
from bnguard.analysis.rules.batch_statistics_at_inference import scopes_of_layers
from bnguard.analysis.scenario.races import readers
from bnguard.analysis.scenario.scenario import Scenario
from bnguard.analysis.scenario.step import Step
from bnguard.analysis.scenario.step_kinds import INFERS, LOADS, OTHER, SAVES_VARIABLES, TRAINS

MAY_INFER = "may infer"
"""The kind of a step of a trained network that the program may take to infer."""

_PATH_ENDS = 3  # ops that are kept at each end of a path


class LayerUse(NamedTuple):
    """What one step does to one layer.

    Attributes:
      read: the statistics that the fetched values, or the gradients that are applied, are computed
        from.
      written: the statistics that the step writes, or may write.
      unordered: those that it reads and writes in no order.
      uses_batch_moments: whether the layer normalizes with the moments of its own batch.
      certain: False if a branch that the analysis cannot decide keeps all writes away.
      path: the ops from the fetch back to the one that writes, or else normalizes or reads; the
        ends of a long path.
      left_out: the number of ops in the middle of the path that are left out.
      location: where the user's program built the last op of the path; None if not known.
    """

    read: Tuple[str, ...] = ()
    written: Tuple[str, ...] = ()
    unordered: Tuple[str, ...] = ()
    uses_batch_moments: bool = False
    certain: bool = True
    path: Tuple[Op, ...] = ()
    left_out: int = 0
    location: Optional[Location] = None


class TimelineStep(NamedTuple):
    """One step, a column of the timeline.

    Attributes:
      label: what it fetches or runs, in short.
      fetch: the same, as findings call it.
      kind: one of the kinds of `step_kinds`, or MAY_INFER.
      runs: how often it ran; None if no program was watched.
      location: where the program called it first; None if that is not known.
      summary: kind and numbers, in words.
      uses: one for each layer of the timeline.
    """

    label: str
    fetch: str
    kind: str
    runs: Optional[int]
    location: Optional[Location]
    summary: str
    uses: Tuple[LayerUse, ...]


class Timeline(NamedTuple):
    """Who moves the statistics, and when.

    Attributes:
      layers: the scopes of the layers, in the network's order.
      steps: the steps, in the order in which they first ran or were inferred.
    """

    layers: Tuple[str, ...] = ()
    steps: Tuple[TimelineStep, ...] = ()


NO_TIMELINE = Timeline()


class _Layer(NamedTuple):
    """The statistics and the normalizations of one scope."""

    scope: str
    statistics: Tuple[Statistic, ...]
    normalizations: Tuple[Normalization, ...]


class LayerUses:
    """What steps do to the layers of a graph.

    Attributes:
      layers: the scopes of the layers, in the network's order.

    Args:
      recognized: the graph.
    """

    def __init__(self, recognized: RecognizedGraph) -> None:
        self._layers = sorted(_layers(recognized), key=lambda layer: _rank(recognized, layer))
        self.layers = tuple(layer.scope for layer in self._layers)

    def of(self, step: Step, kind: str) -> Tuple[LayerUse, ...]:
        """Return what a step of a kind does to each layer."""
        if kind in (LOADS, SAVES_VARIABLES, OTHER):
            return tuple(_write(step, layer, frozenset()) or LayerUse() for layer in self._layers)
        unordered = frozenset(
            finding.variable for finding in unordered_statistics_read.check_step(step)
        )
        return tuple(_use(step, kind, layer, unordered) for layer in self._layers)


def timeline_of(scenario: Scenario) -> Timeline:
    """Return the timeline of the steps that a program is assumed to take."""
    uses = LayerUses(scenario.recognized)
    by_kind = {TRAINS: scenario.training, INFERS: scenario.inference, MAY_INFER: scenario.possible}
    return Timeline(
        uses.layers,
        tuple(
            TimelineStep(step.fetch, step.fetch, kind, None, None, kind, uses.of(step, kind))
            for kind, steps in by_kind.items()
            for step in steps
        ),
    )


def reader(step: Step, statistic: Statistic) -> Optional[int]:
    """Return an op that reads a statistic for the fetched values or the applied gradients."""
    behind = step.behind_gradients()
    for node in readers(step.execution, statistic.variable):
        if step.execution.uses(node) or node in behind:
            return node
    return None


def takes_moments(step: Step, layer: Normalization, kind: str) -> bool:
    """Return whether a layer uses the moments of its batch or, in training, computes them."""
    if kind in (INFERS, MAY_INFER):
        return step.uses_moments(layer)
    return any(step.execution.may_run(moment.node) for moment in layer.moments)


def _layers(recognized: RecognizedGraph) -> Iterator[_Layer]:
    statistics: Dict[str, List[Statistic]] = {}
    for statistic in recognized.statistics:
        statistics.setdefault(statistic.layer, []).append(statistic)
    normalizations: Dict[str, List[Normalization]] = {}
    for layer, scope in scopes_of_layers(recognized).items():
        normalizations.setdefault(scope, []).append(layer)
    for scope in {**statistics, **normalizations}:
        yield _Layer(scope, tuple(statistics.get(scope, ())), tuple(normalizations.get(scope, ())))


def _rank(recognized: RecognizedGraph, layer: _Layer) -> int:
    nodes = [normalization.node for normalization in layer.normalizations]
    nodes = nodes or [statistic.variable for statistic in layer.statistics]
    return min(map(recognized.graph.ranks.__getitem__, nodes))


def _use(step: Step, kind: str, layer: _Layer, unordered: FrozenSet[str]) -> LayerUse:
    reads = {statistic.name: reader(step, statistic) for statistic in layer.statistics}
    read = tuple(name for name, node in reads.items() if node is not None)
    with_moments = [item.node for item in layer.normalizations if takes_moments(step, item, kind)]
    use = _write(step, layer, unordered)
    if use is None:
        nodes = [*with_moments, *(node for node in reads.values() if node is not None)]
        if not nodes:
            return LayerUse()
        use = _found(step, nodes[0], is_data=step.execution.uses(nodes[0]))
    return use._replace(read=read, uses_batch_moments=bool(with_moments))


def _write(step: Step, layer: _Layer, unordered: FrozenSet[str]) -> Optional[LayerUse]:
    """Return what is written of a layer; None if nothing is."""
    moved = [statistic for statistic in layer.statistics if step.effects(statistic)]
    if not moved:
        return None
    use = _found(step, step.effects(moved[0])[0].node, is_data=False)
    written = tuple(statistic.name for statistic in moved)
    return use._replace(
        written=written,
        unordered=tuple(name for name in written if name in unordered),
        certain=any(map(step.certainly_changes, moved)),
    )


def _found(step: Step, node: int, is_data: bool) -> LayerUse:
    """Return the path to an op, and where it was built."""
    path = step.path(node, is_data)
    left_out = max(0, len(path) - 2 * _PATH_ENDS)
    if left_out:
        path = path[:_PATH_ENDS] + path[-_PATH_ENDS:]
    return LayerUse(path=path, left_out=left_out, location=step.recognized.location(node))
