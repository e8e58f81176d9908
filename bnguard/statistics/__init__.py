"""Running statistics of a session or a checkpoint: snapshots, differences, health, summaries.

The names below need NumPy alone until a session is given.
"""

from __future__ import annotations

from bnguard.statistics.difference import StatisticsDiff
from bnguard.statistics.running_statistics import RunningStatistics
from bnguard.statistics.snapshots import diff, snapshot

__all__ = ["RunningStatistics", "StatisticsDiff", "diff", "snapshot"]
