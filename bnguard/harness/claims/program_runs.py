"""The claim that a case runs without an error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Tuple

from bnguard.harness.claims.base import Claim
from bnguard.harness.results import invariants
from bnguard.harness.results.record import Record
from bnguard.harness.results.terms import Phase


@dataclass(frozen=True)
class ProgramRuns(Claim):
    """No phase ends in an error.

    Defective (`fails`): TensorFlow raises an error in one phase.

    Attributes:
      says: parts of the message; the message contains at least one.
      fails_in: the phase that raises the error.
    """

    says: Tuple[str, ...]
    fails_in: Phase = Phase.TRAIN

    healthy = "runs"
    defective = "fails"
    measures = "TensorFlow's error"
    concerns = (invariants.failure,)

    def missing(self, record: Record) -> List[str]:
        """Require a run to the end, or to an error."""
        ended = record.failure or len(record.passes) > 1
        return [] if ended else ["Not every phase ran."]

    def doubts(self, record: Record) -> List[str]:
        """Doubt the defect if the error is a different one."""
        if record.failure and any(part in record.failure.message for part in self.says):
            return []
        return [f"The defect's error message contains {' or '.join(self.says)}."]

    def figure(self, record: Record) -> str:
        """Return the name of the error's class."""
        return record.failure.error if record.failure else "no error"
