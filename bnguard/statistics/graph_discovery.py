"""Find the running statistics of a live graph by its structure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Dict, Iterator, List, Mapping, MutableMapping, NamedTuple, Tuple
import weakref

import tensorflow.compat.v1 as tf

from bnguard.analysis.frontend.loader import load
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph, recognize
from bnguard.analysis.recognition.statistics import Statistic, make_statistic
from bnguard.statistics.names import AVERAGE, UNKNOWN, is_average, role_of
from bnguard.statistics.partitioned_variables import Part, variable_parts


class LiveStatistic(NamedTuple):
    """A running statistic in a graph, or a variable that belongs to one.

    Attributes:
      name: the variable's name in a checkpoint; for a partitioned variable, its full name.
      role: as in `role_of`; empty if neither the graph nor the name determines it.
      parts: the variables that store it, in the order of their offsets.
    """

    name: str
    role: str
    parts: Tuple[Part, ...]

    @property
    def axis(self) -> int:
        """Return the axis along which to join the parts; TensorFlow splits along one axis only."""
        offsets = zip(*map(_offsets, self.parts))
        return next((axis for axis, found in enumerate(offsets) if len(set(found)) > 1), 0)


@dataclass(frozen=True)
class Structure:
    """The recognized structure of a graph.

    Attributes:
      recognized: the analysis of the graph. Its statistics include the variables that batch
        renormalization and zero debiasing add.
      statistics: by name, those of the graph itself, without the bodies of its functions.
    """

    recognized: RecognizedGraph
    statistics: Mapping[str, LiveStatistic]


# For each graph, the version that was analysed last, and its structure.
_cache: MutableMapping[tf.Graph, Tuple[int, Structure]] = weakref.WeakKeyDictionary()


def structure_of(graph: tf.Graph) -> Structure:
    """Return the structure of a graph, which is analysed once per version.

    Raises:
      BnguardError: the graph cannot be written as a GraphDef.
    """
    cached = _cache.get(graph)
    if cached is not None and cached[0] == graph.version:
        return cached[1]
    structure = _discover(graph)
    _cache[graph] = graph.version, structure
    return structure


def _discover(graph: tf.Graph) -> Structure:
    (loaded,) = load(graph)
    variables = variable_parts(graph)
    recognized = recognize(loaded)
    recognized = replace(
        recognized, statistics=(*recognized.statistics, *_companions(recognized, variables))
    )
    return Structure(recognized, _by_full_name(recognized, variables))


def _companions(recognized: RecognizedGraph, variables: Mapping[str, Part]) -> Iterator[Statistic]:
    """Yield the variables that batch renormalization and zero debiasing add to the statistics.

    The analysis ignores them because inference reads none of them. They are recognized by name,
    as in a checkpoint, so that a session and its checkpoint give the same variables.
    """
    found = {statistic.name for statistic in recognized.statistics}
    full_names = {variables[name].full_name for name in found if name in variables}
    for name, part in variables.items():
        role = role_of(part.full_name, full_names)
        if name not in found and role != UNKNOWN:
            role = AVERAGE if is_average(part.full_name) else role
            node = recognized.tensor(name).node
            yield make_statistic(recognized.graph, node, role, recognized.writes)


def _by_full_name(
    recognized: RecognizedGraph, variables: Mapping[str, Part]
) -> Dict[str, LiveStatistic]:
    parts: Dict[str, List[Part]] = {}
    roles: Dict[str, str] = {}
    for statistic in recognized.statistics:
        part = variables.get(statistic.name)
        if part is not None:  # None: the variable exists only in the body of a function
            parts.setdefault(part.full_name, []).append(part)
            roles[part.full_name] = statistic.role
    return {
        name: LiveStatistic(name, roles[name], tuple(sorted(found, key=_offsets)))
        for name, found in parts.items()
    }


def _offsets(part: Part) -> List[int]:
    return [along_axis.start for along_axis in part.slices]
