"""The claim that a row's answer does not depend on the rows beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List

from bnguard.harness.claims import invariants
from bnguard.harness.claims.base import Claim
from bnguard.harness.results.record import Record
import numpy as np


@dataclass(frozen=True)
class RowsIndependent(Claim):
    """Inference answers a row alone as it does among others.

    Defective (`dependent`): every output is normalized by the statistics of the very rows fed.
    """

    healthy = "independent"
    defective = "dependent"
    measures = "a row's output alone, and among the others: largest difference"
    concerns = (invariants.reads_at_inference,)

    def missing(self, record: Record) -> List[str]:
        """Some session inferred all rows in one step."""
        together = record.passes and record.passes[-1].together
        return [] if together else ["No session inferred the rows together."]

    def doubts(self, record: Record) -> List[str]:
        """Every output follows from its own rows."""
        return [
            f"An output in the {one.session} session was normalized by {step.reads}, not by the "
            "statistics of its own rows."
            for one in record.passes
            for step in (*one.steps, *filter(None, [one.together]))
            if step.reads != "batch"
        ]

    def figure(self, record: Record) -> str:
        """Over all rows and channels of the restored session."""
        last = record.passes[-1]
        assert last.together is not None
        alone = np.concatenate([step.y for step in last.steps])
        return f"{np.abs(last.together.y - alone).max():.2g}"
