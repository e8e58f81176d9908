"""The claim that training is long enough for the decay of the running statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List

from bnguard.harness.claims.base import Claim, no_training
from bnguard.harness.results import invariants
from bnguard.harness.results.closed_form import NOTHING
from bnguard.harness.results.record import Record

_LARGEST_SHARE = 0.05


@dataclass(frozen=True)
class StatisticsWarm(Claim):
    """After training, the initial values have no more than 5 % of the weight in the statistics.

    n updates with decay d leave the initial value the weight d ** n.

    Defective (`cold`): every update is right, and too much of the initial value is left.
    """

    healthy = "warm"
    defective = "cold"
    measures = "share of the initial value after training"
    concerns = ()

    def violations(self, record: Record) -> List[str]:
        """Return the violations of invariants, and a sentence if the statistics are cold."""
        sentences = invariants.violations(record)
        if record.training and self._share(record) > _LARGEST_SHARE:
            sentences.append(
                f"{self._updates(record)} updates with decay {record.decay:g} leave "
                f"{self.figure(record)} of {record.layer}'s initial statistics."
            )
        return sentences

    def missing(self, record: Record) -> List[str]:
        """Require training."""
        return no_training(record)

    def doubts(self, record: Record) -> List[str]:
        """Doubt nothing but what the invariants say: cold statistics meet all of them."""
        return []

    def figure(self, record: Record) -> str:
        """Return the share of the initial value."""
        return f"{100 * self._share(record):.2g} %"

    def _share(self, record: Record) -> float:
        share: float = record.decay ** self._updates(record)
        return share

    def _updates(self, record: Record) -> int:
        return sum(run.layers[record.layer].due != NOTHING for run in record.training)
