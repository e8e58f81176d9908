"""A step of a session: what it fetches and feeds, as far as that decides what runs."""

from __future__ import annotations

from operator import itemgetter
from typing import Any, Callable, Dict, Iterator, NamedTuple, Optional, Tuple, Union

import numpy as np
import tensorflow.compat.v1 as tf

FedScalar = Union[bool, int, bytes, None]


class RunKey(NamedTuple):
    """What decides which ops a `Session.run` executes.

    Attributes:
      fetches: names of the tensors and ops fetched.
      feeds: name and value of each tensor fed; the value is None where it cannot be a flag:
        where it is no scalar bool, integer or string.
    """

    fetches: Tuple[str, ...]
    feeds: Tuple[Tuple[str, FedScalar], ...]

    def __str__(self) -> str:
        flags = [f"{name}={value!r}" for name, value in self.feeds if value is not None]
        return ", ".join(self.fetches) + (f" with {', '.join(flags)}" if flags else "")


def fed_scalar(value: Any) -> FedScalar:
    """The value of a scalar bool, integer or string; None for anything else."""
    if isinstance(value, (np.ndarray, np.generic)) and value.ndim == 0:
        value = value.item()
    if isinstance(value, str):
        return value.encode()
    return value if isinstance(value, (bool, int, bytes)) else None


def run_key_of(
    graph: tf.Graph,
    fetches: Any,
    feed: Optional[Any],
    flag: Callable[[Any], FedScalar] = fed_scalar,
) -> RunKey:
    """The step that `session.run(fetches, feed)` is in a session of this graph.

    Args:
      graph: the session's graph.
      fetches: as for `Session.run`, nested at will; what is not of the graph is left out.
      feed: as for `Session.run`.
      flag: the value of a flag, or None, from the value fed.
    """
    feeds = []
    for key, value in (feed or {}).items():
        names = _names(graph, key)
        feeds += [(name, flag(value) if len(names) == 1 else None) for name in names]
    return RunKey(_names(graph, fetches), tuple(sorted(feeds, key=itemgetter(0))))


def leaves(fetches: Any) -> Iterator[Any]:
    """What a nest of lists, tuples and dicts holds."""
    if isinstance(fetches, dict):
        fetches = fetches.values()
    elif not isinstance(fetches, (list, tuple)):
        yield fetches
        return
    for item in fetches:
        yield from leaves(item)


def _names(graph: tf.Graph, thing: Any) -> Tuple[str, ...]:
    names: Dict[str, None] = {}
    for leaf in leaves(thing):
        for element in tf.nest.flatten(leaf, expand_composites=True):
            try:
                names[graph.as_graph_element(element).name] = None
            except (TypeError, ValueError, LookupError):
                continue  # Session.run will say what is wrong with it
    return tuple(names)
