"""The claim that statistics absorb the batch of every run of a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List

from bnguard.harness.claims.base import Claim, no_training, trained_mean
from bnguard.harness.results import invariants
from bnguard.harness.results.closed_form import NOTHING
from bnguard.harness.results.record import Record


@dataclass(frozen=True)
class StatisticsFollowEveryRun(Claim):
    """Every run that is fed a micro-batch moves the statistics by it.

    Defective (`last only`): none of them does. The run that applies their gradients, in which
    nothing is due, moves the statistics by the micro-batch of the run before it.
    """

    healthy = "every run"
    defective = "last only"
    measures = "moving_mean after training (due)"
    concerns = (invariants.training_statistics,)

    def missing(self, record: Record) -> List[str]:
        """Require training."""
        return no_training(record)

    def doubts(self, record: Record) -> List[str]:
        """Doubt the defect unless exactly the runs in which nothing is due absorb a batch."""
        doubts = []
        last = NOTHING
        for number, run in enumerate(record.training, 1):
            layer = run.layers[record.layer]
            wanted = last if layer.due == NOTHING else NOTHING
            if layer.absorbed != wanted:
                doubts.append(
                    f"{record.layer} absorbed {layer.absorbed} in training run {number}; the "
                    f"defect makes it absorb {wanted}."
                )
            last = layer.due
        if all(run.layers[record.layer].due != NOTHING for run in record.training):
            doubts.append("No run applies the gradients of the runs before it.")
        return doubts

    def figure(self, record: Record) -> str:
        """Return the first layer's moving_mean, and its closed form."""
        return trained_mean(record)
