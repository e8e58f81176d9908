"""The claim that a restored session has the trained statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List

from bnguard.harness.claims.base import Claim, channels, no_restored_session
from bnguard.harness.results import invariants
from bnguard.harness.results.record import Record

_STATISTICS = ("moving_mean", "moving_variance")


@dataclass(frozen=True)
class StatisticsSurviveRestore(Claim):
    """The restored session has every variable as it was saved, and gives the same outputs.

    Defective (`lost`): it has the initial statistics, and everything else as it was saved.
    """

    healthy = "restored"
    defective = "lost"
    measures = "moving_mean restored (saved)"
    concerns = (invariants.restored_values, invariants.restored_answers)

    def missing(self, record: Record) -> List[str]:
        """Require a session that restored a trained one."""
        return no_restored_session(record)

    def doubts(self, record: Record) -> List[str]:
        """Doubt the defect unless exactly the two statistics are lost."""
        trained, restored = record.passes
        saved = invariants.layer_variables(trained, trained.before)
        initial = dict(zip(_STATISTICS, record.initial[trained.layer]))
        doubts = []
        for name, value in invariants.layer_variables(restored, restored.before).items():
            wanted = initial.get(name, saved[name])
            if value.tobytes() != wanted.astype(value.dtype).tobytes():
                doubts.append(
                    f"{restored.layer}/{name} is {value} in the restored session; the defect "
                    f"leaves it at {wanted}."
                )
        return doubts

    def figure(self, record: Record) -> str:
        """Return moving_mean in both sessions."""
        trained, restored = (
            channels(invariants.layer_variables(inferred, inferred.before)["moving_mean"])
            for inferred in record.passes
        )
        return f"{restored} ({trained})"
