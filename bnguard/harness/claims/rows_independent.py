"""The claim that a row's output does not depend on the other rows of its batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List

import numpy as np

from bnguard.harness.claims.base import Claim
from bnguard.harness.results import invariants
from bnguard.harness.results.record import Record
from bnguard.harness.results.terms import Reads


@dataclass(frozen=True)
class RowsIndependent(Claim):
    """Inference computes the same output for a row alone and for the row in a batch.

    Defective (`dependent`): every output is normalized by the statistics of the fed rows.
    """

    healthy = "independent"
    defective = "dependent"
    measures = "largest difference between a row's output alone and in a batch"
    concerns = (invariants.reads_at_inference,)

    def missing(self, record: Record) -> List[str]:
        """Require a session that inferred all rows in one step."""
        together = record.passes and record.passes[-1].together
        return [] if together else ["No session inferred the rows in one step."]

    def doubts(self, record: Record) -> List[str]:
        """Doubt the defect if an output was not normalized by its own rows."""
        return [
            f"An output in the {inferred.session} session was normalized by {step.reads}, not by "
            "the statistics of its own rows."
            for inferred in record.passes
            for step in (*inferred.steps, *filter(None, [inferred.together]))
            if step.reads != Reads.BATCH
        ]

    def figure(self, record: Record) -> str:
        """Return the largest difference over all rows and channels of the restored session."""
        last = record.passes[-1]
        assert last.together is not None
        alone = np.concatenate([step.y for step in last.steps])
        return f"{np.abs(last.together.y - alone).max():.2g}"
