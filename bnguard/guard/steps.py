"""The steps that a session runs: what each fetched and fed, as far as it decides what runs."""

from __future__ import annotations

from contextlib import contextmanager
from operator import itemgetter
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

from bnguard.statistics import sessions
import numpy as np
import tensorflow.compat.v1 as tf

Flag = Union[bool, int, bytes, None]
_MOST = 100  # distinct steps remembered of one block; each is audited if it comes to that


class Step(NamedTuple):
    """What decides which ops a `Session.run` executes.

    Attributes:
      fetches: names of the tensors and ops fetched.
      feeds: name and value of each tensor fed; the value is None where it cannot be a flag:
        where it is no scalar bool, integer or string.
    """

    fetches: Tuple[str, ...]
    feeds: Tuple[Tuple[str, Flag], ...]

    def __str__(self) -> str:
        flags = [f"{name}={value!r}" for name, value in self.feeds if value is not None]
        return ", ".join(self.fetches) + (f" with {', '.join(flags)}" if flags else "")


def flag(value: Any) -> Flag:
    """The value of a scalar bool, integer or string; None for anything else."""
    if isinstance(value, (np.ndarray, np.generic)) and value.ndim == 0:
        value = value.item()
    if isinstance(value, str):
        return value.encode()
    return value if isinstance(value, (bool, int, bytes)) else None


def step_of(
    graph: tf.Graph, fetches: Any, feed: Optional[Any], flag: Callable[[Any], Flag] = flag
) -> Step:
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
    return Step(_names(graph, fetches), tuple(sorted(feeds, key=itemgetter(0))))


def leaves(fetches: Any) -> Iterator[Any]:
    """What a nest of lists, tuples and dicts holds."""
    if isinstance(fetches, dict):
        fetches = fetches.values()
    elif not isinstance(fetches, (list, tuple)):
        yield fetches
        return
    for item in fetches:
        yield from leaves(item)


class Steps:
    """The distinct steps of a block, in order; the first hundred of them."""

    def __init__(self) -> None:
        self._seen: Dict[Step, None] = {}  # in order, unlike a set

    def __iter__(self) -> Iterator[Step]:
        return iter(self._seen)

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, step: Step) -> None:
        """Note a step that runs."""
        if len(self._seen) < _MOST:
            self._seen[step] = None


@contextmanager
def recorded(session: Any) -> Iterator[Steps]:
    """Note each distinct step that the session runs in the block, hooks' fetches included.

    For the block, `session.run` is replaced on this one object. Blocks nest, and may end in
    any order. `make_callable` and `partial_run` are not seen.

    Raises:
      BnguardError: the session is closed.
    """
    inner = sessions.unwrap(session)
    run = vars(inner).get("run")
    tap = run if isinstance(run, _Tap) else _Tap(inner)
    steps = Steps()
    tap.listeners.append(steps)
    try:
        yield steps
    finally:
        tap.leave(steps)


class _Tap:
    """Stands in for `session.run` as long as anybody listens."""

    def __init__(self, session: Any) -> None:
        self.listeners: List[Steps] = []
        self._session = session
        self._before = session.run
        self._had_own = "run" in vars(session)
        session.run = self

    def __call__(self, fetches: Any, feed_dict: Any = None, *args: Any, **kwargs: Any) -> Any:
        step = step_of(self._session.graph, fetches, feed_dict)
        for steps in self.listeners:
            steps.add(step)
        return self._before(fetches, feed_dict, *args, **kwargs)

    def leave(self, steps: Steps) -> None:
        """Listen no more; the last one to leave puts everything back."""
        self.listeners = [one for one in self.listeners if one is not steps]
        if self.listeners or vars(self._session).get("run") is not self:
            return
        if self._had_own:
            self._session.run = self._before
        else:
            del self._session.run


def _names(graph: tf.Graph, thing: Any) -> Tuple[str, ...]:
    names: Dict[str, None] = {}
    for leaf in leaves(thing):
        for element in tf.nest.flatten(leaf, expand_composites=True):
            try:
                names[graph.as_graph_element(element).name] = None
            except (TypeError, ValueError, LookupError):
                continue  # Session.run will say what is wrong with it
    return tuple(names)
