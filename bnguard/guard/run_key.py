"""The fetches and feeds of a `Session.run`, reduced to what determines which ops it executes."""

from __future__ import annotations

from operator import itemgetter
from typing import Any, Callable, Dict, Iterator, Mapping, NamedTuple, Optional, Tuple, Union

import numpy as np
import tensorflow.compat.v1 as tf

from bnguard.statistics.sessions import FeedDict, Fetches

FedScalar = Union[bool, int, float, bytes, None]


class RunKey(NamedTuple):
    """The fetches and feeds that determine which ops a `Session.run` executes.

    Attributes:
      fetches: names of the fetched tensors and ops.
      feeds: name and value of each fed tensor, sorted by name. The value is None unless it can be
        a training flag: a bool, number or string, or an array of one of them.
    """

    fetches: Tuple[str, ...]
    feeds: Tuple[Tuple[str, FedScalar], ...]

    def __str__(self) -> str:
        flags = [f"{name}={value!r}" for name, value in self.feeds if value is not None]
        return ", ".join(self.fetches) + (f" with {', '.join(flags)}" if flags else "")


def fed_scalar(value: Any) -> FedScalar:
    """Return the value of a bool, number or string, or of an array or list of one; else None."""
    while isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    if isinstance(value, (np.ndarray, np.generic)) and value.size == 1:
        value = value.item()
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, float) and value != value:
        return None
    return value if isinstance(value, (bool, int, float, bytes)) else None


def feeds_of(feed: Any) -> FeedDict:
    """Return the feeds; none if `feed` is no mapping, about which Session.run raises an error."""
    return feed if isinstance(feed, Mapping) else {}


def run_key_of(
    graph: tf.Graph,
    fetches: Fetches,
    feed: Optional[FeedDict],
    is_flag: Callable[[str, FedScalar], bool] = lambda name, scalar: True,
) -> RunKey:
    """Return the key of `session.run(fetches, feed)`.

    Args:
      graph: the session's graph.
      fetches: as for `Session.run`; elements that are not in the graph are ignored.
      feed: as for `Session.run`.
      is_flag: whether the scalar fed to the tensor of this name belongs to the key.
    """
    feeds = []
    for key, value in feeds_of(feed).items():
        names = _names(graph, key)
        scalar = fed_scalar(value) if len(names) == 1 else None
        if scalar is not None:
            scalar = _as_fed(graph, names[0], scalar)
            scalar = scalar if is_flag(names[0], scalar) else None
        feeds += [(name, scalar) for name in names]
    return RunKey(_names(graph, fetches), tuple(sorted(feeds, key=itemgetter(0))))


def _as_fed(graph: tf.Graph, name: str, scalar: FedScalar) -> FedScalar:
    """Return a scalar as the tensor has it: 1 becomes True, and 0.1 is rounded to float32."""
    dtype = graph.as_graph_element(name).dtype.base_dtype
    if isinstance(scalar, bytes) or dtype == tf.string:
        return scalar
    try:
        return fed_scalar(np.asarray(scalar).astype(dtype.as_numpy_dtype))
    except (TypeError, ValueError, OverflowError):
        return scalar  # Session.run raises an error that describes the problem


def leaves(fetches: Fetches) -> Iterator[Any]:
    """Yield the elements of nested lists, tuples and dicts."""
    if isinstance(fetches, dict):
        fetches = fetches.values()
    elif not isinstance(fetches, (list, tuple)):
        yield fetches
        return
    for item in fetches:
        yield from leaves(item)


def _names(graph: tf.Graph, fetches: Fetches) -> Tuple[str, ...]:
    names: Dict[str, None] = {}
    for leaf in leaves(fetches):
        for element in tf.nest.flatten(leaf, expand_composites=True):
            try:
                names[graph.as_graph_element(element).name] = None
            except (TypeError, ValueError, LookupError):
                continue  # Session.run raises an error that describes the problem
    return tuple(names)
