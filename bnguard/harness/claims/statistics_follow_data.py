"""The claim that running statistics absorb the data that they are to describe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List

from bnguard.harness.claims import invariants
from bnguard.harness.claims.base import Claim, no_training, trained_mean
from bnguard.harness.results.record import Record


@dataclass(frozen=True)
class StatisticsFollowData(Claim):
    """Every training run moves every layer's statistics by the data due in it, and no other.

    Defective: every run moves each by the same other data instead.

    Attributes:
      instead: scope of each layer to what the defect makes it absorb in every run, in the words
        of `recurrence.which_data`.
      defective: the word for that.
    """

    instead: Dict[str, str]
    defective: str = "stale"

    healthy = "follow"
    measures = "moving_mean after training (due)"
    concerns = (invariants.training_statistics,)

    def missing(self, record: Record) -> List[str]:
        """Training happened."""
        return no_training(record)

    def doubts(self, record: Record) -> List[str]:
        """Every run absorbed what the defect says."""
        return [
            f"{scope} absorbed {run.layers[scope].absorbed} in training run {number}; the defect "
            f"makes it absorb {data}."
            for number, run in enumerate(record.training, 1)
            for scope, data in self.instead.items()
            if run.layers[scope].absorbed != data
        ]

    def figure(self, record: Record) -> str:
        """Every channel of the first layer, and its closed form."""
        return trained_mean(record)
