"""Running statistics of a session or a checkpoint: snapshots, differences, averages, health."""

from __future__ import annotations

from bnguard.statistics.averaging import average
from bnguard.statistics.difference import StatisticsDiff
from bnguard.statistics.running_statistics import RunningStatistics
from bnguard.statistics.snapshots import assign_statistics, diff, snapshot
from bnguard.statistics.summaries import statistics_summaries

__all__ = [
    "RunningStatistics",
    "StatisticsDiff",
    "assign_statistics",
    "average",
    "diff",
    "snapshot",
    "statistics_summaries",
]
