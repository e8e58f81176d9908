"""The claim that weight decay does not reach running statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, List

import numpy as np

from bnguard.harness.claims.base import Claim, channels, no_training
from bnguard.harness.results import invariants
from bnguard.harness.results.closed_form import LayerStatistics
from bnguard.harness.results.record import Record


@dataclass(frozen=True)
class StatisticsNotDecayed(Claim):
    """Only its own average moves a statistic.

    Defective (`decayed`): every run multiplies both statistics by 1 - `rate` after their update.

    Attributes:
      rate: the rate of the weight decay.
    """

    rate: float

    healthy = "follow"
    defective = "decayed"
    measures = "moving_variance after training (due)"
    concerns = (invariants.training_statistics,)

    def missing(self, record: Record) -> List[str]:
        """Require training."""
        return no_training(record)

    def doubts(self, record: Record) -> List[str]:
        """Doubt the defect unless each run updates the statistics and then shrinks them."""
        return [
            f"{record.layer}/{name} is {now} after training run {number}; the weight decay makes "
            f"it {wanted}."
            for number, (run, decayed) in enumerate(zip(record.training, self._decayed(record)), 1)
            for name, now, wanted in zip(
                ("moving_mean", "moving_variance"), run.layers[record.layer].statistics, decayed
            )
            if not np.allclose(now, wanted, rtol=1e-5, atol=1e-5)
        ]

    def figure(self, record: Record) -> str:
        """Return the first layer's moving_variance, and its closed form."""
        last = record.training[-1].layers[record.layer]
        return f"{channels(last.statistics.variance)} ({channels(last.expected.variance)})"

    def _decayed(self, record: Record) -> Iterator[LayerStatistics]:
        """Yield the statistics after each run with the defect.

        The update of a statistic s whose correct value goes from c to c' is decay * (s - c) + c'.
        """
        now = correct = record.initial[record.layer]
        for run in record.training:
            following = run.layers[record.layer].expected
            now = LayerStatistics(
                *(
                    (1 - self.rate) * (record.decay * (old - was) + due)
                    for old, was, due in zip(now, correct, following)
                )
            )
            correct = following
            yield now
