"""The source's experiment: train, save, infer, save; then restore afresh and infer again."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
import os
from typing import Any, Callable, Iterable, List, NamedTuple, Optional, Sequence

from bnguard import checkpoint
from bnguard.harness.case import Case
from bnguard.harness.catalogue import LoadedCase
from bnguard.harness.program import FUSED, Build, Program, RefusedError
from bnguard.harness.record import Checkpoints, Record, largest_changes
import numpy as np
from scipy import stats
import tensorflow.compat.v1 as tf

Progress = Callable[[Sequence[int]], Iterable[int]]


class Options(NamedTuple):
    """How to run the experiment; the defaults are the source's.

    Attributes:
      restore: checkpoint to start from, the source's `load = 1`; None: initialize.
      train: False skips training, the source's `train = 0`.
      train_steps: number of training steps.
      infer_steps: number of single-row inferences in each pass.
      batch_size: rows in a training step.
      seed: of the one random stream that training batches, then inference rows come from.
      build: how the graph is built.
      checkpoint_dir: where runs save, each in a folder of its own.
    """

    restore: Optional[str] = None
    train: bool = True
    train_steps: int = 100
    infer_steps: int = 10
    batch_size: int = 4
    seed: int = 1006
    build: Build = Build("no", "ref", "v1")
    checkpoint_dir: str = "checkpoints"


def run(case: LoadedCase, options: Options, progress: Progress = iter) -> Record:
    """Run one side of a case, and return the record of all that it showed.

    With `restore` and without `train` there is one pass, in the restored session, and
    nothing is saved. Where TensorFlow raises an error in a phase that the case's claim is
    about, the record ends there and holds the error.

    Args:
      case: the case and side.
      options: how to run it.
      progress: wraps the iterable of training steps, to show progress.

    Raises:
      BnguardError: the checkpoint to restore does not fit, the folder to save in cannot be
        written, or TensorFlow refuses this graph with these variables and control flow.
    """
    experiment = _Experiment(case, options)
    try:
        experiment.run(progress)
    except RefusedError as refused:
        if refused.failure.phase != case.case.claim.fails_in:
            raise
        experiment.record = replace(experiment.record, failure=refused.failure)
    return experiment.record


class _Experiment:
    """One run, and the record of how far it has come."""

    def __init__(self, case: LoadedCase, options: Options) -> None:
        self._case = case
        self._options = options
        self._stream = _Stream(case.case, options.seed)
        how = options.build
        self.record = Record(
            case=case.file.name,
            side=case.file.side,
            tensorflow=tf.__version__,
            variables=how.variables,
            control_flow=how.control_flow,
            fused=how.fused,
            values=options.batch_size * int(np.prod(case.case.spatial)) if options.train else 0,
        )

    def run(self, progress: Progress) -> None:
        options = self._options
        if options.restore and not options.train:
            self._serve(options.restore, self._stream.rows(options.infer_steps))
            return
        make = partial(self._case.build, self._fused)
        with Program(self._case, options.build, make) as program:
            origin = self._start(program)
            folder = checkpoint.claim_folder(
                os.path.join(options.checkpoint_dir, self.record.case, self.record.side)
            )
            self._train(program, progress)
            before = program.save(os.path.join(folder, "trained.ckpt"))
            rows = self._stream.rows(options.infer_steps)
            self._add(passes=(program.infer(origin, rows),))
            after = program.save(os.path.join(folder, "evaluated.ckpt"))
        saved = checkpoint.read(after)
        drift = largest_changes(checkpoint.read(before), saved)
        holds = {name: saved[name] for name, change in drift.items() if change}
        self._add(checkpoints=Checkpoints(before, after, drift, holds))
        self._serve(before, rows)

    def _start(self, program: Program) -> str:
        if self._options.restore:
            program.restore(self._options.restore)
        else:
            program.initialize()
        self._add(initial=program.statistics(), trainable=program.trainable)
        return "trained" if self._options.train else "initialized"

    def _train(self, program: Program, progress: Progress) -> None:
        runs = []
        expected = self.record.initial
        for _ in progress(range(self._options.train_steps if self._options.train else 0)):
            runs += program.train(self._stream.batch(self._options.batch_size), expected)
            expected = {scope: run.expected for scope, run in runs[-1].layers.items()}
        self._add(training=tuple(runs))

    def _serve(self, prefix: str, rows: List[np.ndarray]) -> None:
        make = partial(self._case.serve, self._fused, checkpoint.resolve(prefix))
        with Program(self._case, self._options.build, make, phase="serve") as program:
            program.restore(prefix)
            alone = program.infer("restored", rows)
            together = program.infer_together(rows)
        self._add(passes=(*self.record.passes, replace(alone, together=together)))

    @property
    def _fused(self) -> Optional[bool]:
        return FUSED[self._options.build.fused]

    def _add(self, **fields: Any) -> None:
        self.record = replace(self.record, **fields)


class _Stream:
    """The source's one random stream: independent normal channels."""

    def __init__(self, case: Case, seed: int) -> None:
        self._random = np.random.RandomState(seed)
        self._normal = stats.multivariate_normal(case.mean, case.deviation**2)
        self._shape = (*case.spatial, len(case.mean))

    def batch(self, size: int) -> np.ndarray:
        draws = size * int(np.prod(self._shape[:-1], dtype=int))
        return self._normal.rvs(draws, random_state=self._random).reshape(size, *self._shape)

    def rows(self, count: int) -> List[np.ndarray]:
        return [self.batch(1) for _ in range(count)]
