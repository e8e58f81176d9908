"""What the audit understands of a live graph, and which running statistics are in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Tuple
import weakref

import tensorflow.compat.v1 as tf

from bnguard.analysis.frontend.loader import load
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph, recognize
from bnguard.analysis.recognition.statistics import Statistic, make_statistic
from bnguard.statistics.names import UNKNOWN, role_of
from bnguard.statistics.partitioned_variables import Part, parts


class LiveStatistic(NamedTuple):
    """A running statistic in a graph, or a variable that belongs to one.

    Attributes:
      name: what a Saver calls it: of a partitioned variable, the full name.
      kind: as `role_of` has it; empty where neither the graph nor the name tells.
      parts: the variables that hold it, in the order of their places in it.
    """

    name: str
    role: str
    parts: Tuple[Part, ...]

    @property
    def axis(self) -> int:
        """The axis along which the parts are joined; TensorFlow cuts along one only."""
        starts = zip(*map(_start, self.parts))
        return next((axis for axis, found in enumerate(starts) if len(set(found)) > 1), 0)


@dataclass(frozen=True)
class Structure:
    """A graph, understood.

    Attributes:
      model: the audit's, but what belongs to a statistic is among its statistics, too.
      statistics: of the graph itself, not of the bodies of its functions, by name.
    """

    recognized: RecognizedGraph
    statistics: Mapping[str, LiveStatistic]


_known: Any = weakref.WeakKeyDictionary()  # graph -> its version, and the structure of that


def structure_of(graph: tf.Graph) -> Structure:
    """The structure of a graph, looked at once for each version of it.

    Raises:
      BnguardError: the graph is one that cannot be written as a GraphDef.
    """
    version, structure = _known.get(graph, (None, None))
    if version != graph.version:
        structure = _look(graph)
        _known[graph] = graph.version, structure
    return structure


def _look(graph: tf.Graph) -> Structure:
    (loaded,) = load(graph)
    variables = parts(graph)
    recognized = recognize(loaded)
    recognized = replace(
        recognized, statistics=(*recognized.statistics, *_companions(recognized, variables))
    )
    return Structure(recognized, _joined(recognized, variables))


def _companions(recognized: RecognizedGraph, variables: Mapping[str, Part]) -> Iterator[Statistic]:
    """What batch renormalization and zero debiasing keep beside the statistics.

    The audit leaves it out, for inference reads none of it. It is told by name, as in a
    checkpoint, so that both hold the same.
    """
    found = {one.name for one in recognized.statistics}
    statistics = {variables[name].whole for name in found if name in variables}
    for name, part in variables.items():
        role = role_of(part.whole, statistics)
        if name not in found and role != UNKNOWN:
            node = recognized.tensor(name).node
            yield make_statistic(recognized.graph, node, role, recognized.writes)


def _joined(recognized: RecognizedGraph, variables: Mapping[str, Part]) -> Dict[str, LiveStatistic]:
    held: Dict[str, List[Part]] = {}
    roles: Dict[str, str] = {}
    for one in recognized.statistics:
        part = variables.get(one.name)
        if part is not None:  # not one that only the body of a function knows
            held.setdefault(part.whole, []).append(part)
            roles[part.whole] = one.role
    return {
        name: LiveStatistic(name, roles[name], tuple(sorted(found, key=_start)))
        for name, found in held.items()
    }


def _start(part: Part) -> List[int]:
    return [cut.start for cut in part.place]
