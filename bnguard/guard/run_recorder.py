"""Record the distinct runs of a session in a `with` block."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional

import tensorflow.compat.v1 as tf

from bnguard.guard.run_key import RunKey
from bnguard.guard.step_cache import StepCache
from bnguard.statistics import sessions
from bnguard.statistics.sessions import FeedDict, Fetches, Session

_MAX_RUNS = 100  # distinct runs recorded per block, because each may need an audit


class RecordedRuns:
    """The first hundred distinct runs of a block, in order."""

    def __init__(self) -> None:
        self._runs: Dict[RunKey, bool] = {}  # in order, with whether it ever completed

    def __iter__(self) -> Iterator[RunKey]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)

    def add(self, run_key: RunKey, is_completed: bool = True) -> None:
        """Record a run; one that failed may have executed some of its ops."""
        if run_key in self._runs or len(self._runs) < _MAX_RUNS:
            self._runs[run_key] = is_completed or self._runs.get(run_key, False)

    def completed(self) -> List[RunKey]:
        """Return the runs that completed at least once."""
        return [run_key for run_key, is_completed in self._runs.items() if is_completed]


@contextmanager
def record_runs(session: Session) -> Iterator[RecordedRuns]:
    """Record each distinct run of the session in the block, including the fetches of hooks.

    In the block, `session.run` of this object is replaced. Blocks can be nested and can end in any
    order. `make_callable` and `partial_run` are not recorded.

    Raises:
      BnguardError: the session is closed.
    """
    inner = sessions.unwrap(session)
    run = vars(inner).get("run")
    recorder = run if isinstance(run, _RecordingRun) else _RecordingRun(inner)
    runs = RecordedRuns()
    recorder.listeners.append(runs)
    try:
        yield runs
    finally:
        recorder.remove(runs)


class _RecordingRun:
    """The replacement for `session.run`, as long as it has listeners."""

    def __init__(self, session: tf.Session) -> None:
        self.listeners: List[RecordedRuns] = []
        self._session = session
        self._cache = StepCache()
        self._replaced = session.run
        self._had_own = "run" in vars(session)
        session.run = self

    def __call__(
        self, fetches: Fetches, feed_dict: Optional[FeedDict] = None, *args: Any, **kwargs: Any
    ) -> Any:
        try:
            result = self._replaced(fetches, feed_dict, *args, **kwargs)
        except tf.errors.OpError:
            self._record(fetches, feed_dict, is_completed=False)
            raise
        self._record(fetches, feed_dict, is_completed=True)
        return result

    def remove(self, runs: RecordedRuns) -> None:
        """Remove a listener; without listeners, restore `session.run`."""
        self.listeners = [listener for listener in self.listeners if listener is not runs]
        if self.listeners or vars(self._session).get("run") is not self:
            return
        if self._had_own:
            self._session.run = self._replaced
        else:
            del self._session.run

    def _record(self, fetches: Fetches, feed: Optional[FeedDict], is_completed: bool) -> None:
        run_key = self._cache.run_key(self._session.graph, fetches, feed)
        for listener in self.listeners:
            listener.add(run_key, is_completed)
