"""The source's experiment: train, save, infer, save; then restore afresh and infer again."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
import os
from typing import Any, Callable, Dict, Iterable, List, Sequence

import numpy as np
from scipy import stats
import tensorflow.compat.v1 as tf

from bnguard import checkpoint_reader
from bnguard.harness.cases.case import Case
from bnguard.harness.cases.loading import LoadedCase
from bnguard.harness.results.closed_form import LayerStatistics
from bnguard.harness.results.record import Checkpoints, Record, TrainingRun, largest_changes
from bnguard.harness.results.terms import Phase
from bnguard.harness.run import checkpoint_writer
from bnguard.harness.run.case_session import CaseSession, RefusedError
from bnguard.harness.run.options import Options

Progress = Callable[[Sequence[int]], Iterable[int]]
OnSaved = Callable[[str], None]


def run(
    case: LoadedCase,
    options: Options,
    progress: Progress = iter,
    on_saved: OnSaved = lambda prefix: None,
) -> Record:
    """Run one side of a case, and return the record of all that it showed.

    With `restore` and without `train` there is one pass, in the restored session, and nothing is
    saved. If TensorFlow raises an error in the phase that the case's claim is about, the record
    ends there and contains the error.

    Args:
      case: the case and its side.
      options: how to run it.
      progress: wraps the sequence of training steps, to show progress.
      on_saved: called with the prefix of each checkpoint once the checkpoint is complete.

    Raises:
      BnguardError: the checkpoint to restore does not fit, the folder to save in cannot be
        written, the case's file is wrong, or TensorFlow refuses this graph with these variables
        and this control flow.
    """
    experiment = _Experiment(case, options, on_saved)
    try:
        experiment.run(progress)
    except RefusedError as refused:
        if refused.failure.phase != case.case.claim.fails_in:
            raise
        experiment.record = replace(experiment.record, failure=refused.failure)
    return experiment.record


class _Experiment:
    """One run, and the record of it so far."""

    def __init__(self, case: LoadedCase, options: Options, on_saved: OnSaved) -> None:
        self._case = case
        self._options = options
        self._on_saved = on_saved
        self._stream = _Stream(case.case, options.seed)
        build = options.build
        self.record = Record(
            case=case.file.name,
            side=case.file.side,
            tensorflow=tf.__version__,
            variables=build.variables,
            control_flow=build.control_flow,
            fused=build.fused,
            values=options.batch_size * int(np.prod(case.case.spatial)) if options.train else 0,
        )

    def run(self, progress: Progress) -> None:
        options = self._options
        if options.restore and not options.train:
            self._serve(options.restore, self._stream.rows(options.infer_steps))
            return
        build = partial(self._case.build, options.build.fused_argument)
        with CaseSession(self._case, options.build, build) as session:
            self._add(trainable=session.trainable, decay=session.decay)
            if options.restore:
                session.restore(options.restore)
            else:
                session.initialize()
            self._add(initial=session.statistics())
            folder = checkpoint_writer.claim_folder(
                os.path.join(options.checkpoint_dir, self.record.case, self.record.side)
            )
            if options.train:
                self._train(session, progress)
            before = self._save(session, os.path.join(folder, "trained.ckpt"))
            rows = self._stream.rows(options.infer_steps)
            origin = "trained" if options.train else "initialized"
            self._add(passes=(session.infer(origin, rows),))
            after = self._save(session, os.path.join(folder, "evaluated.ckpt"))
        saved = checkpoint_reader.read(after)
        drift = largest_changes(checkpoint_reader.read(before), saved)
        changed = {name: saved[name] for name, change in drift.items() if change}
        self._add(checkpoints=Checkpoints(before, after, drift, changed))
        self._serve(before, rows)

    def _train(self, session: CaseSession, progress: Progress) -> None:
        options = self._options
        runs: List[TrainingRun] = []
        for _ in progress(range(options.train_steps)):
            batch = self._stream.batch(options.batch_size)
            runs += session.train(batch, _expected(runs) or self.record.initial)
        self._add(training=tuple(runs))

    def _save(self, session: CaseSession, prefix: str) -> str:
        session.save(prefix)
        self._on_saved(prefix)
        return prefix

    def _serve(self, path: str, rows: List[np.ndarray]) -> None:
        prefix = checkpoint_reader.resolve(path)
        checkpoint_reader.verify(prefix, ())  # before the case's own code reads it
        serve = partial(self._case.serve, self._options.build.fused_argument, prefix)
        with CaseSession(self._case, self._options.build, serve, Phase.SERVE) as session:
            session.restore(prefix)
            alone = session.infer("restored", rows)
            together = session.infer_together(rows)
        self._add(passes=(*self.record.passes, replace(alone, together=together)))

    def _add(self, **fields: Any) -> None:
        self.record = replace(self.record, **fields)


def _expected(runs: List[TrainingRun]) -> Dict[str, LayerStatistics]:
    """Return the closed form of every layer's statistics after these runs."""
    return {scope: layer.expected for run in runs[-1:] for scope, layer in run.layers.items()}


class _Stream:
    """The source's one random stream: independent normal channels."""

    def __init__(self, case: Case, seed: int) -> None:
        self._random = np.random.RandomState(seed)
        self._normal = stats.multivariate_normal(case.mean, case.deviation**2)
        self._shape = (*case.spatial, len(case.mean))

    def batch(self, size: int) -> np.ndarray:
        draws = size * int(np.prod(self._shape[:-1], dtype=int))
        values: np.ndarray = self._normal.rvs(draws, random_state=self._random)
        return values.reshape(size, *self._shape)

    def rows(self, count: int) -> List[np.ndarray]:
        return [self.batch(1) for _ in range(count)]
