"""The running statistics of several sessions or checkpoints together, with pooled variances."""

from __future__ import annotations

from itertools import takewhile
import os
from typing import Any, List, NamedTuple, Optional, Sequence

import numpy as np

from bnguard.errors import BnguardError
from bnguard.statistics.names import AVERAGE, COUNT, mean_beside, role_of
from bnguard.statistics.running_statistics import RunningStatistics
from bnguard.statistics.scopes import Scope
from bnguard.statistics.snapshots import Source, snapshot


def average(
    sources: Sequence[Source],
    weights: Optional[Sequence[float]] = None,
    scope: Optional[Scope] = None,
) -> RunningStatistics:
    """Return the running statistics that describe the data of all sources together.

    Use it for the ranks of one training that saw different data, such as those of Horovod, which
    averages gradients and no statistics; or for several checkpoints of a training.

    With shares p that are the weights divided by their sum, the mean is sum(p * mean). The variance
    is pooled by the law of total variance, sum(p * (variance + (mean of the source - mean) ** 2)):
    the average of the variances alone would lack the distance between the sources. Deviations are
    pooled as variances. The biased averages of zero debiasing follow their statistics. Of counts of
    updates the largest is taken.

    Args:
      sources: sessions, paths of checkpoints or snapshots, as for `snapshot`; at least one. They
        have the same statistics, of the same shapes.
      weights: a number of at least 0 for each source, such as the rows that its rank has seen;
        None for equal ones.
      scope: a variable scope or its name; selects the statistics in it. None selects all.

    Returns:
      A snapshot, in the dtypes of the first source; computed in float64.

    Raises:
      BnguardError: as for `snapshot`; or the sources have different statistics or values that are
        not finite, the mean of a variance is missing, or the weights do not fit.
    """
    if isinstance(sources, (str, os.PathLike)) or not isinstance(sources, Sequence) or not sources:
        raise BnguardError(
            f"average: got {sources!r}; expected a list of sessions, checkpoints or snapshots."
        )
    shares = _shares(weights, len(sources))
    taken = [snapshot(source, scope) for source in sources]
    for other in taken:
        _check(taken[0], other)
    pool = _Pool(taken, shares)
    values = {name: pool.value(name).astype(taken[0][name].dtype) for name in taken[0]}
    names = " and ".join(statistics.source for statistics in taken)
    return RunningStatistics(f"the average of {names}", values, taken[0].roles)


class _Pool(NamedTuple):
    """Snapshots with the same variables, and their shares, which add up to 1."""

    taken: List[RunningStatistics]
    shares: np.ndarray

    def value(self, name: str) -> Any:
        """Return the value of a statistic for all snapshots together, an array of float64."""
        role = self._role(name)
        if role == COUNT:
            return np.max([statistics[name] for statistics in self.taken], axis=0)
        if role == "variance":
            return self._mean(name) + self._between(name)
        if role == "deviation":
            squares = [statistics[name].astype(np.float64) ** 2 for statistics in self.taken]
            return np.sqrt(np.tensordot(self.shares, squares, 1) + self._between(name))
        if role == "biased":
            of = self._debiased(name)
            return self._biased_share(name, of) * self.value(of)
        return self._mean(name)

    def _role(self, name: str) -> str:
        """Return the role of a variable; that of an average is the role of what it averages."""
        role = self.taken[0].roles[name]
        return role_of(name) if role == AVERAGE else role

    def _mean(self, name: str) -> np.ndarray:
        stacked = [statistics[name].astype(np.float64) for statistics in self.taken]
        mean: np.ndarray = np.tensordot(self.shares, stacked, 1)
        return mean

    def _between(self, name: str) -> np.ndarray:
        """Return the variance between the means beside a variance or deviation."""
        beside = self._mean_beside(name)
        squares = [(each[beside] - self._mean(beside)) ** 2 for each in self.taken]
        between: np.ndarray = np.tensordot(self.shares, squares, 1)
        return between

    def _mean_beside(self, name: str) -> str:
        """Return the name of the mean of a variance: as layers name it, or the nearest one."""
        statistics = self.taken[0]
        usual = mean_beside(name)
        if usual != name and usual in statistics:
            return usual
        alike = [
            other
            for other in statistics
            if self._role(other) == "mean" and statistics[other].shape == statistics[name].shape
        ]
        depths = {other: _common_depth(name, other) for other in alike}
        nearest = [other for other in alike if depths[other] == max(depths.values())]
        if len(nearest) != 1:
            raise BnguardError(
                f"{name}: {len(nearest)} means that may belong to this variance; expected one, "
                "because pooling variances needs their means. Select a scope that has both."
            )
        return nearest[0]

    def _debiased(self, name: str) -> str:
        """Return the statistic that a biased average of zero debiasing belongs to."""
        parent = name.rpartition("/")[0]
        found = [of for of in self.taken[0] if parent == of or parent.endswith(f"/{of}")]
        if not found:
            raise BnguardError(f"{name}: {parent} is missing; select a scope that has both.")
        return max(found, key=len)

    def _biased_share(self, name: str, of: str) -> float:
        """Return the average of 1 - decay ** updates."""
        sums = [(np.abs(each[name]).sum(), np.abs(each[of]).sum()) for each in self.taken]
        return float(self.shares @ [part / whole if whole else 1.0 for part, whole in sums])


def _shares(weights: Optional[Sequence[float]], count: int) -> np.ndarray:
    given = np.ones(count) if weights is None else np.asarray(weights, np.float64)
    is_finite = np.isfinite(given).all()
    if given.shape != (count,) or not is_finite or given.min() < 0 or given.max() == 0:
        raise BnguardError(
            f"weights: got {weights!r}; expected {count} numbers of at least 0, one for each "
            "source, and one of them above 0."
        )
    shares: np.ndarray = given / given.sum()
    return shares


def _check(first: RunningStatistics, other: RunningStatistics) -> None:
    different = sorted(set(first) ^ set(other))
    if different:
        absent = other if different[0] in first else first
        raise BnguardError(
            f"average: {absent.source} has no {different[0]}; expected the same statistics in all "
            "sources. Select a scope that all of them have."
        )
    for name, value in other.items():
        if value.shape != first[name].shape:
            raise BnguardError(
                f"average: {name} has the shape {list(value.shape)} in {other.source}, and "
                f"{list(first[name].shape)} in {first.source}; expected equal shapes."
            )
        if not np.all(np.isfinite(value.astype(np.float64))):
            raise BnguardError(
                f"average: {name} of {other.source} has values that are not finite; leave this "
                "source out, or estimate its statistics anew with bnguard.reestimate."
            )


def _common_depth(name: str, other: str) -> int:
    """Return how many scopes two names have in common."""
    pairs = zip(name.split("/"), other.split("/"))
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
