"""Running statistics of a session or a checkpoint: snapshots, differences, health, summaries."""

from __future__ import annotations

from bnguard.statistics.difference import StatisticsDiff
from bnguard.statistics.running_statistics import RunningStatistics
from bnguard.statistics.snapshots import diff, snapshot
from bnguard.statistics.summaries import statistics_summaries

__all__ = ["RunningStatistics", "StatisticsDiff", "diff", "snapshot", "statistics_summaries"]
