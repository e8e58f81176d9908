"""The claim that no optimizer touches running statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List

from bnguard.harness.claims import invariants
from bnguard.harness.claims.base import Claim, no_training, trained_mean
from bnguard.harness.results.record import Record


@dataclass(frozen=True)
class StatisticsNotTrained(Claim):
    """Statistics are no trainable variables; those of a frozen layer stand still in training.

    Defective (`descend`): both are trainable, and every run moves them in a way that no data
    explains: down the gradient.
    """

    healthy = "untouched"
    defective = "descend"
    measures = "moving_mean after fine-tuning (due)"
    concerns = (invariants.training_statistics,)

    def missing(self, record: Record) -> List[str]:
        """Training happened."""
        return no_training(record)

    def doubts(self, record: Record) -> List[str]:
        """Both statistics are trainable and move by no data."""
        scope = record.layer
        doubts = [
            f"{name} is not among the trainable variables."
            for name in (f"{scope}/moving_mean", f"{scope}/moving_variance")
            if name not in record.trainable
        ]
        doubts += [
            f"Training run {number} moved {scope} as {run.layers[scope].absorbed} does."
            for number, run in enumerate(record.training, 1)
            if run.layers[scope].absorbed != "other"
        ]
        return doubts

    def figure(self, record: Record) -> str:
        """Every channel of the first layer, and its closed form."""
        return trained_mean(record)
