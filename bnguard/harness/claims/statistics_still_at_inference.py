"""The claim that inference changes no variable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List

import numpy as np

from bnguard.harness.claims.base import Claim
from bnguard.harness.results import invariants
from bnguard.harness.results.record import InferencePass, Record
from bnguard.harness.results.terms import Reads


@dataclass(frozen=True)
class StatisticsStillAtInference(Claim):
    """Inference leaves every variable bit-identical, and its output depends on nothing else.

    Defective (`drift`): in every pass moving_mean and moving_variance move as training on the
    inference rows would move them, and nothing else moves.
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
        """Require inference."""
        return [] if record.passes else ["Nothing was inferred."]

    def doubts(self, record: Record) -> List[str]:
        """Doubt the defect unless every pass follows the recurrence over its rows."""
        moved = [inferred for inferred in record.passes if any(inferred.drift.values())]
        doubts = [doubt for inferred in moved for doubt in _not_the_recurrence(inferred)]
        if not moved:
            doubts.append("No variable moved at inference.")
        elif len(moved) < len(record.passes):
            doubts.append("Statistics moved in one session and not in the other.")
        return doubts

    def figure(self, record: Record) -> str:
        """Return the largest change of any channel of moving_mean in the last session."""
        last = record.passes[-1]
        return f"{last.drift[f'{last.layer}/moving_mean']:.3g}"


def _not_the_recurrence(inferred: InferencePass) -> List[str]:
    doubts = []
    for name, change in inferred.drift.items():
        if change and name not in inferred.expected:
            doubts.append(
                f"{name} moved in the {inferred.session} session; only statistics should move."
            )
    for name, expected in inferred.expected.items():
        after = inferred.after[name]
        if not np.allclose(after, expected, rtol=1e-5, atol=1e-5):
            doubts.append(
                f"{name} is {after} after the {inferred.session} session's inference; the "
                f"recurrence over its rows gives {expected}."
            )
    if any(step.reads == Reads.OTHER for step in inferred.steps):
        doubts.append("An output fits the statistics neither before nor after its step.")
    return doubts
