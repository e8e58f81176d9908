"""The source's experiment: train, save, infer, save; then restore afresh and infer again."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
import os
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from bnguard import checkpoint_reader
from bnguard.harness.cases.case import Case
from bnguard.harness.cases.catalogue import LoadedCase
from bnguard.harness.results.closed_form import LayerStatistics
from bnguard.harness.results.record import Checkpoints, Record, TrainingRun, largest_changes
from bnguard.harness.run import checkpoint_writer
from bnguard.harness.run.case_session import FUSED, Build, CaseSession, RefusedError
from bnguard.harness.run.point import RUN, Point
from bnguard.harness.run.points import Points
import numpy as np
from scipy import stats
import tensorflow.compat.v1 as tf

Progress = Callable[[Sequence[int]], Iterable[int]]
Saved = Callable[[str, bool], None]
_NOT_KEPT = ("restore", "train", "build", "resume")


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
      save_every: training steps from one point, from which a run can be resumed, to the next;
        one more follows the last step. 0: none.
      resume: the point to go on from; the options are then those of its run. None: start.
    """

    restore: Optional[str] = None
    train: bool = True
    train_steps: int = 100
    infer_steps: int = 10
    batch_size: int = 4
    seed: int = 1006
    build: Build = Build("no", "ref", "v1")
    checkpoint_dir: str = "checkpoints"
    save_every: int = 1000
    resume: Optional[Point] = None

    @property
    def flags(self) -> Dict[str, Any]:
        """The options that a point keeps, by the names of the command line's parameters."""
        kept = {**self._asdict(), **self.build._asdict()}
        return {name: kept[name] for name in kept if name not in _NOT_KEPT}

    def saves(self, step: int) -> bool:
        """Whether a point follows this step, the first of which is 1."""
        return self.save_every > 0 and (step % self.save_every == 0 or step == self.train_steps)


def run(
    case: LoadedCase,
    options: Options,
    progress: Progress = iter,
    saved: Saved = lambda prefix, is_point: None,
) -> Record:
    """Run one side of a case, and return the record of all that it showed.

    With `restore` and without `train` there is one pass, in the restored session, and
    nothing is saved. With `resume` the record is that of a run that never stopped, but for the
    `earlier_runs` of its passes. Where TensorFlow raises an error in a phase that the case's
    claim is about, the record ends there and holds the error.

    Args:
      case: the case and side.
      options: how to run it.
      progress: wraps the iterable of training steps, to show progress.
      saved: told the prefix of every checkpoint of which there is more to come, and whether it
        is a point, from which this run can be resumed: where there are no points, it is what
        inference starts from.

    Raises:
      BnguardError: the checkpoint to restore does not fit, the point to resume from is another
        run's, the folder to save in cannot be written, the case's file is wrong, or TensorFlow
        refuses this graph with these variables and control flow.
    """
    experiment = _Experiment(case, options, saved)
    try:
        experiment.run(progress)
    except RefusedError as refused:
        if refused.failure.phase != case.case.claim.fails_in:
            raise
        experiment.record = replace(experiment.record, failure=refused.failure)
    return experiment.record


class _Experiment:
    """One run, and the record of how far it has come."""

    def __init__(self, case: LoadedCase, options: Options, saved: Saved) -> None:
        self._case = case
        self._options = options
        self._saved = saved
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
        if options.resume:
            options.resume.check_is_of(self._identity)
        make = partial(self._case.build, self._fused)
        with CaseSession(self._case, options.build, make) as program:
            self._start(program)
            folder = checkpoint_writer.claim_folder(
                os.path.join(options.checkpoint_dir, self.record.case, self.record.side)
            )
            if options.train:
                self._train(program, Points(folder, program.save_all), progress)
            before = program.save(os.path.join(folder, "trained.ckpt"))
            if not (options.train and options.save_every):
                self._saved(before, False)
            rows = self._stream.rows(options.infer_steps)
            origin = "trained" if options.train else "initialized"
            self._add(passes=(program.infer(origin, rows),))
            after = program.save(os.path.join(folder, "evaluated.ckpt"))
        saved = checkpoint_reader.read(after)
        drift = largest_changes(checkpoint_reader.read(before), saved)
        holds = {name: saved[name] for name, change in drift.items() if change}
        self._add(checkpoints=Checkpoints(before, after, drift, holds))
        self._serve(before, rows)

    def _start(self, program: CaseSession) -> None:
        options = self._options
        self._add(trainable=program.trainable)
        if options.resume:
            self._go_on(program, options.resume)
            return
        if options.restore:
            program.restore(options.restore)
        else:
            program.initialize()
        self._add(initial=program.statistics())

    def _go_on(self, program: CaseSession, point: Point) -> None:
        program.restore_all(point.prefix)
        point.check_fits(program.statistics())
        self._stream.state = point.random
        self._add(initial=point.initial, training=tuple(point.training))
        self._saved(point.prefix, True)

    def _train(self, program: CaseSession, points: Points, progress: Progress) -> None:
        options = self._options
        taken = options.resume.step if options.resume else 0
        runs = list(self.record.training)
        for step in progress(range(taken + 1, options.train_steps + 1)):
            batch = self._stream.batch(options.batch_size)
            runs += program.train(batch, _expected(runs) or self.record.initial)
            if options.saves(step):
                self._saved(points.add(self._point(step, runs)), True)
        self._add(training=tuple(runs))

    def _point(self, step: int, runs: List[TrainingRun]) -> Point:
        return Point(
            step,
            self._identity,
            self._options.flags,
            self._stream.state,
            self.record.initial,
            runs,
        )

    @property
    def _identity(self) -> Dict[str, str]:
        file = self._case.file
        return dict(zip(RUN, (file.name, file.side, tf.__version__, self._case.digest)))

    def _serve(self, path: str, rows: List[np.ndarray]) -> None:
        prefix = checkpoint_reader.resolve(path)
        checkpoint_reader.verify(prefix, ())  # before a program of the case's own reads it
        make = partial(self._case.serve, self._fused, prefix)
        with CaseSession(self._case, self._options.build, make, phase="serve") as program:
            program.restore(prefix)
            alone = program.infer("restored", rows)
            together = program.infer_together(rows)
        self._add(passes=(*self.record.passes, replace(alone, together=together)))

    @property
    def _fused(self) -> Optional[bool]:
        return FUSED[self._options.build.fused]

    def _add(self, **fields: Any) -> None:
        self.record = replace(self.record, **fields)


def _expected(runs: List[TrainingRun]) -> Dict[str, LayerStatistics]:
    """The closed form of every layer's statistics after these runs."""
    return {scope: layer.expected for run in runs[-1:] for scope, layer in run.layers.items()}


class _Stream:
    """The source's one random stream: independent normal channels."""

    def __init__(self, case: Case, seed: int) -> None:
        self._random = np.random.RandomState(seed)
        self._normal = stats.multivariate_normal(case.mean, case.deviation**2)
        self._shape = (*case.spatial, len(case.mean))

    @property
    def state(self) -> Tuple[Any, ...]:
        """Where the stream is: what comes next follows from it."""
        return tuple(self._random.get_state())

    @state.setter
    def state(self, state: Tuple[Any, ...]) -> None:
        self._random.set_state(state)

    def batch(self, size: int) -> np.ndarray:
        draws = size * int(np.prod(self._shape[:-1], dtype=int))
        return self._normal.rvs(draws, random_state=self._random).reshape(size, *self._shape)

    def rows(self, count: int) -> List[np.ndarray]:
        return [self.batch(1) for _ in range(count)]
