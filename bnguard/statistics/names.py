"""What a variable's name says: that it is a running statistic, or belongs to one, and which."""

from __future__ import annotations

import re
from typing import Collection

UNKNOWN = "unknown"
COUNT = "count"  # of updates, or the weight that they have had; at rest once it is large

_STATISTIC = re.compile(
    r"(?:moving|running|renorm)_(?:(?P<mean>mean)|(?P<variance>var(?:iance)?)|(?P<deviation>stddev))"
    r"(?P<count>_weight)?(?:_\d+)?\Z"
)
# Zero debiasing has them in a scope of the statistic's own name, of contrib's layers and TF 1's
# `moving_averages`.
_BELOW_A_STATISTIC = {"biased": "biased", "local_step": COUNT}


def role_of(name: str, statistics: Collection[str] = ()) -> str:
    """What a variable of this name holds, or `unknown`, where it does not belong here.

    * `mean`, `variance`, `deviation`: moving ones, or those of batch renormalization.
    * `biased`: of zero debiasing, a moving average that began at zero.
    * `count`: of zero debiasing, the number of updates; or the weight of renormalization's.

    Args:
      name: the variable's full name.
      statistics: variables that are running statistics whatever their names say.
    """
    parent, _, last = name.rpartition("/")
    if last in _BELOW_A_STATISTIC and _is_statistic(parent, statistics):
        return _BELOW_A_STATISTIC[last]
    match = _STATISTIC.match(last)
    return (match and match.lastgroup) or UNKNOWN


def _is_statistic(name: str, statistics: Collection[str]) -> bool:
    if _STATISTIC.match(name.rpartition("/")[2]):
        return True
    return any(name == one or name.endswith(f"/{one}") for one in statistics)
