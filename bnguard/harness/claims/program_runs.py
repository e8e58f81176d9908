"""The claim that a program runs at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Tuple

from bnguard.harness.claims import invariants
from bnguard.harness.claims.base import Claim
from bnguard.harness.results.record import Record


@dataclass(frozen=True)
class ProgramRuns(Claim):
    """No phase ends in an error.

    Defective (`fails`): TensorFlow raises an error in one phase, and says why.

    Attributes:
      says: parts of its message, one of which it has.
      fails_in: the phase, one of `Failure.phase`.
    """

    says: Tuple[str, ...]
    fails_in: str = "train"

    healthy = "runs"
    defective = "fails"
    measures = "what TensorFlow says"
    concerns = (invariants.failure,)

    def missing(self, record: Record) -> List[str]:
        """The program ran to its end, or to its error."""
        ended = record.failure or len(record.passes) > 1
        return [] if ended else ["Not every phase of the program ran."]

    def doubts(self, record: Record) -> List[str]:
        """The error is the one that the defect raises."""
        if record.failure and any(part in record.failure.message for part in self.says):
            return []
        return [f"The defect makes TensorFlow say {' or '.join(self.says)}."]

    def figure(self, record: Record) -> str:
        """The kind of error."""
        return record.failure.error if record.failure else "no error"
