"""The source's experiment: train, save, infer, save; then restore afresh and infer again."""

from __future__ import annotations

import os
from typing import Callable, Iterable, List, NamedTuple, Optional, Sequence

from bnguard import checkpoint
from bnguard.harness.case import Case
from bnguard.harness.catalogue import LoadedCase
from bnguard.harness.program import Build, Program
from bnguard.harness.record import Checkpoints, Pass, Record, largest_changes
from bnguard.harness.recurrence import Statistics
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
    nothing is saved.

    Args:
      case: the case and side.
      options: how to run it.
      progress: wraps the iterable of training steps, to show progress.

    Raises:
      BnguardError: the checkpoint to restore does not fit, the folder to save in cannot be
        written, or TensorFlow refuses this graph with these variables and control flow.
    """
    stream = _Stream(case.case, options.seed)
    if options.restore and not options.train:
        rows = stream.rows(options.infer_steps)
        return _record(case, options, [_restored_pass(case, options, options.restore, rows)])
    with Program(case, options.build) as program:
        origin = _start(program, options)
        folder = checkpoint.claim_folder(
            os.path.join(options.checkpoint_dir, case.file.name, case.file.side)
        )
        history = _train(program, stream, options, progress)
        before = program.save(os.path.join(folder, "trained.ckpt"))
        rows = stream.rows(options.infer_steps)
        first = program.infer(origin, rows)
        after = program.save(os.path.join(folder, "evaluated.ckpt"))
    second = _restored_pass(case, options, before, rows)
    drift = largest_changes(checkpoint.read(before), checkpoint.read(after))
    return _record(case, options, [first, second], Checkpoints(before, after, drift), history)


def _start(program: Program, options: Options) -> str:
    if options.restore:
        program.restore(options.restore)
    else:
        program.initialize()
    return "trained" if options.train else "initialized"


def _train(
    program: Program, stream: _Stream, options: Options, progress: Progress
) -> List[Statistics]:
    history = [program.statistics()]
    for _ in progress(range(options.train_steps if options.train else 0)):
        program.train(stream.batch(options.batch_size))
        history.append(program.statistics())
    return history


def _restored_pass(case: LoadedCase, options: Options, prefix: str, rows: List[np.ndarray]) -> Pass:
    with Program(case, options.build) as program:
        program.restore(prefix)
        return program.infer("restored", rows)


def _record(
    case: LoadedCase,
    options: Options,
    passes: List[Pass],
    checkpoints: Optional[Checkpoints] = None,
    history: Sequence[Statistics] = (),
) -> Record:
    return Record(
        case=case.file.name,
        side=case.file.side,
        tensorflow=tf.__version__,
        variables=options.build.variables,
        control_flow=options.build.control_flow,
        fused=options.build.fused,
        passes=tuple(passes),
        checkpoints=checkpoints,
        training=tuple(history),
    )


class _Stream:
    """The source's one random stream: independent normal channels of unit variance."""

    def __init__(self, case: Case, seed: int) -> None:
        self._random = np.random.RandomState(seed)
        self._normal = stats.multivariate_normal(case.mean)
        self._shape = (*case.spatial, len(case.mean))

    def batch(self, size: int) -> np.ndarray:
        draws = size * int(np.prod(self._shape[:-1], dtype=int))
        return self._normal.rvs(draws, random_state=self._random).reshape(size, *self._shape)

    def rows(self, count: int) -> List[np.ndarray]:
        return [self.batch(1) for _ in range(count)]
