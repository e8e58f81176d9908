"""The claim that a frozen layer normalizes by its statistics in training, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List

from bnguard.harness.claims import invariants
from bnguard.harness.claims.base import Claim, no_training
from bnguard.harness.results.closed_form import NOTHING
from bnguard.harness.results.record import Record
from bnguard.harness.results.terms import Reads


@dataclass(frozen=True)
class FrozenReadsStatistics(Claim):
    """A layer whose statistics stand still normalizes by them, in training as at inference.

    Defective (`batch`): every training run normalizes rows by their own batch, so what follows
    the layer is trained on other features than it gets at inference. The statistics do not move.
    """

    healthy = "frozen"
    defective = "batch"
    measures = "training runs in which a frozen layer normalized by the batch"
    concerns = (invariants.training_outputs,)

    def missing(self, record: Record) -> List[str]:
        """Require training whose outputs were observed."""
        if record.training and record.training[0].reads is None:
            return ["The case does not expose the layer's outputs in training."]
        return no_training(record)

    def doubts(self, record: Record) -> List[str]:
        """Doubt the defect if a run used the statistics, or had to move them."""
        return [
            f"Training run {number} normalized by {run.reads}, and {layer.due} was due; a frozen "
            "layer in training mode normalizes by its batch, and nothing is due."
            for number, run in enumerate(record.training, 1)
            for layer in [run.layers[record.layer]]
            if (run.reads, layer.due) != (Reads.BATCH, NOTHING)
        ]

    def figure(self, record: Record) -> str:
        """Return the number of runs that show the defect, and of all runs."""
        shown = sum(
            run.reads == Reads.BATCH and run.layers[record.layer].due == NOTHING
            for run in record.training
        )
        return f"{shown} of {len(record.training)}"
