"""The properties that cases claim: each judges a record and gives its reasons in words."""

from __future__ import annotations

from bnguard.harness.claims.base import Claim, Verdict
from bnguard.harness.claims.every_run_trains import EveryRunTrains
from bnguard.harness.claims.program_runs import ProgramRuns
from bnguard.harness.claims.rows_independent import RowsIndependent
from bnguard.harness.claims.statistics_follow_data import StatisticsFollowData
from bnguard.harness.claims.statistics_follow_every_run import StatisticsFollowEveryRun
from bnguard.harness.claims.statistics_not_decayed import StatisticsNotDecayed
from bnguard.harness.claims.statistics_not_trained import StatisticsNotTrained
from bnguard.harness.claims.statistics_still_at_inference import StatisticsStillAtInference
from bnguard.harness.claims.statistics_survive_restore import StatisticsSurviveRestore
from bnguard.harness.claims.statistics_updated_once import StatisticsUpdatedOnce
from bnguard.harness.claims.statistics_warm import StatisticsWarm
from bnguard.harness.claims.training_normalizes_as_due import TrainingNormalizesAsDue

__all__ = [
    "Claim",
    "EveryRunTrains",
    "ProgramRuns",
    "RowsIndependent",
    "StatisticsFollowData",
    "StatisticsFollowEveryRun",
    "StatisticsNotDecayed",
    "StatisticsNotTrained",
    "StatisticsStillAtInference",
    "StatisticsSurviveRestore",
    "StatisticsUpdatedOnce",
    "StatisticsWarm",
    "TrainingNormalizesAsDue",
    "Verdict",
]
