"""Cache what is known about each step, so that a repeated step is recognized in microseconds."""

from __future__ import annotations

from typing import (
    AbstractSet,
    Any,
    Callable,
    Dict,
    Generic,
    Hashable,
    List,
    Optional,
    Tuple,
    TypeVar,
)

import numpy as np
import tensorflow.compat.v1 as tf

from bnguard.analysis.dataflow.reachability import data_closure
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.guard.run_key import FedScalar, RunKey, fed_scalar, feeds_of, leaves, run_key_of
from bnguard.statistics.graph_discovery import structure_of
from bnguard.statistics.sessions import FeedDict, Fetches

_MANY = 64  # steps; with more, the graph tells whether a fed number is a flag or data
_MAX_STEPS = 1000
_NESTS = (list, tuple, dict)

Known = TypeVar("Known")


class StepCache(Generic[Known]):
    """What is known about steps, by the identity of the objects fetched and fed.

    A fed bool distinguishes steps, as does any scalar that may decide a branch, and an integer
    or string that may decide what a statistic is given. Other numbers, such as a counter of steps,
    are data; once there are many steps, the graph is asked which these are. A full memory forgets,
    so that steps are checked again.

    Args:
      learn: is called with the key of each step that is new or forgotten; what it returns is
        cached. If it raises an exception, the step is not cached.
      recognize: returns the analysis of the graph as it is now.
    """

    def __init__(
        self,
        learn: Callable[[RunKey], Known],
        recognize: Callable[[tf.Graph], RecognizedGraph] = lambda graph: (
            structure_of(graph).recognized
        ),
    ) -> None:
        self._learn = learn
        self._recognize = recognize
        self._steps: Dict[Hashable, Tuple[Known, Any]] = {}
        self._known: Dict[RunKey, Known] = {}
        self._missed = 0
        self._analysed: Optional[Tuple[int, int]] = None  # graph version and misses, at the time
        self._selecting: AbstractSet[str] = frozenset()  # the nodes that may decide a branch
        self._updating: AbstractSet[str] = frozenset()  # and those that may decide an update
        self._data: Dict[Hashable, Any] = {}  # the keys of feeds that decide nothing

    def known(self, graph: tf.Graph, fetches: Fetches, feed: Optional[FeedDict]) -> Known:
        """Return what is known about `session.run(fetches, feed)`."""
        if type(feed) is not dict:
            feed = feeds_of(feed)
        cached = self._steps.get(self._identify(fetches, feed))
        if cached is not None:
            return cached[0]
        self._missed += 1
        if self._analysed is not None and self._analysed[0] != graph.version:
            self._data.clear()
        run_key = run_key_of(
            graph, fetches, feed, lambda name, scalar: self._is_flag(graph, name, scalar)
        )
        if run_key not in self._known:
            learned = self._learn(run_key)
            _forget_if_full(self._known)
            self._known[run_key] = learned
        self._note_data(run_key, feed)
        _forget_if_full(self._steps)
        objects = (tuple(leaves(fetches)), tuple(feed))  # kept, so that no id is reused
        known = self._known[run_key]
        self._steps[self._identify(fetches, feed)] = known, objects
        return known

    def _is_flag(self, graph: tf.Graph, name: str, scalar: FedScalar) -> bool:
        """Return whether a fed scalar belongs to the key of a step."""
        if isinstance(scalar, bool):
            return True
        if not isinstance(scalar, float) and self._missed <= _MANY:
            return True
        self._analyse(graph)
        node = name.partition(":")[0]
        if self._analysed is None or self._analysed[0] != graph.version or node in self._selecting:
            return True
        return not isinstance(scalar, float) and node in self._updating

    def _analyse(self, graph: tf.Graph) -> None:
        """Find what decides, unless the graph has not grown, or grows with every step."""
        if self._analysed is not None:
            version, missed = self._analysed
            if version == graph.version or self._missed - missed < _MANY:
                return
        self._analysed = graph.version, self._missed
        recognized = self._recognize(graph)
        selectors = {selector.node for selector in recognized.graph.decided_by}
        self._selecting = _names_behind(recognized, selectors)
        self._updating = _names_behind(recognized, recognized.update_ops)

    def _note_data(self, run_key: RunKey, feed: FeedDict) -> None:
        """Note the keys of feeds whose scalars were left out of the key of a step."""
        values = dict(run_key.feeds)
        for key, value in feed.items():
            name = str(key if isinstance(key, str) else getattr(key, "name", ""))
            if fed_scalar(value) is not None and values.get(name, True) is None:
                self._data[key if type(key) is str else id(key)] = key

    def _identify(self, fetches: Fetches, feed: FeedDict) -> Hashable:
        """Return what distinguishes steps; few calls, because each step of a program waits for it.

        The usual types are told here, at once. `feed[key]` would be slow, as is a tensor's hash.
        """
        parts: List[Hashable] = [_identity(fetches)]
        data = self._data
        for key, value in feed.items():
            name = key if type(key) is str else id(key)
            parts.append(name)
            kind = type(value)
            if kind is bool:
                parts.append(value)
            elif (kind is np.ndarray and value.size != 1) or (data and name in data):
                parts.append(None)
            else:
                parts.append(fed_scalar(value))
        return tuple(parts)


def run_key_cache() -> StepCache[RunKey]:
    """Return a cache of the key of each step, and nothing else."""
    return StepCache(lambda run_key: run_key)


def _names_behind(recognized: RecognizedGraph, nodes: AbstractSet[int]) -> AbstractSet[str]:
    graph = recognized.graph
    return frozenset(graph.names[node] for node in data_closure(graph, nodes))


def _forget_if_full(steps: Any) -> None:
    if len(steps) >= _MAX_STEPS:
        steps.clear()


def _identity(fetches: Fetches) -> Hashable:
    """Return what distinguishes fetches: the ids of the leaves, in their nest."""
    if isinstance(fetches, _NESTS):
        elements = fetches.values() if isinstance(fetches, dict) else fetches
        return tuple([_identity(element) for element in elements])
    return fetches if type(fetches) is str else id(fetches)
