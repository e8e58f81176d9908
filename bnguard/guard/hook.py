"""`FrozenStatisticsHook`: an evaluation that must not change the running statistics."""

from __future__ import annotations

from typing import Any, Optional, Set
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
_EVALUATION = "evaluation"
_STATIC = "FrozenStatisticsHook: a step of this session, not run yet, writes running statistics"
_DYNAMIC = "FrozenStatisticsHook: running statistics changed since the session was created"


class StatisticsHook(tf.train.SessionRunHook):  # type: ignore[misc, unused-ignore]
    """What the hooks have in common: they know the graph, and whether they were added in time.

    Attributes:
      graph: the default graph when the hook began; None before.
    """

    def __init__(self) -> None:
        self.graph: Optional[tf.Graph] = None

    def begin(self) -> None:
        """Store the default graph."""
        self.graph = tf.get_default_graph()

    def check_graph(self, session: tf.Session) -> None:
        """Check that the hook began, and in the graph of the session.

        Raises:
          BnguardError: it did not.
        """
        if self.graph is None:
            raise self.added_too_late()
        if session.graph is not self.graph:
            raise BnguardError(
                f"{type(self).__name__}: the session has a different graph than the one that was "
                "the default when the hook began; expected the same graph. Create the session and "
                "its own hook inside `with graph.as_default():`."
            )

    def added_too_late(self) -> BnguardError:
        """Return the error about a hook that missed the start of the session."""
        return BnguardError(
            f"{type(self).__name__}: the hook was added to an existing session, whose graph is "
            "finalized; expected begin() and after_create_session() before the first step. Pass "
            "the hook in hooks= when the session is created."
        )


class FrozenStatisticsHook(StatisticsHook):
    """A session hook for evaluation that raises if a step changes the running statistics.

    Pass it in `hooks=` of a `tf.train.MonitoredSession`, of a session like it, or of
    `tf.estimator.EvalSpec`.

    * Static mode audits each distinct step (fetches, feeds, value of the training flag) once,
      before it runs. A step that certainly writes a statistic is refused. A step that may write
      one is reported once as a RuntimeWarning.
    * Dynamic mode also compares the values with those at the start of the session, every
      `every_n_steps` steps and at the end. It gives no warnings.

    Only the dynamic comparison covers the fetches of other hooks.

    A training step changes the statistics, so it is refused as well. In a program that trains and
    evaluates in one session, let the hook judge the steps that evaluate with only="evaluation".

    Args:
      mode: `static` or `static+dynamic`.
      scope: a variable scope or its name; selects the statistics in it. None selects all.
      every_n_steps: number of steps between dynamic comparisons.
      only: None to judge all steps; `evaluation` to judge those that neither apply gradients nor
        run update ops alone, in static mode.

    Raises:
      StatisticsChanged: from `before_run`: the step would write a statistic. From `after_run` and
        `end`: a statistic is not bit-identical to its value at the start of the session.
      BnguardError: there are no running statistics in the graph or the scope; the hook was added
        to an existing session, or to a session of a different graph; an argument is invalid.
    """

    def __init__(
        self,
        mode: str = "static",
        scope: Optional[Scope] = None,
        every_n_steps: int = 100,
        only: Optional[str] = None,
    ) -> None:
        super().__init__()
        if mode not in _MODES:
            raise BnguardError(f"mode: got {mode!r}; expected one of {', '.join(_MODES)}.")
        check_every_n_steps(every_n_steps)
        if only not in (None, _EVALUATION):
            raise BnguardError(f"only: got {only!r}; expected None or {_EVALUATION!r}.")
        if only is not None and mode != "static":
            raise BnguardError(
                f"only: got {only!r} with mode={mode!r}, which compares values that training "
                "changes; expected mode='static'."
            )
        self._only = only
        self._dynamic = mode == "static+dynamic"
        self._scope = scope
        self._every_n_steps = every_n_steps
        self._static_check: Optional[_StaticCheck] = None
        self._dynamic_check: Optional[_DynamicCheck] = None

    def begin(self) -> None:
        """Store the default graph; for dynamic mode, make the statistics readable."""
        super().begin()
        self._static_check = self._dynamic_check = None
        if self._dynamic:
            session_values.make_readable(self.graph, session_values.find(self.graph, self._scope))

    def after_create_session(self, session: tf.Session, coord: Any) -> None:
        """Analyse the graph, which is final now; for dynamic mode, store the statistics."""
        self.check_graph(session)
        diagnosis = Diagnosis(session.graph, session_values.find(session.graph, self._scope))
        self._static_check = _StaticCheck(
            session.graph,
            diagnosis,
            warns=not self._dynamic,
            skips_training=self._only == _EVALUATION,
        )
        if self._dynamic:
            self._dynamic_check = _DynamicCheck(GuardedBlock(session, self._scope), diagnosis)

    def before_run(self, run_context: Any) -> None:
        """Audit the step, unless an equal step has been audited."""
        if self._static_check is None:
            self.check_graph(run_context.session)
            raise self.added_too_late()
        run_key = self._static_check.check(run_context.original_args)
        if self._dynamic_check is not None:
            self._dynamic_check.runs.add(run_key)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Compare the values every `every_n_steps` steps, in dynamic mode."""
        if self._dynamic_check is not None:
            self._dynamic_check.steps += 1
            if self._dynamic_check.steps % self._every_n_steps == 0:
                self._dynamic_check.check()

    def end(self, session: tf.Session) -> None:
        """Compare the values a last time, in dynamic mode."""
        if self._dynamic_check is not None:
            self._dynamic_check.check()


class _StaticCheck:
    """Audit each distinct step of a session once.

    Args:
      graph: the session's graph.
      diagnosis: of that graph.
      warns: whether to warn about a step that may write a statistic.
      skips_training: whether to let all steps pass that train.
    """

    def __init__(
        self, graph: tf.Graph, diagnosis: Diagnosis, warns: bool, skips_training: bool
    ) -> None:
        self._graph = graph
        self._diagnosis = diagnosis
        self._warns = warns
        self._skips_training = skips_training
        self._cache = StepCache(self._audited)
        self._warned: Set[Any] = set()

    def check(self, args: Any) -> RunKey:
        """Audit the step of these `SessionRunArgs`, and return its key."""
        return self._cache.known(self._graph, args.fetches, args.feed_dict)

    def _audited(self, run_key: RunKey) -> RunKey:
        if not (self._skips_training and self._diagnosis.trains(run_key)):
            self._audit(run_key)
        return run_key

    def _audit(self, run_key: RunKey) -> None:
        findings = self._diagnosis.findings(run_key).items()
        certain = [Moved(name, None, (finding,)) for name, finding in findings if finding.certain]
        if certain:
            raise StatisticsChanged(_STATIC, certain)
        step = (run_key.fetches, tuple((name, finding.op) for name, finding in findings))
        if findings and self._warns and step not in self._warned:
            self._warned.add(step)
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


def check_every_n_steps(value: Any) -> None:
    """Check a number of steps.

    Raises:
      BnguardError: it is no positive integer.
    """
    is_integer = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not is_integer or value < 1:
        raise BnguardError(f"every_n_steps: got {value!r}; expected a positive integer.")
