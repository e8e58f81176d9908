"""The claim that training normalizes a layer by the statistics that are due."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List

from bnguard.harness.claims.base import Claim, no_training
from bnguard.harness.results import invariants
from bnguard.harness.results.closed_form import NOTHING
from bnguard.harness.results.record import Record, TrainingRun
from bnguard.harness.results.terms import Reads


@dataclass(frozen=True)
class TrainingNormalizesAsDue(Claim):
    """In training a layer normalizes rows by their batch; a frozen one, by its statistics.

    Defective: every training run normalizes by the other of the two, and the statistics stand
    still.

    Attributes:
      instead: what the defect makes every training run normalize by.
      defective: the word for this defect.
    """

    instead: Reads
    defective: str

    healthy = "as due"
    measures = "training runs that normalized by other statistics than was due"
    concerns = (invariants.training_statistics, invariants.training_outputs)

    def missing(self, record: Record) -> List[str]:
        """Require training whose outputs were observed."""
        if record.training and record.training[0].reads is None:
            return ["The case does not expose the layer's outputs in training."]
        return no_training(record)

    def doubts(self, record: Record) -> List[str]:
        """Doubt the defect if a run used other statistics than it predicts, or moved them."""
        return [
            f"Training run {number} normalized by {run.reads} and absorbed {layer.absorbed}, and "
            f"{layer.due} was due; the defect makes it normalize by {self.instead}, wrongly, and "
            "absorb nothing."
            for number, run in enumerate(record.training, 1)
            for layer in [run.layers[record.layer]]
            if not self._is_shown_by(run, record) or layer.absorbed != NOTHING
        ]

    def figure(self, record: Record) -> str:
        """Return the number of runs that show the defect, and of all runs."""
        shown = sum(self._is_shown_by(run, record) for run in record.training)
        return f"{shown} of {len(record.training)}"

    def _is_shown_by(self, run: TrainingRun, record: Record) -> bool:
        due = invariants.due_reads(run.layers[record.layer].due)
        return run.reads == self.instead != due
