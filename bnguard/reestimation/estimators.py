"""From moments to the values of running statistics."""

from __future__ import annotations

from typing import Callable, Dict, Iterable, Mapping

import numpy as np

from bnguard.errors import BnguardError
from bnguard.reestimation.moments import ChannelMoments, Moments
from bnguard.reestimation.plan import Target
from bnguard.statistics.names import AVERAGE

ESTIMATORS = ("population", "moving", "last")
"""The names of the estimators."""

Values = Mapping[str, np.ndarray]


def check(estimator: str) -> None:
    """Check the name of an estimator.

    Raises:
      BnguardError: there is none of this name.
    """
    if estimator not in ESTIMATORS:
        raise BnguardError(
            f"estimator: got {estimator!r}; expected one of {', '.join(ESTIMATORS)}."
        )


def estimate(
    targets: Iterable[Target], moments: Moments, estimator: str, before: Values
) -> Dict[str, np.ndarray]:
    """Return the values of statistics, each with the shape and dtype that it has now.

    Args:
      targets: the statistics.
      moments: of all their sites.
      estimator: `population` or `moving`.
      before: the present values of all statistics, by name.

    Raises:
      BnguardError: a layer had no values, its moments are not finite, or it has another number of
        channels than the statistic.
    """
    role_of = _POPULATION if estimator == "population" else _MOVING
    found: Dict[str, np.ndarray] = {}
    targets = list(targets)
    for target in targets:
        if target.sites:
            name = target.statistic.name
            sums = moments.of([site.name for site in target.sites])
            value = role_of[target.role](sums, target.sites[0].epsilon)
            found[name] = _shaped(name, value, sums, before[name])
    for target in targets:
        name = target.statistic.name
        if target.role == "weight":
            found[name] = np.ones_like(before[name])
        elif target.role == AVERAGE and target.of in found:
            found[name] = found[target.of].astype(before[name].dtype)
        elif target.role == "biased" and target.of in found:
            share = _biased_share(before[name], before[target.of])
            found[name] = (found[target.of] * share).astype(before[name].dtype)
    return found


def _biased_share(biased: np.ndarray, debiased: np.ndarray) -> float:
    """Return 1 - decay ** n, by which n updates of zero debiasing divide; 0 before the first."""
    if not biased.any():
        return 0.0
    with np.errstate(all="ignore"):
        shares = biased.astype(np.float64) / debiased
    known = shares[np.isfinite(shares) & (shares > 0) & (shares <= 1)]
    return float(np.median(known)) if known.size else 1.0


_Role = Callable[[ChannelMoments, float], np.ndarray]
_POPULATION: Dict[str, _Role] = {
    "mean": lambda sums, epsilon: sums.mean,
    "variance": lambda sums, epsilon: _variance(sums),
    "deviation": lambda sums, epsilon: np.sqrt(_variance(sums) + epsilon),
}
_MOVING: Dict[str, _Role] = {
    "mean": lambda sums, epsilon: sums.means,
    "variance": lambda sums, epsilon: sums.variances,
    "deviation": lambda sums, epsilon: sums.deviations,
}


def _variance(sums: ChannelMoments) -> np.ndarray:
    has_values = sums.weight > 0
    return np.where(has_values, sums.squares / np.where(has_values, sums.weight, 1), np.nan)


def _shaped(name: str, value: np.ndarray, sums: ChannelMoments, before: np.ndarray) -> np.ndarray:
    if value.size != before.size:
        raise BnguardError(
            f"{name}: its layer has {value.size} channels, and the variable {before.size} "
            "elements; expected as many. Select other statistics with scope."
        )
    if not np.all(sums.weight > 0):
        raise BnguardError(
            f"{name}: the batches have no values for {int(np.sum(sums.weight <= 0))} of "
            f"{value.size} channels; expected at least one batch with values."
        )
    if not np.all(np.isfinite(value)):
        raise BnguardError(
            f"{name}: the estimate is not finite in {int(np.sum(~np.isfinite(value)))} of "
            f"{value.size} channels, so no statistic was changed; expected finite inputs. Check "
            "the data for NaN, and the weights of the layers before it."
        )
    shaped: np.ndarray = value.reshape(before.shape).astype(before.dtype)
    return shaped
