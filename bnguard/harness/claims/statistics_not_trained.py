"""The claim that no optimizer changes running statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List

from bnguard.harness.claims.base import Claim, no_training, trained_mean
from bnguard.harness.results import invariants
from bnguard.harness.results.closed_form import OTHER
from bnguard.harness.results.record import Record


@dataclass(frozen=True)
class StatisticsNotTrained(Claim):
    """Statistics are not trainable, and those of a frozen layer do not move in training.

    Defective (`descend`): both statistics are trainable, and every run moves them down the
    gradient, which no data explains.
    """

    healthy = "untouched"
    defective = "descend"
    measures = "moving_mean after fine-tuning (due)"
    concerns = (invariants.training_statistics,)

    def missing(self, record: Record) -> List[str]:
        """Require training."""
        return no_training(record)

    def doubts(self, record: Record) -> List[str]:
        """Doubt the defect unless both statistics are trainable and data explains no move."""
        scope = record.layer
        doubts = [
            f"{name} is not among the trainable variables."
            for name in (f"{scope}/moving_mean", f"{scope}/moving_variance")
            if name not in record.trainable
        ]
        doubts += [
            f"Training run {number} moved {scope} by the data {run.layers[scope].absorbed}."
            for number, run in enumerate(record.training, 1)
            if run.layers[scope].absorbed != OTHER
        ]
        return doubts

    def figure(self, record: Record) -> str:
        """Return the first layer's moving_mean, and its closed form."""
        return trained_mean(record)
