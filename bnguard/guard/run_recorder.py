"""Record the distinct runs of a session in a `with` block."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, Optional, Type

import tensorflow.compat.v1 as tf

from bnguard.guard.run_key import RunKey
from bnguard.guard.step_cache import run_key_cache
from bnguard.statistics import sessions
from bnguard.statistics.sessions import FeedDict, Fetches, Session

AFTER_ERROR = "after an error from which it recovered"
_MAX_RUNS = 100  # distinct runs recorded per block, because each may need an audit


class RecordedRuns:
    """The first hundred distinct runs of a block, in order.

    Attributes:
      are_of_new_session: whether the block's first session was lost, with its runs.
    """

    def __init__(self) -> None:
        self._runs: Dict[RunKey, bool] = {}  # in order, with whether it ever completed
        self.are_of_new_session = False

    def __iter__(self) -> Iterator[RunKey]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)

    def add(self, run_key: RunKey, is_completed: bool = True) -> None:
        """Record a run; one that failed may have executed some of its ops."""
        if run_key in self._runs or len(self._runs) < _MAX_RUNS:
            self._runs[run_key] = is_completed or self._runs.get(run_key, False)

    def restart(self) -> None:
        """Forget the runs of a session that was lost."""
        self._runs.clear()
        self.are_of_new_session = True

    def completed(self) -> List[RunKey]:
        """Return the runs that completed at least once."""
        return [run_key for run_key, is_completed in self._runs.items() if is_completed]


@contextmanager
def record_runs(
    session: Session, recreated: Callable[[], None] = lambda: None
) -> Iterator[RecordedRuns]:
    """Record each distinct run of the session in the block, including the fetches of hooks.

    In the block, `session.run` of this object is replaced. Blocks can be nested and can end in any
    order. `make_callable` and `partial_run` are not recorded.

    A MonitoredSession re-creates the session inside it after an AbortedError or UnavailableError.
    Then the runs of the new session are recorded, and those of the lost one are forgotten.

    Args:
      session: the session.
      recreated: is called when there is a new session, before it runs a step.

    Raises:
      BnguardError: the session is closed.
    """
    follower = _Follower(session, recreated)
    replaced = [follower.watch()]
    if hasattr(session, "run_step_fn"):
        replaced.append(_replacement(_FollowedRun, session))
        replaced[-1].listeners.append(follower)
    try:
        yield follower.runs
        follower.follow()
    finally:
        follower.stop()
        for run in replaced[1:]:
            run.remove(follower)


class _Follower:
    """Records the runs of the session that is inside another one at the moment.

    Attributes:
      runs: the runs of this session.
    """

    def __init__(self, session: Session, recreated: Callable[[], None]) -> None:
        self.runs = RecordedRuns()
        self._session = session
        self._recreated = recreated

    def watch(self) -> _ReplacedRun:
        """Record the runs of the session that is inside now."""
        self._inner = sessions.unwrap(self._session)
        self._recorder = _replacement(_RecordingRun, self._inner)
        self._recorder.listeners.append(self.runs)
        return self._recorder

    def follow(self, inner: Optional[tf.Session] = None) -> None:
        """Watch the session that is inside now, if it is not the one that is watched.

        Args:
          inner: the session inside, if it is known.
        """
        if inner is self._inner or sessions.unwrap(self._session) is self._inner:
            return
        self.stop()
        self.runs.restart()
        self._recreated()
        self.watch()

    def stop(self) -> None:
        """Record no more runs."""
        self._recorder.remove(self.runs)


class _ReplacedRun:
    """The replacement for `session.run`, as long as it has listeners."""

    def __init__(self, session: Session) -> None:
        self.listeners: List[Any] = []
        self.session = session
        self.replaced = session.run
        self._had_own = "run" in vars(session)
        session.run = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def remove(self, listener: Any) -> None:
        """Remove a listener; without listeners, restore `session.run`."""
        self.listeners = [other for other in self.listeners if other is not listener]
        if self.listeners or vars(self.session).get("run") is not self:
            return
        if self._had_own:
            self.session.run = self.replaced
        else:
            del self.session.run


def _replacement(kind: Type[_ReplacedRun], session: Session) -> _ReplacedRun:
    run = vars(session).get("run")
    return run if isinstance(run, kind) else kind(session)


class _RecordingRun(_ReplacedRun):
    """Tells its listeners, which are `RecordedRuns`, of each run."""

    def __init__(self, session: tf.Session) -> None:
        super().__init__(session)
        self._cache = run_key_cache()

    def __call__(
        self, fetches: Fetches, feed_dict: Optional[FeedDict] = None, *args: Any, **kwargs: Any
    ) -> Any:
        try:
            result = self.replaced(fetches, feed_dict, *args, **kwargs)
        except tf.errors.OpError:
            self._record(fetches, feed_dict, is_completed=False)
            raise
        self._record(fetches, feed_dict, is_completed=True)
        return result

    def _record(self, fetches: Fetches, feed: Optional[FeedDict], is_completed: bool) -> None:
        run_key = self._cache.known(self.session.graph, fetches, feed)
        for listener in self.listeners:
            listener.add(run_key, is_completed)


class _FollowedRun(_ReplacedRun):
    """Lets its listeners, which are `_Follower`s, follow a MonitoredSession before each attempt.

    After an error from which the session recovers, it attempts the step again by itself, with a
    new session inside.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        attempts: List[Any] = []

        def attempt(step_context: Any) -> Any:
            # In a second attempt, the context still has the session of the first.
            inner = None if attempts else step_context.session
            attempts.append(inner)
            for follower in self.listeners:
                follower.follow(inner)
            return step_context.run_with_hooks(*args, **kwargs)

        return self.session.run_step_fn(attempt)
