"""Find out which ops move a model's batch-norm running statistics, and when.

The names below are the public interface. TensorFlow is imported when a name that needs it is first
used, so `import bnguard` is instant and works without TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, List

from bnguard._version import __version__

if TYPE_CHECKING:
    from bnguard.analysis.api import audit
    from bnguard.analysis.errors import AuditError
    from bnguard.analysis.findings import Finding
    from bnguard.analysis.report import Report
    from bnguard.errors import BnguardError
    from bnguard.graphs import import_meta_graph
    from bnguard.guard.errors import StatisticsChanged, StatisticsDidNotMove
    from bnguard.guard.frozen import frozen
    from bnguard.guard.hook import FrozenStatisticsHook
    from bnguard.guard.must_move import must_move
    from bnguard.guard.must_move_hook import MustMoveStatisticsHook
    from bnguard.layers import batch_norm, batch_normalization, create_train_op
    from bnguard.reestimation import Moments, assign_moments, measure_moments, reestimate
    from bnguard.statistics import (
        RunningStatistics,
        StatisticsDiff,
        assign_statistics,
        average,
        diff,
        snapshot,
    )
    from bnguard.statistics.summaries import statistics_summaries

_MODULES = {
    "AuditError": "bnguard.analysis.errors",
    "BnguardError": "bnguard.errors",
    "Finding": "bnguard.analysis.findings",
    "FrozenStatisticsHook": "bnguard.guard.hook",
    "Moments": "bnguard.reestimation",
    "MustMoveStatisticsHook": "bnguard.guard.must_move_hook",
    "Report": "bnguard.analysis.report",
    "RunningStatistics": "bnguard.statistics",
    "StatisticsChanged": "bnguard.guard.errors",
    "StatisticsDidNotMove": "bnguard.guard.errors",
    "StatisticsDiff": "bnguard.statistics",
    "assign_moments": "bnguard.reestimation",
    "assign_statistics": "bnguard.statistics",
    "audit": "bnguard.analysis.api",
    "average": "bnguard.statistics",
    "batch_norm": "bnguard.layers",
    "batch_normalization": "bnguard.layers",
    "create_train_op": "bnguard.layers",
    "diff": "bnguard.statistics",
    "frozen": "bnguard.guard.frozen",
    "import_meta_graph": "bnguard.graphs",
    "measure_moments": "bnguard.reestimation",
    "must_move": "bnguard.guard.must_move",
    "reestimate": "bnguard.reestimation",
    "snapshot": "bnguard.statistics",
    "statistics_summaries": "bnguard.statistics.summaries",
}

__all__ = [
    "AuditError",
    "BnguardError",
    "Finding",
    "FrozenStatisticsHook",
    "Moments",
    "MustMoveStatisticsHook",
    "Report",
    "RunningStatistics",
    "StatisticsChanged",
    "StatisticsDidNotMove",
    "StatisticsDiff",
    "__version__",
    "assign_moments",
    "assign_statistics",
    "audit",
    "average",
    "batch_norm",
    "batch_normalization",
    "create_train_op",
    "diff",
    "frozen",
    "import_meta_graph",
    "measure_moments",
    "must_move",
    "reestimate",
    "snapshot",
    "statistics_summaries",
]


def __getattr__(name: str) -> Any:
    """Import the module that defines `name` when the name is first used (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module 'bnguard' has no attribute {name!r}")
    try:
        module = importlib.import_module(_MODULES[name])
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing not in ("numpy", "tensorflow"):
            raise
        raise ModuleNotFoundError(
            f"bnguard.{name} needs TensorFlow 1.15 to 2.21, and {missing} is not installed here. "
            "Install both with: pip install 'bnguard[tf]'",
            name=error.name,
        ) from error
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> List[str]:
    """Return every public name, imported yet or not."""
    return sorted(__all__)
