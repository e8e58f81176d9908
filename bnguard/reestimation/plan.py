"""The plan: which statistics are estimated, from which sites, in how many passes over the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

from bnguard.analysis.dataflow.constant_folding import StaticValue
from bnguard.analysis.dataflow.reachability import data_closure
from bnguard.analysis.errors import AuditError
from bnguard.analysis.ir.graph import Tensor
from bnguard.analysis.recognition.normalizations import Normalization
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.analysis.recognition.statistics import Statistic
from bnguard.analysis.recognition.writes import Purpose
from bnguard.analysis.scenario.training_flags import find_training_flags
from bnguard.errors import BnguardError
from bnguard.reestimation.sites import NoSite, Site, SiteFinder
from bnguard.statistics import session_values
from bnguard.statistics.graph_discovery import LiveStatistic, structure_of
from bnguard.statistics.names import AVERAGE, COUNT
from bnguard.statistics.scopes import Scope

_MOMENTS = ("mean", "variance")
_AVERAGED = "/ExponentialMovingAverage"
_WEIGHT = "_weight"  # the end of the name of the weight of an average of batch renormalization


class Target(NamedTuple):
    """A statistic to estimate.

    Attributes:
      statistic: the statistic.
      role: `mean`, `variance` or `deviation`; `biased` and `average` follow from another target,
        and `weight` is 1.
      sites: what it is estimated from.
      of: the name of the statistic that it follows from, or empty.
    """

    statistic: LiveStatistic
    role: str
    sites: Tuple[Site, ...] = ()
    of: str = ""


@dataclass(frozen=True)
class Plan:
    """How to estimate the statistics of a graph.

    Attributes:
      recognized: the analysis of the graph.
      targets: the statistics that are estimated.
      depths: the pass in which each site is measured, by its name, from 0.
      flags: the value of each training flag in training mode.
      left_out: why each of the other statistics is not estimated, by name.
      partial: why a site of a statistic is not measured, by the name of the statistic.
      adapted: the names of the statistics with which gamma or beta were trained: their layer
        normalizes with them in training mode, too.
    """

    recognized: RecognizedGraph
    targets: Tuple[Target, ...]
    depths: Mapping[str, int]
    flags: Mapping[Tensor, StaticValue]
    left_out: Mapping[str, str]
    partial: Mapping[str, str]
    adapted: Tuple[str, ...]

    @property
    def passes(self) -> int:
        """The number of passes over the data."""
        return 1 + max(self.depths.values(), default=0)

    def sites(self, number: int) -> List[Site]:
        """Return the sites that are measured in a pass, each once, in a stable order."""
        found = {site.name: site for target in self.targets for site in target.sites}
        return [found[name] for name in sorted(found) if self.depths[name] == number]


def make_plan(
    graph: tf.Graph,
    scope: Optional[Scope],
    training: Optional[Mapping[Any, Any]],
    fed: Mapping[str, StaticValue],
) -> Plan:
    """Return the plan for the statistics of a graph.

    Args:
      graph: the graph.
      scope: selects the statistics in it; None selects all.
      training: what to feed for training mode, by tensor or name; None for what the analysis finds.
      fed: the tensors that are fed, by name; the value of a bool, else None.

    Raises:
      BnguardError: there are no statistics, none can be estimated, or a tensor is not in the graph.
    """
    statistics = session_values.find(graph, scope)
    everything = structure_of(graph).statistics
    recognized = structure_of(graph).recognized
    modes = {_tensor(recognized, name): value for name, value in fed.items() if value is not None}
    flags = {**modes, **_flags(recognized, training)}
    fed_tensors = {_tensor(recognized, name) for name in fed} | set(flags)
    finder = SiteFinder(recognized, flags, fed_tensors)
    chooser = _Chooser(recognized, finder)
    chosen = {name: chooser.choose(found) for name, found in everything.items()}
    sites = {name: found.sites for name, found in chosen.items() if found.sites}
    targets, left_out = _targets(statistics, chosen)
    if not targets:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in sorted(left_out.items()))
        raise BnguardError(
            f"none of the {len(statistics)} running statistics can be estimated ({reasons}); "
            "expected a graph in which a layer uses them, and feeds for its placeholders."
        )
    wanted = {target.statistic.name for target in targets}
    by_variable = {
        recognized.tensor(part.name).node: list(found)
        for name, found in sites.items()
        for part in everything[name].parts
        if name in wanted
    }
    return Plan(
        recognized,
        tuple(targets),
        finder.depths(by_variable),
        flags,
        left_out,
        {name: chosen[name].partial for name in sorted(wanted) if chosen[name].partial},
        tuple(name for name in sorted(wanted) if chosen[name].is_adapted),
    )


class _Choice(NamedTuple):
    """What a statistic can be estimated from.

    Attributes:
      role: `mean` or `variance`; otherwise that of the statistic.
      sites: the sites; empty if there are none.
      reason: why there are none.
      partial: why some more sites are left out, or empty.
      is_adapted: whether its layer normalizes with it while gamma or beta are trained.
    """

    role: str
    sites: Tuple[Site, ...]
    reason: str = ""
    partial: str = ""
    is_adapted: bool = False


class _Chooser:
    def __init__(self, recognized: RecognizedGraph, finder: SiteFinder) -> None:
        self._recognized = recognized
        self._finder = finder
        self._by_name = {found.name: found for found in recognized.statistics}
        self._behind_gradients = data_closure(recognized.graph, recognized.appliers)

    def choose(self, statistic: LiveStatistic) -> _Choice:
        """Return the sites of a statistic: where its updates average the batch, else any."""
        parts = [self._by_name[part.name] for part in statistic.parts if part.name in self._by_name]
        sources = _layers(part.sources for part in parts)
        readers = _layers(part.readers for part in parts)
        if not sources and not readers:
            return _Choice(statistic.role, (), "no layer that was recognized uses it")
        averaged = list(filter(self._finder.takes_moments, sources))
        using = list(filter(self._finder.takes_moments, readers))
        found = [self._finder.find(layer) for layer in averaged or using or readers or sources]
        sites = tuple(site for site in found if isinstance(site, Site))
        reasons = [site.reason for site in found if isinstance(site, NoSite)]
        role = statistic.role or self._role(parts)
        if role not in _MOMENTS and role != "deviation":
            return _Choice(role, (), "it is not known whether it is a mean or a variance")
        if not sites:
            return _Choice(role, (), reasons[0])
        partial = f"{len(reasons)} of {len(found)} layers: {reasons[0]}" if reasons else ""
        is_adapted = not averaged and not using and any(map(self._is_trained_with, parts))
        return _Choice(role, sites, partial=partial, is_adapted=is_adapted)

    def _is_trained_with(self, statistic: Statistic) -> bool:
        """Return whether an optimizer trains gamma or beta of a layer that reads the statistic."""
        movers = self._recognized.movers(statistic.parameters)
        return any(write.purpose is Purpose.OPTIMIZE for write in movers) and any(
            layer.node in self._behind_gradients for layer in statistic.readers
        )

    def _role(self, parts: Sequence[Statistic]) -> str:
        for write in (write for part in parts for write in part.updates):
            moments = self._recognized.written_from(write).moments
            for layer in (layer for part in parts for layer in part.sources):
                for moment in moments:
                    if moment in layer.mean_moments:
                        return "mean"
                    if moment in layer.variance_moments:
                        return "variance"
        return ""


def _layers(groups: Any) -> List[Normalization]:
    return list({layer.node: layer for group in groups for layer in group}.values())


def _targets(
    statistics: Sequence[LiveStatistic],
    chosen: Mapping[str, _Choice],
) -> Tuple[List[Target], Dict[str, str]]:
    """Return the targets, and why the other statistics are left out."""
    targets: List[Target] = []
    left_out: Dict[str, str] = {}
    beside: Dict[str, Tuple[Site, ...]] = {}  # the sites of a statistic in each scope
    for name, choice in chosen.items():
        if choice.sites:
            beside.setdefault(name.rpartition("/")[0], choice.sites)
    for statistic in statistics:
        name, choice = statistic.name, chosen[statistic.name]
        sites = choice.sites or beside.get(name.rpartition("/")[0], ())
        above = _above(name, chosen)
        if choice.sites:
            targets.append(Target(statistic, choice.role, sites))
        elif statistic.role == AVERAGE or _AVERAGED in name:
            averaged = name.partition(_AVERAGED)[0]
            if averaged in chosen and chosen[averaged].sites:
                targets.append(Target(statistic, AVERAGE, of=averaged))
            else:
                left_out[name] = "what it averages cannot be estimated"
        elif statistic.role == "biased" and above:
            targets.append(Target(statistic, "biased", of=above))
        elif statistic.role == COUNT and name.endswith(_WEIGHT) and sites:
            targets.append(Target(statistic, "weight"))
        elif statistic.role == COUNT and above:
            continue  # the number of updates stays as it is
        elif statistic.role in ("mean", "variance", "deviation") and sites and not _read(choice):
            targets.append(Target(statistic, statistic.role, sites))
        else:
            left_out[name] = choice.reason
    return targets, left_out


def _read(choice: _Choice) -> bool:
    """Return whether a layer uses a statistic, so that the layer's own reason counts."""
    return choice.reason not in ("", "no layer that was recognized uses it")


