"""The claim that a training step updates a layer's statistics once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List

from bnguard.harness.claims.base import Claim, no_training
from bnguard.harness.results import invariants
from bnguard.harness.results.closed_form import JOINED, NOTHING
from bnguard.harness.results.record import Record


@dataclass(frozen=True)
class StatisticsUpdatedOnce(Claim):
    """Every training run moves the statistics by one update, from the data that is due.

    Defective (`twice`): every run in which an update is due runs two of them, from the data of two
    calls of the layer.
    """

    healthy = "once"
    defective = "twice"
    measures = "smallest moving_variance in training (due)"
    concerns = (invariants.training_statistics,)

    def missing(self, record: Record) -> List[str]:
        """Require training."""
        return no_training(record)

    def doubts(self, record: Record) -> List[str]:
        """Doubt the defect unless each layer absorbed the data of two calls where one was due."""
        return [
            f"{scope} absorbed {layer.absorbed} in training run {number}; {layer.due} was due, and "
            "two updates of it absorb the data of two calls."
            for number, run in enumerate(record.training, 1)
            for scope, layer in run.layers.items()
            if len(_updates(layer.absorbed)) != 2 * len(_updates(layer.due))
        ]

    def figure(self, record: Record) -> str:
        """Return the smallest moving_variance of the first layer after any run, and that due."""
        runs = [run.layers[record.layer] for run in record.training]
        now, due = (
            min(float(statistics.variance.min()) for statistics in history)
            for history in ([run.statistics for run in runs], [run.expected for run in runs])
        )
        return f"{now:.3g} ({due:.3g})"


def _updates(data: str) -> List[str]:
    return [] if data == NOTHING else data.split(JOINED)
