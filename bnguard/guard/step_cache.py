"""Cache the key of each step, so that a repeated step is recognized in microseconds."""

from __future__ import annotations

from typing import Any, Callable, Dict, Hashable, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from bnguard.guard.run_key import FedScalar, RunKey, fed_scalar, leaves, run_key_of
from bnguard.statistics.sessions import FeedDict, Fetches

_MANY = 64  # steps; with more, a fed integer or string is taken for data, such as a counter
_MAX_STEPS = 1000


class StepCache:
    """The keys of steps, by the identity of the objects fetched and fed."""

    def __init__(self) -> None:
        self._steps: Dict[Hashable, Tuple[RunKey, Any]] = {}

    def run_key(
        self,
        graph: tf.Graph,
        fetches: Fetches,
        feed: Optional[FeedDict],
        check: Callable[[RunKey], Any] = lambda run_key: None,
    ) -> RunKey:
        """Return the key of `session.run(fetches, feed)`, and cache it.

        `check` is called with the key of a step that is not cached. If it raises an exception, the
        step is not cached.
        """
        cached = self._steps.get(self._identify(fetches, feed))
        if cached is not None:
            return cached[0]
        run_key = run_key_of(graph, fetches, feed, self._scalar)
        check(run_key)
        self.add(fetches, feed, run_key)
        return run_key

    def find(self, fetches: Fetches, feed: Optional[FeedDict]) -> Optional[RunKey]:
        """Return the key of a step, or None if it is not cached."""
        cached = self._steps.get(self._identify(fetches, feed))
        return cached and cached[0]

    def add(self, fetches: Fetches, feed: Optional[FeedDict], run_key: RunKey) -> None:
        """Cache the key of a step. A full cache is cleared: its steps were not repeated."""
        if len(self._steps) >= _MAX_STEPS:
            self._steps.clear()
        objects = (tuple(leaves(fetches)), tuple(feed or ()))  # kept, so that no id is reused
        self._steps[self._identify(fetches, feed)] = run_key, objects

    def _identify(self, fetches: Fetches, feed: Optional[FeedDict]) -> Hashable:
        """Return what distinguishes steps; few calls, because each step of a program waits for it.

        The usual types are told here, at once. `feed[key]` would be slow, as is a tensor's hash.
        """
        if isinstance(fetches, (list, tuple, dict)):
            fetched: Hashable = tuple(map(_identity, leaves(fetches)))
        else:
            fetched = fetches if type(fetches) is str else id(fetches)
        if not feed:
            return fetched
        return (
            fetched,
            *[
                (
                    key if type(key) is str else id(key),
                    value
                    if type(value) is bool
                    else None
                    if type(value) is np.ndarray and value.ndim
                    else self._scalar(value),
                )
                for key, value in feed.items()
            ],
        )

    def _scalar(self, value: Any) -> FedScalar:
        """Return the part of a fed value that distinguishes steps."""
        scalar = fed_scalar(value)
        return scalar if isinstance(scalar, bool) or len(self._steps) < _MANY else None


def _identity(element: object) -> Hashable:
    return element if type(element) is str else id(element)
