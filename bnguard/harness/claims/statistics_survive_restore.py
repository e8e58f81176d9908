"""The claim that a checkpoint carries the statistics to the program that restores it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List

from bnguard.harness.claims import invariants
from bnguard.harness.claims.base import Claim, channels, no_restored_session
from bnguard.harness.results.record import Record

_STATISTICS = ("moving_mean", "moving_variance")


@dataclass(frozen=True)
class StatisticsSurviveRestore(Claim):
    """The restored session holds every variable as it was saved, and answers the same.

    Defective (`lost`): it holds the initial statistics, and everything else as it was saved.
    """

    healthy = "restored"
    defective = "lost"
    measures = "moving_mean restored (saved)"
    concerns = (invariants.restored_values, invariants.restored_answers)

    def missing(self, record: Record) -> List[str]:
        """A session restored what another had trained."""
        return no_restored_session(record)

    def doubts(self, record: Record) -> List[str]:
        """Lost are both statistics, and these alone."""
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
        """Every channel in both sessions."""
        trained, restored = (
            channels(invariants.layer_variables(one, one.before)["moving_mean"])
            for one in record.passes
        )
        return f"{restored} ({trained})"
