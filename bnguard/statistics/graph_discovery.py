"""Find the running statistics of a live graph by its structure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import Dict, Iterator, List, Mapping, MutableMapping, NamedTuple, Sequence, Tuple
import weakref

import numpy as np
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
      parts: the variables that store it, in the order of their offsets; the copies on several
        replicas beside each other.
    """

    name: str
    role: str
    parts: Tuple[Part, ...]

    @property
    def axis(self) -> int:
        """Return the axis along which to join the parts; TensorFlow splits along one axis only."""
        offsets = zip(*(part.offsets for part in self.parts))
        return next((axis for axis, found in enumerate(offsets) if len(set(found)) > 1), 0)

    @property
    def copies(self) -> List[List[Part]]:
        """Return, for each slice or for the complete statistic, its copies on the replicas."""
        return [list(copies) for _, copies in groupby(self.parts, lambda part: part.offsets)]

    def join(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the value of the statistic: its slices joined, each the mean of its copies.

        Args:
          values: the value of each part, by name.
        """
        pieces = [mean_of_copies([values[part.name] for part in copies]) for copies in self.copies]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, self.axis)

    def on_replicas(self) -> List[LiveStatistic]:
        """Return the statistic of each replica by itself."""
        found = [LiveStatistic(self.name, self.role, parts) for parts in zip(*self.copies)]
        return found[:1] + [
            statistic._replace(name=f"{self.name}/replica_{number}")
            for number, statistic in enumerate(found[1:], start=1)
        ]


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
        name: LiveStatistic(name, roles[name], tuple(sorted(found, key=_place)))
        for name, found in parts.items()
    }


def _place(part: Part) -> Tuple[Tuple[int, ...], int]:
    return part.offsets, int(part.name.rpartition("_")[2]) if part.is_copy else 0


def mean_of_copies(copies: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean over replicas, as a strategy saves it; equal copies have the same bits."""
    first = copies[0]
    if all(copy.tobytes() == first.tobytes() for copy in copies[1:]):
        return first
    mean = np.sum(copies, axis=0, dtype=first.dtype) / len(copies)
    return np.asarray(mean, first.dtype)
