"""The steps that a session runs in a block, noted as it runs them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Dict, Iterator, List

import tensorflow.compat.v1 as tf

from bnguard.guard.run_key import RunKey
from bnguard.guard.step_cache import StepCache
from bnguard.statistics import sessions

_MOST = 100  # distinct steps remembered of one block; each is audited if it comes to that


class RecordedRuns:
    """The distinct steps of a block, in order; the first hundred of them."""

    def __init__(self) -> None:
        self._seen: Dict[RunKey, bool] = {}  # in order, with whether it ever ran to its end

    def __iter__(self) -> Iterator[RunKey]:
        return iter(self._seen)

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, step: RunKey, is_whole: bool = True) -> None:
        """Note a step that was run; one that failed may have run in part."""
        if step in self._seen or len(self._seen) < _MOST:
            self._seen[step] = is_whole or self._seen.get(step, False)

    def whole(self) -> List[RunKey]:
        """Those that ran to their ends."""
        return [step for step, is_whole in self._seen.items() if is_whole]


@contextmanager
def record_runs(session: Any) -> Iterator[RecordedRuns]:
    """Note each distinct step that the session runs in the block, hooks' fetches included.

    For the block, `session.run` is replaced on this one object. Blocks nest, and may end in
    any order. `make_callable` and `partial_run` are not seen.

    Raises:
      BnguardError: the session is closed.
    """
    inner = sessions.unwrap(session)
    run = vars(inner).get("run")
    tap = run if isinstance(run, _RecordingRun) else _RecordingRun(inner)
    steps = RecordedRuns()
    tap.listeners.append(steps)
    try:
        yield steps
    finally:
        tap.leave(steps)


class _RecordingRun:
    """Stands in for `session.run` as long as anybody listens."""

    def __init__(self, session: Any) -> None:
        self.listeners: List[RecordedRuns] = []
        self._session = session
        self._known = StepCache()
        self._before = session.run
        self._had_own = "run" in vars(session)
        session.run = self

    def __call__(self, fetches: Any, feed_dict: Any = None, *args: Any, **kwargs: Any) -> Any:
        try:
            result = self._before(fetches, feed_dict, *args, **kwargs)
        except tf.errors.OpError:
            self._note(fetches, feed_dict, is_whole=False)
            raise
        self._note(fetches, feed_dict, is_whole=True)
        return result

    def leave(self, steps: RecordedRuns) -> None:
        """Listen no more; the last one to leave puts everything back."""
        self.listeners = [one for one in self.listeners if one is not steps]
        if self.listeners or vars(self._session).get("run") is not self:
            return
        if self._had_own:
            self._session.run = self._before
        else:
            del self._session.run

    def _note(self, fetches: Any, feed: Any, is_whole: bool) -> None:
        step = self._known.step(self._session.graph, fetches, feed)
        for steps in self.listeners:
            steps.add(step, is_whole)