def _above(name: str, chosen: Mapping[str, _Choice]) -> str:
    """Return the statistic below whose name a helper of zero debiasing is, or empty."""
    parent = name.rpartition("/")[0]
    found = [other for other in chosen if parent == other or parent.endswith(f"/{other}")]
    return max((other for other in found if chosen[other].sites), key=len, default="")


def _flags(
    recognized: RecognizedGraph, training: Optional[Mapping[Any, Any]]
) -> Dict[Tensor, StaticValue]:
    if training is None:
        return {flag.tensor: flag.training for flag in find_training_flags(recognized)}
    if not hasattr(training, "items"):
        raise BnguardError(
            f"training: got {training!r}; expected a feed dict, such as {{'is_training:0': True}}."
        )
    found: Dict[Tensor, StaticValue] = {}
    for key, value in training.items():
        name = key if isinstance(key, str) else key.name
        is_number = isinstance(value, (bool, int, float))
        found[_tensor(recognized, name)] = value if is_number else bool(value)
    return found


def _tensor(recognized: RecognizedGraph, name: str) -> Tensor:
    try:
        return recognized.tensor(name)
    except AuditError as error:
        raise BnguardError(
            f"feeds: no tensor is called {name!r} in the session's graph; expected tensors of "
            "that graph, or their names."
        ) from error
