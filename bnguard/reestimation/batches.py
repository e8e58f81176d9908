"""The batches of a measurement: feed dicts by tensor name, and the progress through them."""

from __future__ import annotations

from itertools import chain
from numbers import Integral
import sys
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    Mapping,
    NamedTuple,
    Optional,
    Union,
)

import numpy as np
import tensorflow.compat.v1 as tf

from bnguard.errors import BnguardError

Feeds = Union[int, Iterable[Mapping[Any, Any]]]
"""Feed dicts, one for each batch; or the number of steps, if the graph reads its own data."""


class Batches:
    """The batches of a measurement.

    Args:
      graph: the graph of the session, whose tensors are the keys of the feeds.
      feeds: as for `bnguard.reestimate`.

    Attributes:
      fed: the tensors that the first batch feeds, by name; the value of a bool, else None.
      reads_own_data: whether the graph reads its own data.

    Raises:
      BnguardError: there is no batch, or a feed is not a feed dict of this graph.
    """

    def __init__(self, graph: tf.Graph, feeds: Feeds) -> None:
        self._graph = graph
        self._names: Dict[Any, Any] = {}
        self.reads_own_data = isinstance(feeds, Integral) and not isinstance(feeds, bool)
        if self.reads_own_data:
            self._feeds: Any = [{}] * feeds  # type: ignore[operator]
            if not self._feeds:
                raise BnguardError(f"feeds: got {feeds} steps; expected at least 1.")
            self.fed: Dict[str, Optional[bool]] = {}
            return
        if isinstance(feeds, (str, bytes, Mapping)) or not hasattr(feeds, "__iter__"):
            raise BnguardError(
                f"feeds: got {type(feeds).__name__}; expected an iterable of feed dicts, one for "
                "each batch, or the number of steps."
            )
        iterator = iter(feeds)
        first = next(iterator, None)
        if first is None:
            raise BnguardError("feeds: there is no batch; expected at least one feed dict.")
        self._once = iterator is feeds
        self._feeds = chain([first], iterator) if self._once else feeds
        self.fed = {name: _as_bool(value) for name, value in self._named(first).items()}

    def check(self, passes: int) -> None:
        """Check that the batches can be read as often as there are passes.

        Raises:
          BnguardError: they are an iterator, which can be read once.
        """
        if passes > 1 and not self.reads_own_data and self._once:
            raise BnguardError(
                f"feeds: an iterator, which can be read once; expected a list, or an object that "
                f"can be iterated over {passes} times, because the layers are estimated in "
                f"{passes} passes, each from the output of those before it."
            )

    def __len__(self) -> int:
        return len(self._feeds)

    @property
    def count(self) -> Optional[int]:
        """The number of batches, if it is known."""
        return len(self._feeds) if hasattr(self._feeds, "__len__") else None

    def __iter__(self) -> Iterator[Dict[str, Any]]:
        return map(self._named, self._feeds)

    def _named(self, feed: Any) -> Dict[str, Any]:
        """Return a feed dict by the names of tensors; a sparse tensor becomes its three parts."""
        if not isinstance(feed, Mapping):
            raise BnguardError(
                f"feeds: got a {type(feed).__name__} as one batch; expected a feed dict, from "
                "tensor or name to value."
            )
        named: Dict[str, Any] = {}
        for key, value in feed.items():
            if isinstance(key, tf.SparseTensor):
                parts = (key.indices, key.values, key.dense_shape)
                values = (
                    (value.indices, value.values, value.dense_shape)
                    if hasattr(value, "dense_shape")
                    else value
                )
                named.update(zip((part.name for part in parts), values))
            else:
                named[self._name(key)] = value
        return named

    def _name(self, key: Any) -> str:
        lookup = key if isinstance(key, str) else id(key)
        if lookup not in self._names:
            try:
                name = key if isinstance(key, str) and ":" in key else None
                element = self._graph.as_graph_element(
                    name or (f"{key}:0" if isinstance(key, str) else key)
                )
            except (KeyError, TypeError, ValueError) as error:
                raise BnguardError(
                    f"feeds: {key!r} is no tensor of the session's graph; expected a tensor of "
                    "that graph, or its name, such as 'x:0'."
                ) from error
            self._names[lookup] = key, element.name  # the key, so that its id is not used again
        return str(self._names[lookup][1])


def _as_bool(value: Any) -> Optional[bool]:
    return bool(value) if isinstance(value, (bool, np.bool_)) else None


class Progress(NamedTuple):
    """How far a measurement is.

    Attributes:
      number: the pass over the data, from 0.
      passes: the number of passes.
      step: the batch of this pass, from 0.
      steps: the number of batches of a pass; None if it is not known.
    """

    number: int
    passes: int
    step: int
    steps: Optional[int]

    def __str__(self) -> str:
        batch = f"batch {self.step + 1}" + (f" of {self.steps}" if self.steps else "")
        return f"pass {self.number + 1} of {self.passes}, {batch}" if self.passes > 1 else batch


Report = Callable[[Progress], None]
"""A function that is called before each batch."""


def reporter(progress: Union[Report, bool, None]) -> Report:
    """Return the function to call before each batch.

    Raises:
      BnguardError: it is neither a function nor a bool.
    """
    if callable(progress):
        return progress
    if progress is not None and not isinstance(progress, bool):
        raise BnguardError(f"progress: got {progress!r}; expected a function, a bool or None.")
    return _nothing if progress is False or not sys.stderr.isatty() else _line


def _nothing(progress: Progress) -> None:
    """Report nothing."""


def _line(progress: Progress) -> None:
    """Write one line over the last; the last batch ends it."""
    is_last = progress.step + 1 == progress.steps and progress.number + 1 == progress.passes
    sys.stderr.write(f"\r\x1b[Kmeasuring {progress}" + ("\n" if is_last else ""))
    sys.stderr.flush()
