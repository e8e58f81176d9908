"""Determine from a variable's name whether it is a running statistic, or belongs to one."""

from __future__ import annotations

import re
from typing import Collection

UNKNOWN = "unknown"
COUNT = "count"  # of updates, or their accumulated weight; it stops changing once it is large

_STATISTIC = re.compile(
    r"(?:moving|running|renorm)_(?:(?P<mean>mean)|(?P<variance>var(?:iance)?)|(?P<deviation>stddev))"
    r"(?P<count>_weight)?(?:_\d+)?\Z"
)
# Zero debiasing, in contrib's layers and in TF 1's `moving_averages`, creates these variables in
# a scope that has the name of the statistic.
_BELOW_A_STATISTIC = {"biased": "biased", "local_step": COUNT}


def role_of(name: str, statistics: Collection[str] = ()) -> str:
    """Return the role of a variable with this name, or `unknown` if it is not a statistic.

    * `mean`, `variance`, `deviation`: a moving average, or one of batch renormalization.
    * `biased`: of zero debiasing, a moving average that started at zero.
    * `count`: of zero debiasing, the number of updates; of batch renormalization, their weight.

    Args:
      name: the variable's full name.
      statistics: names of variables that are running statistics, whatever their names.
    """
    parent, _, last = name.rpartition("/")
    if last in _BELOW_A_STATISTIC and _is_statistic(parent, statistics):
        return _BELOW_A_STATISTIC[last]
    match = _STATISTIC.match(last)
    return (match and match.lastgroup) or UNKNOWN


def _is_statistic(name: str, statistics: Collection[str]) -> bool:
    if _STATISTIC.match(name.rpartition("/")[2]):
        return True
    return any(name == statistic or name.endswith(f"/{statistic}") for statistic in statistics)
