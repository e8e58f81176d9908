"""The claim that a layer normalizes in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List

from bnguard.harness.claims import invariants
from bnguard.harness.claims.base import Claim, no_training
from bnguard.harness.results.closed_form import NOTHING
from bnguard.harness.results.record import Record
from bnguard.harness.results.terms import Reads


@dataclass(frozen=True)
class NormalizesInTraining(Claim):
    """In training the layer normalizes rows by their own batch, and the statistics follow.

    Defective (`inert`): every training run normalizes by the initial statistics, which never
    move: the layer is a constant scale and offset.
    """

    healthy = "normalizes"
    defective = "inert"
    measures = "training runs normalized by their own batch"
    concerns = (invariants.training_statistics, invariants.training_outputs)

    def missing(self, record: Record) -> List[str]:
        """Require training whose outputs were observed."""
        if record.training and record.training[0].reads is None:
            return ["The case does not expose the layer's outputs in training."]
        return no_training(record)

    def doubts(self, record: Record) -> List[str]:
        """Doubt the defect if a run used or absorbed a batch's statistics."""
        doubts = []
        for number, run in enumerate(record.training, 1):
            absorbed = run.layers[record.layer].absorbed
            if (run.reads, absorbed) != (Reads.BEFORE, NOTHING):
                doubts.append(
                    f"Training run {number} normalized by {run.reads} and absorbed {absorbed}; an "
                    "inert layer reads its initial statistics and absorbs nothing."
                )
        return doubts

    def figure(self, record: Record) -> str:
        """Return the number of runs that normalized by their batch, and of all runs."""
        normalized = sum(run.reads == Reads.BATCH for run in record.training)
        return f"{normalized} of {len(record.training)}"
