"""Steps known already, recognised in microseconds: a hook asks before every step."""

from __future__ import annotations

from typing import Any, Callable, Dict, Hashable, Optional, Tuple

import tensorflow.compat.v1 as tf

from bnguard.guard.run_key import FedScalar, RunKey, fed_scalar, leaves, run_key_of

_MANY = 64  # steps; from here on a scalar that is no bool counts as a counter, not as a flag
_MOST = 1000


class StepCache:
    """Steps by what was fetched and fed: by the very objects, without a look at the graph."""

    def __init__(self) -> None:
        self._steps: Dict[Hashable, Tuple[RunKey, Any]] = {}

    def step(
        self,
        graph: tf.Graph,
        fetches: Any,
        feed: Optional[Any],
        check: Callable[[RunKey], Any] = lambda step: None,
    ) -> RunKey:
        """The step that `session.run(fetches, feed)` is in a session of this graph.

        Where it is new, `check` is called with it; if that raises, it stays new.
        """
        step = self.find(fetches, feed)
        if step is None:
            step = run_key_of(graph, fetches, feed, self.flag)
            check(step)
            self.add(fetches, feed, step)
        return step

    def find(self, fetches: Any, feed: Optional[Any]) -> Optional[RunKey]:
        """The step that these fetches and flags made, if it has been added."""
        known = self._steps.get(self._key(fetches, feed))
        return known and known[0]

    def add(self, fetches: Any, feed: Optional[Any], step: RunKey) -> None:
        """Remember a step. With too many, begin anew: they must be made up for each run."""
        if len(self._steps) >= _MOST:
            self._steps.clear()
        named = (tuple(leaves(fetches)), tuple(feed or ()))  # kept, so that no id is used again
        self._steps[self._key(fetches, feed)] = step, named

    def flag(self, value: Any) -> FedScalar:
        """What of a fed value tells one step from another."""
        value = fed_scalar(value)
        return value if isinstance(value, bool) or len(self._steps) < _MANY else None

    def _key(self, fetches: Any, feed: Optional[Any]) -> Hashable:
        fed = tuple([(_identity(key), self.flag(value)) for key, value in (feed or {}).items()])
        return tuple(map(_identity, leaves(fetches))), fed


def _identity(thing: Any) -> Hashable:
    return thing if isinstance(thing, str) else id(thing)
