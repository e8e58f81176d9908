"""`FrozenStatisticsHook`: an evaluation that must not change the running statistics."""

from __future__ import annotations

from typing import Any, Optional
import warnings

import numpy as np
import tensorflow.compat.v1 as tf

from bnguard.errors import BnguardError
from bnguard.guard.block import Block
from bnguard.guard.diagnosis import Diagnosis
from bnguard.guard.errors import Moved, StatisticsChanged
from bnguard.guard.run_key import RunKey
from bnguard.guard.run_recorder import RecordedRuns
from bnguard.guard.step_cache import StepCache
from bnguard.statistics import session_values
from bnguard.statistics.difference import compare

_MODES = ("static", "static+dynamic")
_STATIC = "FrozenStatisticsHook: a step of this session, not run yet, writes running statistics"
_DYNAMIC = "FrozenStatisticsHook: running statistics changed since the session was made"


class FrozenStatisticsHook(tf.train.SessionRunHook):
    """A session hook for evaluation: no step may change the running statistics.

    For `hooks=` of `tf.train.MonitoredSession` and its kin, and of `tf.estimator.EvalSpec`.

    * Static: the audit of each distinct (fetches, feeds, value of the training flag), once,
      before the step runs. A step that is sure to write a statistic is not run. One that may,
      as far as the graph tells, is warned of, once.
    * Dynamic: the values too are compared with those that the session began with, every
      `every_n_steps` steps and at the end.

    What other hooks fetch is seen by the dynamic comparison only.

    Args:
      mode: `static` or `static+dynamic`.
      scope: a variable scope or its name; only the statistics inside count. None: all.
      every_n_steps: how many steps from one dynamic comparison to the next.

    Raises:
      StatisticsChanged: from `before_run`: the step would write a statistic. From `after_run`
        and `end`: a statistic is not bit-identical with what the session began with.
      BnguardError: there are no running statistics in the graph or the scope; the hook was
        added to a session that exists already, or its graph is another one; a bad argument.
    """

    def __init__(self, mode: str = "static", scope: Any = None, every_n_steps: int = 100) -> None:
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
        self._audits: Optional[_Audits] = None
        self._values: Optional[_Values] = None

    def begin(self) -> None:
        """Note the default graph; only here may an op be added to it, for the values."""
        self._graph, self._audits, self._values = tf.get_default_graph(), None, None
        if self._dynamic:
            session_values.make_readable(self._graph, session_values.find(self._graph, self._scope))

    def after_create_session(self, session: tf.Session, coord: Any) -> None:
        """Index the graph, which is final by now, and note the values that have to stay."""
        self._check_graph(session)
        diagnosis = Diagnosis(session.graph, session_values.find(session.graph, self._scope))
        self._audits = _Audits(session.graph, diagnosis, is_last_word=not self._dynamic)
        if self._dynamic:
            self._values = _Values(Block(session, self._scope), diagnosis)

    def before_run(self, run_context: Any) -> None:
        """Audit the step, unless one like it has been audited."""
        if self._audits is None:
            self._check_graph(run_context.session)
            raise _late()
        step = self._audits.check(run_context.original_args)
        if self._values is not None:
            self._values.steps.add(step)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Compare the values, where it is time to."""
        if self._values is not None:
            self._values.count += 1
            if self._values.count % self._every_n_steps == 0:
                self._values.check()

    def end(self, session: tf.Session) -> None:
        """Compare the values a last time."""
        if self._values is not None:
            self._values.check()

    def _check_graph(self, session: tf.Session) -> None:
        if self._graph is None:
            raise _late()
        if session.graph is not self._graph:
            raise BnguardError(
                "FrozenStatisticsHook: the session is of another graph than the one that was the "
                "default when the hook began; expected the same. Make the session, and a hook of "
                "its own, inside `with graph.as_default():`."
            )


class _Audits:
    """The audits of one session's steps, one for each distinct step.

    Args:
      graph: the session's.
      auditor: of that graph.
      is_last_word: whether to warn of a step that only may write; nobody else will look.
    """

    def __init__(self, graph: tf.Graph, diagnosis: Diagnosis, is_last_word: bool) -> None:
        self._graph = graph
        self._diagnosis = diagnosis
        self._is_last_word = is_last_word
        self._known = StepCache()

    def check(self, args: Any) -> RunKey:
        """The step that these `SessionRunArgs` make, audited."""
        return self._known.step(self._graph, args.fetches, args.feed_dict, self._audit)

    def _audit(self, step: RunKey) -> None:
        findings = self._diagnosis.findings(step).items()
        certain = [Moved(name, None, (one,)) for name, one in findings if one.certain]
        if certain:
            raise StatisticsChanged(_STATIC, certain)
        if findings and self._is_last_word:
            possible = [Moved(name, None, (one,)) for name, one in findings]
            warnings.warn(str(StatisticsChanged(_STATIC, possible)), RuntimeWarning, stacklevel=2)


class _Values:
    """The values that one session began with, and the steps that it ran since."""

    def __init__(self, block: Block, diagnosis: Diagnosis) -> None:
        self.steps = RecordedRuns()
        self.count = 0
        self._block = block
        self._diagnosis = diagnosis

    def check(self) -> None:
        """Compare with what the statistics are now."""
        after = self._block.now()
        if after != self._block.before:
            difference = compare(self._block.before, after)
            raise StatisticsChanged(
                _DYNAMIC, self._diagnosis.explain_changes(difference, self.steps)
            )


def _late() -> BnguardError:
    return BnguardError(
        "FrozenStatisticsHook: the hook was added to a session that exists already, whose graph "
        "is finalized; expected begin() and after_create_session() before the first step. Pass "
        "it in hooks= where the session is made."
    )
