"""Moments of batches, accumulated in float64: the mergeable sums of a measurement."""

from __future__ import annotations

from typing import Dict, List, Mapping, NamedTuple, Sequence, Tuple

import numpy as np

from bnguard.errors import BnguardError

Array = np.ndarray


class BatchMoments(NamedTuple):
    """The moments of one batch, of all channels of all sites one after another, float64.

    Attributes:
      weight: the number of values, or their total weight.
      mean: their mean.
      variance: their variance, without correction.
      own_variance: the variance that the layer averages, with its correction if it has one.
      own_deviation: the square root of that and the layer's epsilon.
    """

    weight: Array
    mean: Array
    variance: Array
    own_variance: Array
    own_deviation: Array


class ChannelMoments(NamedTuple):
    """Sums over batches, each an array of float64 with an element for each channel.

    Attributes:
      weight: the number of values, or their total weight.
      mean: their mean.
      squares: the sum of their squared differences from that mean.
      batches: the number of batches that had values.
      means, variances, deviations: the averages over batches of the batch's mean, of the layer's
        own variance, and of its own deviation.
    """

    weight: Array
    mean: Array
    squares: Array
    batches: Array
    means: Array
    variances: Array
    deviations: Array

    @staticmethod
    def zeros(channels: int) -> ChannelMoments:
        """Return the moments of no batch."""
        return ChannelMoments(*(np.zeros(channels) for _ in ChannelMoments._fields))

    @staticmethod
    def of_batch(batch: BatchMoments) -> ChannelMoments:
        """Return the moments of one batch; those of an empty batch are those of none."""
        has_values = batch.weight > 0
        weight, mean, variance, own, deviation = (
            batch if has_values.all() else [np.where(has_values, values, 0.0) for values in batch]
        )
        return ChannelMoments(
            weight, mean, variance * weight, has_values.astype(float), mean, own, deviation
        )

    def merge(self, other: ChannelMoments) -> ChannelMoments:
        """Return the moments of both, by the law of total variance (Chan, Golub, LeVeque)."""
        weight, batches = self.weight + other.weight, self.batches + other.batches
        share = _share(other.weight, weight)
        batch_share = _share(other.batches, batches)
        delta = other.mean - self.mean
        return ChannelMoments(
            weight,
            self.mean + delta * share,
            self.squares + other.squares + delta * delta * self.weight * share,
            batches,
            *(ours + (theirs - ours) * batch_share for ours, theirs in zip(self[4:], other[4:])),
        )

    def part(self, start: int, end: int) -> ChannelMoments:
        """Return the moments of some of the channels."""
        return ChannelMoments(*(values[start:end] for values in self))


def _share(part: Array, total: Array) -> Array:
    """Return part / total, and 0 where the total is 0."""
    shares: Array = part / np.maximum(total, np.finfo(np.float64).tiny)
    return shares


class Moments:
    """The moments of all layers of a graph over some batches; mergeable, picklable, float64.

    Measure shares of the data anywhere, `merge` the results in any order, and let
    `bnguard.assign_moments` estimate the running statistics from them.

    Args:
      identity: what was measured, as text by name: two measurements can be merged if these agree.
      channels: the number of channels of each site, by the site's name.
      values: the moments of all channels, in the order of `channels`; None for those of no batch.
      steps: the number of batches.

    Attributes:
      identity, channels, values, steps: as given.
    """

    def __init__(
        self,
        identity: Mapping[str, str],
        channels: Mapping[str, int],
        values: ChannelMoments | None = None,
        steps: int = 0,
    ) -> None:
        self.identity = dict(identity)
        self.channels = dict(channels)
        self.values = ChannelMoments.zeros(sum(channels.values())) if values is None else values
        self.steps = steps

    def add(self, batch: BatchMoments) -> None:
        """Add the moments of one batch."""
        self.values = self.values.merge(ChannelMoments.of_batch(batch))
        self.steps += 1

    def merge(self, *others: Moments) -> Moments:
        """Return the moments of all batches of these measurements.

        Raises:
          BnguardError: they are of different graphs, checkpoints or layers.
        """
        values, steps = self.values, self.steps
        for other in others:
            self._check(other)
            values, steps = values.merge(other.values), steps + other.steps
        return Moments(self.identity, self.channels, values, steps)

    def __add__(self, other: Moments) -> Moments:
        return self.merge(other)

    def __repr__(self) -> str:
        return f"Moments({len(self.channels)} layers, {self.steps} batches)"

    def of(self, sites: Sequence[str]) -> ChannelMoments:
        """Return the moments of a statistic that averages the batches of these sites."""
        spans = self._spans()
        first, *rest = (self.values.part(*spans[site]) for site in sites)
        for other in rest:
            first = first.merge(other)
        return first

    def _spans(self) -> Dict[str, Tuple[int, int]]:
        ends: List[int] = list(np.cumsum([0, *self.channels.values()]))
        return {site: (ends[n], ends[n + 1]) for n, site in enumerate(self.channels)}

    def _check(self, other: Moments) -> None:
        if not isinstance(other, Moments):
            raise BnguardError(f"merge: got {type(other).__name__}; expected bnguard.Moments.")
        for key in sorted({*self.identity, *other.identity}):
            ours, theirs = self.identity.get(key, ""), other.identity.get(key, "")
            if ours != theirs:
                raise BnguardError(
                    f"merge: the {key} of one measurement is {theirs or 'unknown'}, that of "
                    f"another is {ours or 'unknown'}; expected measurements of one job. Measure "
                    "all shares with the same command."
                )
        if self.channels != other.channels:
            raise BnguardError(
                "merge: the measurements are of different layers; expected those of one graph and "
                "one scope. Measure all shares with the same command."
            )
