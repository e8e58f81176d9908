"""The frozen record of a run: data only. Claims judge it and reports render it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, Optional, Tuple

import numpy as np

from bnguard.harness.results.closed_form import LayerStatistics
from bnguard.harness.results.terms import Phase, Reads, Side

Values = Dict[str, np.ndarray]
"""Variable name to value."""


@dataclass(frozen=True)
class LayerRun:
    """The effect of one training run on the statistics of one layer.

    Attributes:
      due: the name of the data that a correct graph absorbs here, or `nothing`.
      absorbed: the data that the layer did absorb, as `closed_form.which_data` names it.
      statistics: the statistics after the run.
      expected: the closed form after the run: the recurrence over the data that was due.
    """

    due: str
    absorbed: str
    statistics: LayerStatistics
    expected: LayerStatistics


@dataclass(frozen=True)
class TrainingRun:
    """One session.run of training.

    Attributes:
      moved: the names of the variables that it changed, sorted.
      layers: scope to the effect on that layer.
      reads: the statistics that the first layer normalized with; None if the case does not
        expose this layer's outputs.
    """

    moved: Tuple[str, ...]
    layers: Dict[str, LayerRun]
    reads: Optional[Reads] = None


@dataclass(frozen=True)
class InferenceStep:
    """One inference step.

    Attributes:
      x: the rows fed, float32 [rows, *spatial, channels].
      y: the output fetched.
      check: the source's (x - mean) / (std + 0.001), for the layer's input, from the statistics
        before the step.
      beta, gamma, moving_mean, moving_variance: the layer's variables after the step, [channels].
      reads: the statistics that y was computed from.
    """

    x: np.ndarray
    y: np.ndarray
    check: np.ndarray
    beta: np.ndarray
    gamma: np.ndarray
    moving_mean: np.ndarray
    moving_variance: np.ndarray
    reads: Reads


@dataclass(frozen=True)
class InferencePass:
    """One pass of inference over the rows, in one session.

    Attributes:
      session: `initialized`, `trained` or `restored`: the origin of the variables' values.
      layer: the scope of the layer whose output was fetched.
      before: every variable before the pass.
      after: every variable after it.
      steps: one for each row.
      expected: the layer's statistics after the pass if every step had updated them, by the
        closed form: moving_mean and moving_variance, float64.
      earlier_runs: how often the session had run this fetch before the pass. Its executor learns
        from earlier runs which kernels are quick, and schedules them differently.
      together: all rows inferred in one step, after the pass; None if this was not done.
      frozen: whether the graph has no variables. TensorFlow folds the constants of such a graph
        before it runs, and so rounds differently.
    """

    session: str
    layer: str
    before: Values
    after: Values
    steps: Tuple[InferenceStep, ...]
    expected: Values
    earlier_runs: int = 0
    together: Optional[InferenceStep] = None
    frozen: bool = False

    @property
    def drift(self) -> Dict[str, float]:
        """Return the largest absolute change of each variable over the pass."""
        return largest_changes(self.before, self.after)


@dataclass(frozen=True)
class Checkpoints:
    """The two checkpoints of a run, saved before and after its first inference pass.

    Attributes:
      before: the prefix of the one saved after training.
      after: the prefix of the one saved after inference, as the source does.
      drift: the largest absolute difference of each variable between the two on disk.
      values: the values of the variables that differ, in the one saved after inference.
    """

    before: str
    after: str
    drift: Dict[str, float]
    values: Values


@dataclass(frozen=True)
class Failure:
    """An error that TensorFlow raised, in a case that is about this error.

    Attributes:
      phase: the phase in which it was raised.
      error: the name of the exception's class.
      message: the first line of its message.
    """

    phase: Phase
    error: str
    message: str


@dataclass(frozen=True)
class Record:
    """All that one run of one side of a case showed.

    Attributes:
      case: the case's name.
      side: the side that was run.
      tensorflow: TensorFlow's version.
      variables: `ref` or `resource`.
      control_flow: `v1` or `v2`.
      fused: `auto`, `yes` or `no`.
      passes: the inference passes that happened, in order.
      checkpoints: the saved checkpoints; None if nothing was saved.
      initial: scope of each layer to its statistics before training.
      training: the runs of all training steps, in order.
      trainable: the names of the variables that an optimizer trains by default.
      failure: the error that ended the run; None if there was none.
      values: how many values of each channel a training batch has; 0 without training.
      decay: the decay of the layers' moving averages.
    """

    case: str
    side: Side
    tensorflow: str
    variables: str
    control_flow: str
    fused: str
    passes: Tuple[InferencePass, ...] = ()
    checkpoints: Optional[Checkpoints] = None
    initial: Dict[str, LayerStatistics] = field(default_factory=dict)
    training: Tuple[TrainingRun, ...] = ()
    trainable: Tuple[str, ...] = ()
    failure: Optional[Failure] = None
    values: int = 0
    decay: float = 0.0

    @property
    def layer(self) -> str:
        """Return the scope of the first layer, which the case is about; empty if none trained."""
        return next(iter(self.initial), "")


def largest_changes(before: Values, after: Values) -> Dict[str, float]:
    """Return the largest absolute change of each variable in both; 0.0 if bit-identical."""
    return {name: _largest_change(before[name], after[name]) for name in before if name in after}


def _largest_change(before: np.ndarray, after: np.ndarray) -> float:
    if before.tobytes() == after.tobytes():  # a NaN that stays the same NaN has not moved
        return 0.0
    return float(np.max(np.abs(after.astype(np.float64) - before.astype(np.float64))))
