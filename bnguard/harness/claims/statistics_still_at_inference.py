"""The claim that inference changes no variable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List

from bnguard.harness.claims import invariants
from bnguard.harness.claims.base import Claim
from bnguard.harness.results.record import InferencePass, Record
import numpy as np


@dataclass(frozen=True)
class StatisticsStillAtInference(Claim):
    """Inference leaves every variable bit-identical; its output depends on nothing else.

    Defective (`drift`): in every pass moving_mean and moving_variance, and nothing else,
    move as training on the inference rows would move them.
    """

    healthy = "still"
    defective = "drift"
    measures = "moving_mean moved by, at inference"
    concerns = (
        invariants.moves_at_inference,
        invariants.reads_at_inference,
        invariants.restored_answers,
    )

    def missing(self, record: Record) -> List[str]:
        """There is at least one pass."""
        return [] if record.passes else ["Nothing was inferred."]

    def doubts(self, record: Record) -> List[str]:
        """Every pass follows the recurrence over its rows, and nothing is wrong before it."""
        moved = [one for one in record.passes if any(one.drift.values())]
        doubts = [doubt for one in moved for doubt in _not_the_recurrence(one)]
        if not moved:
            doubts.append("No variable moved at inference.")
        elif len(moved) < len(record.passes):
            doubts.append("Statistics moved in one session and stood still in the other.")
        return doubts

    def figure(self, record: Record) -> str:
        """The largest change of any channel in the last session."""
        last = record.passes[-1]
        return f"{last.drift[f'{last.layer}/moving_mean']:.3g}"


def _not_the_recurrence(one: InferencePass) -> List[str]:
    doubts = []
    for name, change in one.drift.items():
        if change and name not in one.expected:
            doubts.append(f"{name} moved in the {one.session} session; only statistics should.")
    for name, expected in one.expected.items():
        if not np.allclose(one.after[name], expected, rtol=1e-5, atol=1e-5):
            doubts.append(
                f"{name} is {one.after[name]} after the {one.session} session's inference; the "
                f"recurrence over its rows gives {expected}."
            )
    if any(step.reads == "other" for step in one.steps):
        doubts.append("An output fits the statistics of neither before nor after its step.")
    return doubts
