"""The claim that training moves the statistics that inference reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List

from bnguard.harness.claims import invariants
from bnguard.harness.claims.base import Claim, no_training, trained_mean
from bnguard.harness.results.closed_form import NOTHING
from bnguard.harness.results.record import Record


@dataclass(frozen=True)
class TrainingMovesWhatInferenceReads(Claim):
    """Training moves the statistics of the layer that inference reads, the first one.

    Defective: no run moves them, while every run moves those of a second layer, that of training,
    by the data that is due.

    Attributes:
      defective: the word for this defect.
    """

    defective: str

    healthy = "read"
    measures = "moving_mean that inference reads (due)"
    concerns = (invariants.training_statistics,)

    def missing(self, record: Record) -> List[str]:
        """Require training."""
        return no_training(record)

    def doubts(self, record: Record) -> List[str]:
        """Doubt the defect unless the first layer stands still and the others follow."""
        doubts = [
            f"{scope} absorbed {layer.absorbed} in training run {number}; the defect makes it "
            f"absorb {wanted}."
            for number, run in enumerate(record.training, 1)
            for scope, layer in run.layers.items()
            for wanted in [NOTHING if scope == record.layer else layer.due]
            if layer.absorbed != wanted
        ]
        if len(record.initial) < 2:
            doubts.append("There is no second layer whose statistics training moves.")
        return doubts

    def figure(self, record: Record) -> str:
        """Return the first layer's moving_mean, and its closed form."""
        return trained_mean(record)
