"""The closed form of a correct layer's running statistics, in NumPy."""

from __future__ import annotations

from itertools import combinations, permutations, product
from typing import Dict, Iterator, NamedTuple, Sequence, Union

import numpy as np

from bnguard.harness.results.terms import Reads

# How far a float32 output may be from its closed form, in units of the input. The source's
# inputs are near 100, where neighbouring float32 values are 7.6e-6 apart.
TOLERANCE = 1e-4
# How far float32 statistics may be from theirs, in units of the largest input.
ROUNDING = 2e-6

NOTHING = "nothing"
"""The name of the data that statistics absorbed if they are bit-identical."""

OTHER = "other"
"""The name of the data if no data explains the change of the statistics."""

JOINED = " + "
"""What joins the names of two data of which one run absorbed both."""


class LayerStatistics(NamedTuple):
    """Running statistics of one layer: mean and variance, each float64 [channels]."""

    mean: np.ndarray
    variance: np.ndarray


Data = Union[np.ndarray, LayerStatistics]
"""What statistics absorb: a batch, float [batch, ..., channels], or other statistics."""


class Affine(NamedTuple):
    """The parameters of a layer beside its statistics: beta and gamma [channels], and epsilon."""

    beta: np.ndarray
    gamma: np.ndarray
    epsilon: float


def advance(
    statistics: LayerStatistics, batch: Data, decay: float, bessel: bool
) -> LayerStatistics:
    """Return the statistics after one training step on `batch`.

    m <- decay m + (1 - decay) mean(batch), and the same for the variance. The batch variance is
    the population variance; the fused kernel multiplies it by n / (n - 1).

    Args:
      statistics: the statistics before.
      batch: the layer's input, float [batch, ..., channels], or statistics to absorb as they are.
      decay: in [0, 1].
      bessel: whether the layer is fused.
    """
    batch_moments = moments(batch, bessel)
    return LayerStatistics(
        *(decay * old + (1 - decay) * new for old, new in zip(statistics, batch_moments))
    )


def moments(batch: Data, bessel: bool) -> LayerStatistics:
    """Return mean and variance of each channel of a batch, or the statistics that it is."""
    if isinstance(batch, LayerStatistics):
        return LayerStatistics(*(np.asarray(values, np.float64) for values in batch))
    rows = np.asarray(batch, np.float64).reshape(-1, batch.shape[-1])
    correction = len(rows) / max(len(rows) - 1, 1) if bessel else 1.0
    return LayerStatistics(rows.mean(axis=0), correction * rows.var(axis=0))


def which_data(
    before: LayerStatistics,
    after: LayerStatistics,
    data: Dict[str, Data],
    decay: float,
    bessel: bool,
) -> str:
    """Return which data the statistics absorbed in one training run.

    If several updates of one statistic run in one step, nothing orders them: each computes its
    change from the value before or after the other updates. A subtraction without a lock may also
    overwrite that of the other update, in some channels.

    Args:
      before: the statistics before the run.
      after: the statistics after it.
      data: the batches that the graph computed for the layer, or other statistics, by name.
      decay: in [0, 1].
      bessel: whether the layer is fused.

    Returns:
      The name of the data; two names joined by ` + `; `nothing` if both statistics are
      bit-identical; `other` if no data explains the change.
    """
    if all(old.tobytes() == new.tobytes() for old, new in zip(before, after)):
        return NOTHING
    for names in _one_or_two(sorted(data)):
        scale = max(np.abs(data[name]).max() for name in names)
        batches = [moments(data[name], bessel) for name in names]
        if all(
            _explains(old, new, targets, decay, scale)
            for old, new, targets in zip(before, after, zip(*batches))
        ):
            return JOINED.join(names)
    return OTHER


def _one_or_two(names: Sequence[str]) -> Iterator[Sequence[str]]:
    yield from combinations(names, 1)
    yield from combinations(names, 2)


def _explains(
    old: np.ndarray, new: np.ndarray, targets: Sequence[np.ndarray], decay: float, scale: float
) -> bool:
    outcomes = [old + (1 - decay) * sum(target - old for target in targets)]
    outcomes += [old + (1 - decay) * (target - old) for target in targets]
    for order in permutations(targets):
        now = old
        for target in order:
            now = decay * now + (1 - decay) * target
        outcomes.append(now)
    near = [np.isclose(new, outcome, rtol=1e-5, atol=ROUNDING * scale) for outcome in outcomes]
    return bool(np.any(near, axis=0).all())


def normalize(x: np.ndarray, statistics: LayerStatistics, affine: Affine) -> np.ndarray:
    """Return the layer's output for x, float [..., channels], from these statistics."""
    deviation = np.asarray(x, np.float64) - statistics.mean
    y: np.ndarray = affine.gamma * deviation / _std(statistics, affine) + affine.beta
    return y


def which_statistics(
    x: np.ndarray, y: np.ndarray, before: LayerStatistics, after: LayerStatistics, affine: Affine
) -> Reads:
    """Return the statistics that the output y of a step on x was computed from.

    A read that is not ordered against the updates of the same step may see each statistic of
    each channel before or after its update.

    Args:
      x: the input, float [batch, ..., channels].
      y: the output, of x's shape.
      before: the statistics before the step.
      after: the statistics after it.
      affine: the rest of the layer.

    Returns:
      BEFORE or AFTER if every channel read both statistics there; MIXED if each channel read one
      of the four combinations; BATCH if y is normalized by the moments of x itself; OTHER if none
      of these fits. If before and after give the same output: BEFORE. NaN fits a negative variance.
    """
    near = [
        _fits(x, y, LayerStatistics(mean_from.mean, variance_from.variance), affine)
        for mean_from, variance_from in product((before, after), repeat=2)
    ]
    if near[0].all():
        return Reads.BEFORE
    if near[-1].all():
        return Reads.AFTER
    if np.any(near, axis=0).all():
        return Reads.MIXED
    if _fits(x, y, moments(x, bessel=False), affine).all():
        return Reads.BATCH
    return Reads.OTHER


def _fits(x: np.ndarray, y: np.ndarray, read: LayerStatistics, affine: Affine) -> np.ndarray:
    expected = normalize(x, read, affine)
    error = np.abs(y - expected) * _std(read, affine)
    fits: np.ndarray = error <= TOLERANCE * np.maximum(np.abs(affine.gamma), 1)
    fits |= np.isnan(y) & np.isnan(expected)
    return fits


def _std(statistics: LayerStatistics, affine: Affine) -> np.ndarray:
    return root(statistics.variance + affine.epsilon)


def root(variance: np.ndarray) -> np.ndarray:
    """Return the square root; NaN, without a warning, of a variance that is negative."""
    with np.errstate(invalid="ignore"):
        deviation: np.ndarray = np.sqrt(variance)
    return deviation
