"""`MustMoveStatisticsHook`: a training that must change the running statistics."""

from __future__ import annotations

from typing import Any, Optional

import tensorflow.compat.v1 as tf

from bnguard.guard.block import GuardedBlock
from bnguard.guard.hook import StatisticsHook, check_every_n_steps
from bnguard.guard.must_move import unmoved
from bnguard.guard.run_key import RunKey
from bnguard.guard.run_recorder import RecordedRuns
from bnguard.guard.step_cache import run_key_cache
from bnguard.statistics import session_values
from bnguard.statistics.scopes import Scope

_WHERE = "MustMoveStatisticsHook: running statistics stayed bit-identical in"


class MustMoveStatisticsHook(StatisticsHook):
    """A session hook for training that raises if the steps leave a running statistic unchanged.

    Pass it in `hooks=` of a `tf.train.MonitoredTrainingSession`, of a session like it, or of
    `tf.estimator.TrainSpec`.

    It compares the values with those at the start, as `bnguard.must_move` does, and names the same
    reasons. The session may also evaluate: some step of all must change each statistic.

    Args:
      every_n_steps: number of steps after which to compare, each time with the values at the last
        comparison. None compares once, at the end of the session. The end also ends the last,
        shorter period.
      scope: a variable scope or its name; selects the statistics in it. None selects all.

    Raises:
      StatisticsDidNotMove: from `after_run` and `end`: a statistic is bit-identical.
      BnguardError: there are no running statistics in the graph or the scope, or they are not
        initialized; the hook was added to an existing session, or to a session of a different
        graph; an argument is invalid.
    """

    def __init__(self, every_n_steps: Optional[int] = None, scope: Optional[Scope] = None) -> None:
        super().__init__()
        if every_n_steps is not None:
            check_every_n_steps(every_n_steps)
        self._every_n_steps = every_n_steps
        self._scope = scope
        self._period: Optional[_Period] = None
        self._cache = run_key_cache()
        self._run_key: Optional[RunKey] = None

    def begin(self) -> None:
        """Make the statistics readable while ops can be added."""
        super().begin()
        self._period = None
        session_values.make_readable(self.graph, session_values.find(self.graph, self._scope))

    def after_create_session(self, session: tf.Session, coord: Any) -> None:
        """Store the values of the statistics."""
        self.check_graph(session)
        self._cache = run_key_cache()
        self._period = _Period(session, self._scope)

    def before_run(self, run_context: Any) -> None:
        """Note which step is about to run."""
        if self._period is None:
            self.check_graph(run_context.session)
            raise self.added_too_late()
        args = run_context.original_args
        self._run_key = self._cache.known(self.graph, args.fetches, args.feed_dict)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Record the step, and compare the values every `every_n_steps` steps."""
        if self._period is not None and self._run_key is not None:
            self._period.add(self._run_key)
            if self._period.steps == self._every_n_steps:
                self._period.check()
                self._period = _Period(run_context.session, self._scope)

    def end(self, session: tf.Session) -> None:
        """Compare the values a last time, unless no step has followed a comparison."""
        if self._period is not None and (self._period.steps or self._every_n_steps is None):
            self._period.check()


class _Period:
    """The steps since the values were stored.

    Attributes:
      steps: their number.
    """

    def __init__(self, session: tf.Session, scope: Optional[Scope]) -> None:
        self.steps = 0
        self._block = GuardedBlock(session, scope)
        self._runs = RecordedRuns()

    def add(self, run_key: RunKey) -> None:
        """Record a step that completed."""
        self.steps += 1
        self._runs.add(run_key)

    def check(self) -> None:
        """Raise `StatisticsDidNotMove` unless every statistic has changed."""
        steps = f"{self.steps} step{'' if self.steps == 1 else 's'}"
        error = unmoved(self._block, self._runs, f"{_WHERE} {steps}")
        if error is not None:
            raise error
