"""The claim that running statistics absorb the right data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List

from bnguard.harness.claims.base import Claim, no_training, trained_mean
from bnguard.harness.results import invariants
from bnguard.harness.results.record import Record


@dataclass(frozen=True)
class StatisticsFollowData(Claim):
    """Every training run moves every layer's statistics by exactly the data that is due.

    Defective: every run moves the statistics of some layers, each by the same wrong data.

    Attributes:
      instead: scope of each layer to the data that the defect makes it absorb in every run, as
        `closed_form.which_data` names it.
      defective: the word for this defect.
    """

    instead: Dict[str, str]
    defective: str = "stale"

    healthy = "follow"
    measures = "moving_mean after training (due)"
    concerns = (invariants.training_statistics,)

    def missing(self, record: Record) -> List[str]:
        """Require training."""
        return no_training(record)

    def doubts(self, record: Record) -> List[str]:
        """Doubt the defect if a run absorbed other data than the defect predicts."""
        return [
            f"{scope} absorbed {layer.absorbed} in training run {number}; the defect makes it "
            f"absorb {wanted}."
            for number, run in enumerate(record.training, 1)
            for scope, layer in run.layers.items()
            for wanted in [self.instead.get(scope, layer.due)]
            if layer.absorbed != wanted
        ]

    def figure(self, record: Record) -> str:
        """Return the first layer's moving_mean, and its closed form."""
        return trained_mean(record)
