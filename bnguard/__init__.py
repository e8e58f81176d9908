"""Who moves your batch-norm running statistics, and when.

The names below are the public interface. TensorFlow is imported when a name that needs
it is first used, so ``import bnguard`` is instant and works without TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import Any

from bnguard._version import __version__

_HOME = {
    "FrozenStatisticsHook": "bnguard.guard.hook",
    "RunningStatistics": "bnguard.statistics",
    "StatisticsChanged": "bnguard.guard.errors",
    "StatisticsDidNotMove": "bnguard.guard.errors",
    "StatisticsDiff": "bnguard.statistics",
    "audit": "bnguard.analysis.api",
    "batch_norm": "bnguard.layers",
    "batch_normalization": "bnguard.layers",
    "create_train_op": "bnguard.layers",
    "diff": "bnguard.statistics",
    "frozen": "bnguard.guard.frozen",
    "must_move": "bnguard.guard.must_move",
    "snapshot": "bnguard.statistics",
    "statistics_summaries": "bnguard.statistics",
}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    """Import the module that defines `name` on first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'bnguard' has no attribute {name!r}")
    try:
        module = importlib.import_module(_HOME[name])
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "tensorflow":
            raise
        raise ModuleNotFoundError(
            f"bnguard.{name} needs TensorFlow 1.15 to 2.21, which is not installed here. "
            "Install it with: pip install tensorflow",
            name=error.name,
        ) from error
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list:
    """Every public name, imported yet or not."""
    return sorted(__all__)
