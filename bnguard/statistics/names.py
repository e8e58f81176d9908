"""Determine from a variable's name whether it is a running statistic, or belongs to one."""

from __future__ import annotations

import re
from typing import Collection

UNKNOWN = "unknown"
AVERAGE = "average"  # of a statistic: it moves only where a program averages its variables
COUNT = "count"  # of updates, or their accumulated weight; it stops changing once it is large

_STATISTIC = re.compile(
    r"(?:moving|running|renorm)_(?:(?P<mean>mean)|(?P<variance>var(?:iance)?)|(?P<deviation>stddev))"
    r"(?P<count>_weight)?(?:_\d+)?\Z"
)
_SPREAD = re.compile(r"\b(moving|running|renorm)_(?:var(?:iance)?|stddev)(?=/|_\d|\Z)")
# What tf.train.ExponentialMovingAverage calls the average of a variable or a tensor.
_AVERAGE = re.compile(r"(?P<of>.+)/ExponentialMovingAverage(?P<second>_1)?(?:_\d+)?\Z")
# The moments of a batch, as tf.nn.moments, the fused op and programs call them.
_MOMENT = re.compile(
    r"""(?:.*/)?(?:
      moments(?:_\d+)?/(?:normalize/)?(?:(?P<mean>mean|Squeeze)|(?P<variance>variance|Squeeze_1))
    | batch_(?:(?P<batch_mean>mean)|(?P<batch_variance>var(?:iance)?))(?:_\d+)?
    | (?P<fused>FusedBatchNorm(?:V\d)?(?:_\d+)?)
    )\Z""",
    re.VERBOSE,
)
_DEEPEST = 64  # nested scopes of a variable: more than any program has
# Zero debiasing, in contrib's layers and in TF 1's `moving_averages`, creates these variables in
# a scope that has the name of the statistic.
_BELOW_A_STATISTIC = {"biased": "biased", "local_step": COUNT}


def role_of(name: str, statistics: Collection[str] = ()) -> str:
    """Return the role of a variable with this name, or `unknown` if it is not a statistic.

    * `mean`, `variance`, `deviation`: a moving average, or one of batch renormalization; or what
      tf.train.ExponentialMovingAverage makes of the moments of a batch, or of another statistic.
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
    return (match and match.lastgroup) or _role_of_average(name)


def mean_beside(name: str) -> str:
    """Return the name of the mean beside a variance or deviation, as layers name them."""
    return _SPREAD.sub(r"\1_mean", name)


def is_average(name: str) -> bool:
    """Return whether a variable has the name of the average of another, or of a tensor."""
    return _AVERAGE.match(name) is not None


def _role_of_average(name: str) -> str:
    average = _AVERAGE.match(name)
    if average is None:
        return UNKNOWN
    moment = _MOMENT.match(average.group("of"))
    if moment is None:
        match = _STATISTIC.match(average.group("of").rpartition("/")[2])
        return (match and match.lastgroup) or UNKNOWN
    if moment.group("fused"):
        return "variance" if average.group("second") else "mean"
    return "mean" if moment.group("mean") or moment.group("batch_mean") else "variance"


def _is_statistic(name: str, statistics: Collection[str]) -> bool:
    if _STATISTIC.match(name.rpartition("/")[2]) or _role_of_average(name) != UNKNOWN:
        return True
    parts = name.split("/")[-_DEEPEST:]
    return any("/".join(parts[first:]) in statistics for first in range(len(parts)))
