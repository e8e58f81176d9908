"""Running statistics of a session or a checkpoint: snapshots, differences, averages, health.

The names below need NumPy alone until a session is given.
"""

from __future__ import annotations

from bnguard.statistics.averaging import average
from bnguard.statistics.difference import StatisticsDiff
from bnguard.statistics.running_statistics import RunningStatistics
from bnguard.statistics.snapshots import assign_statistics, diff, snapshot

__all__ = [
    "RunningStatistics",
    "StatisticsDiff",
    "assign_statistics",
    "average",
    "diff",
    "snapshot",
]
