"""The closed form of running statistics: what a correct layer must hold, in NumPy."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np

# How far a float32 output may be from its closed form, in units of the input. The source's
# inputs are near 100, where neighbouring float32 values are 7.6e-6 apart.
TOLERANCE = 1e-4


class Statistics(NamedTuple):
    """Running statistics of one layer: mean and variance, each float64 [channels]."""

    mean: np.ndarray
    variance: np.ndarray


class Affine(NamedTuple):
    """What a layer applies after normalizing: beta and gamma [channels], and its epsilon."""

    beta: np.ndarray
    gamma: np.ndarray
    epsilon: float


def advance(statistics: Statistics, batch: np.ndarray, decay: float, bessel: bool) -> Statistics:
    """The statistics after one training step on `batch`.

    m <- decay m + (1 - decay) mean(batch), and the same for the variance: the population
    variance, or, as the fused kernel has it, n / (n - 1) of that.

    Args:
      statistics: the statistics before.
      batch: what the layer normalized, float [batch, ..., channels].
      decay: in [0, 1].
      bessel: whether the layer is fused.
    """
    rows = np.asarray(batch, np.float64).reshape(-1, batch.shape[-1])
    correction = len(rows) / max(len(rows) - 1, 1) if bessel else 1.0
    return Statistics(
        decay * statistics.mean + (1 - decay) * rows.mean(axis=0),
        decay * statistics.variance + (1 - decay) * correction * rows.var(axis=0),
    )


def normalize(x: np.ndarray, statistics: Statistics, affine: Affine) -> np.ndarray:
    """What the layer outputs for x, float [..., channels], from these statistics."""
    deviation = np.asarray(x, np.float64) - statistics.mean
    return affine.gamma * deviation / _std(statistics, affine) + affine.beta


def which_statistics(
    x: np.ndarray, y: np.ndarray, before: Statistics, after: Statistics, affine: Affine
) -> str:
    """Say which statistics the output y of an inference step on x was computed from.

    Reads that are not ordered against the updates of the same step may see each statistic
    of each channel before or after its update.

    Args:
      x: the input, float [batch, ..., channels].
      y: the output, of x's shape.
      before: the statistics before the step.
      after: the statistics after it.
      affine: the rest of the layer.

    Returns:
      `before` or `after` where every channel read both statistics there; `mixed` where each
      channel read one of the four combinations; `other` where some channel read none of
      them. Where before and after give the same output: `before`.
    """
    near = []
    for mean_from, variance_from in product((before, after), repeat=2):
        read = Statistics(mean_from.mean, variance_from.variance)
        error = np.abs(y - normalize(x, read, affine)) * _std(read, affine)
        near.append(error <= TOLERANCE * np.maximum(np.abs(affine.gamma), 1))
    if near[0].all():
        return "before"
    if near[-1].all():
        return "after"
    return "mixed" if np.any(near, axis=0).all() else "other"


def _std(statistics: Statistics, affine: Affine) -> np.ndarray:
    return np.sqrt(statistics.variance + affine.epsilon)
