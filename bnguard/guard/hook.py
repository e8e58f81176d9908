"""`FrozenStatisticsHook`: an evaluation that must not change the running statistics."""

from __future__ import annotations

from typing import Any, Optional
import warnings

import numpy as np
import tensorflow.compat.v1 as tf

from bnguard.errors import BnguardError
from bnguard.guard.block import GuardedBlock
from bnguard.guard.diagnosis import Diagnosis
from bnguard.guard.errors import Moved, StatisticsChanged
from bnguard.guard.run_key import RunKey
from bnguard.guard.run_recorder import RecordedRuns
from bnguard.guard.step_cache import StepCache
from bnguard.statistics import session_values
from bnguard.statistics.difference import compare
from bnguard.statistics.scopes import Scope

_MODES = ("static", "static+dynamic")
_STATIC = "FrozenStatisticsHook: a step of this session, not run yet, writes running statistics"
_DYNAMIC = "FrozenStatisticsHook: running statistics changed since the session was created"


class FrozenStatisticsHook(tf.train.SessionRunHook):  # type: ignore[misc, unused-ignore]
    """A session hook for evaluation that raises if a step changes the running statistics.

    Pass it in `hooks=` of a `tf.train.MonitoredSession`, of a session like it, or of
    `tf.estimator.EvalSpec`.

    * Static mode audits each distinct step (fetches, feeds, value of the training flag) once,
      before it runs. A step that certainly writes a statistic is refused. A step that may write
      one is reported once as a RuntimeWarning.
    * Dynamic mode also compares the values with those at the start of the session, every
      `every_n_steps` steps and at the end. It gives no warnings.

    Only the dynamic comparison covers the fetches of other hooks.

    Args:
      mode: `static` or `static+dynamic`.
      scope: a variable scope or its name; selects the statistics in it. None selects all.
      every_n_steps: number of steps between dynamic comparisons.

    Raises:
      StatisticsChanged: from `before_run`: the step would write a statistic. From `after_run` and
        `end`: a statistic is not bit-identical to its value at the start of the session.
      BnguardError: there are no running statistics in the graph or the scope; the hook was added
        to an existing session, or to a session of a different graph; an argument is invalid.
    """

    def __init__(
        self, mode: str = "static", scope: Optional[Scope] = None, every_n_steps: int = 100
    ) -> None:
        if mode not in _MODES:
            raise BnguardError(f"mode: got {mode!r}; expected one of {', '.join(_MODES)}.")
        is_integer = isinstance(every_n_steps, (int, np.integer))
        if not is_integer or isinstance(every_n_steps, bool) or every_n_steps < 1:
            raise BnguardError(
                f"every_n_steps: got {every_n_steps!r}; expected a positive integer."
            )
        self._dynamic = mode == "static+dynamic"
        self._scope = scope
        self._every_n_steps = every_n_steps
        self._graph: Optional[tf.Graph] = None
        self._static_check: Optional[_StaticCheck] = None
        self._dynamic_check: Optional[_DynamicCheck] = None

    def begin(self) -> None:
        """Store the default graph, and make the statistics readable while ops can be added."""
        self._graph = tf.get_default_graph()
        self._static_check = self._dynamic_check = None
        if self._dynamic:
            session_values.make_readable(self._graph, session_values.find(self._graph, self._scope))

    def after_create_session(self, session: tf.Session, coord: Any) -> None:
        """Analyse the graph, which is final now, and store the values of the statistics."""
        self._check_graph(session)
        diagnosis = Diagnosis(session.graph, session_values.find(session.graph, self._scope))
        self._static_check = _StaticCheck(session.graph, diagnosis, warns=not self._dynamic)
        if self._dynamic:
            self._dynamic_check = _DynamicCheck(GuardedBlock(session, self._scope), diagnosis)

    def before_run(self, run_context: Any) -> None:
        """Audit the step, unless an equal step has been audited."""
        if self._static_check is None:
            self._check_graph(run_context.session)
            raise _added_too_late()
        run_key = self._static_check.check(run_context.original_args)
        if self._dynamic_check is not None:
            self._dynamic_check.runs.add(run_key)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Compare the values every `every_n_steps` steps."""
        if self._dynamic_check is not None:
            self._dynamic_check.steps += 1
            if self._dynamic_check.steps % self._every_n_steps == 0:
                self._dynamic_check.check()

    def end(self, session: tf.Session) -> None:
        """Compare the values a last time."""
        if self._dynamic_check is not None:
            self._dynamic_check.check()

    def _check_graph(self, session: tf.Session) -> None:
        if self._graph is None:
            raise _added_too_late()
        if session.graph is not self._graph:
            raise BnguardError(
                "FrozenStatisticsHook: the session has a different graph than the one that was "
                "the default when the hook began; expected the same graph. Create the session and "
                "its own hook inside `with graph.as_default():`."
            )


class _StaticCheck:
    """Audit each distinct step of a session once.

    Args:
      graph: the session's graph.
      diagnosis: of that graph.
      warns: whether to warn about a step that may write a statistic.
    """

    def __init__(self, graph: tf.Graph, diagnosis: Diagnosis, warns: bool) -> None:
        self._graph = graph
        self._diagnosis = diagnosis
        self._warns = warns
        self._cache = StepCache()

    def check(self, args: Any) -> RunKey:
        """Audit the step of these `SessionRunArgs`, and return its key."""
        return self._cache.run_key(self._graph, args.fetches, args.feed_dict, self._audit)

    def _audit(self, run_key: RunKey) -> None:
        findings = self._diagnosis.findings(run_key).items()
        certain = [Moved(name, None, (finding,)) for name, finding in findings if finding.certain]
        if certain:
            raise StatisticsChanged(_STATIC, certain)
        if findings and self._warns:
            possible = [Moved(name, None, (finding,)) for name, finding in findings]
            warnings.warn(str(StatisticsChanged(_STATIC, possible)), RuntimeWarning, stacklevel=2)


class _DynamicCheck:
    """Compare the statistics with their values at the start of the session.

    Attributes:
      runs: the distinct runs of the session so far.
      steps: the number of steps so far.
    """

    def __init__(self, block: GuardedBlock, diagnosis: Diagnosis) -> None:
        self.runs = RecordedRuns()
        self.steps = 0
        self._block = block
        self._diagnosis = diagnosis

    def check(self) -> None:
        """Raise `StatisticsChanged` unless the current values are bit-identical."""
        after = self._block.current()
        if after != self._block.before:
            difference = compare(self._block.before, after)
            raise StatisticsChanged(
                _DYNAMIC, self._diagnosis.explain_changes(difference, self.runs)
            )


def _added_too_late() -> BnguardError:
    return BnguardError(
        "FrozenStatisticsHook: the hook was added to an existing session, whose graph is "
        "finalized; expected begin() and after_create_session() before the first step. Pass the "
        "hook in hooks= when the session is created."
    )
