"""The claim that every run of the train op trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List

from bnguard.harness.claims.base import Claim, no_training
from bnguard.harness.results import invariants
from bnguard.harness.results.record import Record


@dataclass(frozen=True)
class EveryRunTrains(Claim):
    """Every run of the train op changes weights and counts a step.

    Defective (`skipped`): the runs that have no statistics to update change no variable at all,
    without an error, while the others train.
    """

    healthy = "trains"
    defective = "skipped"
    measures = "training runs that changed no variable"
    concerns = (invariants.idle_training,)

    def missing(self, record: Record) -> List[str]:
        """Require training."""
        return no_training(record)

    def doubts(self, record: Record) -> List[str]:
        """Doubt the defect unless exactly the runs with nothing due are idle."""
        doubts = []
        for number, run in enumerate(record.training, 1):
            due = any(layer.due != "nothing" for layer in run.layers.values())
            if bool(run.moved) != due:
                doubts.append(
                    f"Training run {number}, in which statistics {'' if due else 'do not '}have to "
                    f"move, changed {', '.join(run.moved) or 'nothing'}."
                )
        return doubts

    def figure(self, record: Record) -> str:
        """Return the number of idle runs, and of all runs."""
        return f"{sum(not run.moved for run in record.training)} of {len(record.training)}"
