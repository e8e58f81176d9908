"""A snapshot of running statistics: values by variable name."""

from __future__ import annotations

import re
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from bnguard.analysis.checkpoints.entries import shown
from bnguard.errors import BnguardError
from bnguard.layer_plot import Values, draw_layers
from bnguard.runtime import tables
from bnguard.runtime.streams import printable
from bnguard.statistics.health import Health, examine_all
from bnguard.statistics.names import mean_beside, role_of

_ALIKE = 4  # variables with equal figures and problems, from which on they share a row
_DRAWN = ("mean", "variance", "deviation")
_USUAL = re.compile(r"(.+)/moving_mean\Z")  # then the scope tells enough
_HEADINGS = ("variable", "shape", "smallest", "average", "largest", "health")


class RunningStatistics(Mapping[str, np.ndarray]):
    """The running statistics of a session or a checkpoint at one moment.

    A mapping from variable name to a read-only array, sorted by name. Names have no `:0`; a
    partitioned variable appears joined, under its full name. Two snapshots are equal if they
    contain the same names and bit-identical values. `print` shows a table with one row per
    variable, or for many that have the same problem; `repr` is one line.

    Args:
      source: where the values come from, in words.
      values: by variable name. They are copied, because a fetched ref variable may share memory
        with the variable.
      roles: by variable name, as in `role_of`; a missing role is determined from the name.
      coldness: by variable name, in words, of each variable that is mostly its initial value.

    Raises:
      BnguardError: a value is text.
    """

    def __init__(
        self,
        source: str,
        values: Mapping[str, Any],
        roles: Optional[Mapping[str, str]] = None,
        coldness: Optional[Mapping[str, str]] = None,
    ) -> None:
        self.source = source
        self.coldness = dict(coldness or {})
        self.roles = {name: (roles or {}).get(name) or role_of(name) for name in sorted(values)}
        self._health: Optional[List[Health]] = None  # examined on demand
        self._values = {name: _read_only(name, values[name]) for name in self.roles}

    def __getitem__(self, name: str) -> np.ndarray:
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RunningStatistics):
            return NotImplemented
        return list(self) == list(other) and all(identical(self[n], other[n]) for n in self)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> Tuple[type, Tuple[Any, ...]]:
        return RunningStatistics, (self.source, self._values, self.roles, self.coldness)

    def __repr__(self) -> str:
        return printable(f"RunningStatistics({self.source}, {len(self)} variables)")

    def __str__(self) -> str:
        title = printable(f"running statistics of {self.source}")
        groups = _alike(self.health())
        return f"{title}\n{tables.table(_HEADINGS, map(_row, groups), len(groups))}"

    def health(self) -> List[Health]:
        """Return the health of each variable, sorted by name."""
        if self._health is None:
            means = {name: self._values.get(mean_beside(name)) for name in self}
            beside = {name: mean for name, mean in means.items() if mean is not None}
            self._health = examine_all(self._values, self.roles, self.coldness, beside)
        return list(self._health)

    def to_dict(self) -> Dict[str, Any]:
        """Return the JSON form: the source, and the health of each variable."""
        return {"source": self.source, "variables": [health.to_dict() for health in self.health()]}

    def plot(self, path: Optional[str] = None) -> Any:
        """Draw the smallest, average and largest channel of each layer's mean and variance.

        Variances, and deviations, are on a logarithmic axis.

        Args:
          path: the file to write, .png, .svg or .pdf; None for no file.

        Returns:
          The matplotlib.figure.Figure, which a notebook shows.

        Raises:
          BnguardError: Matplotlib is not installed, there is no mean or variance, or the file
            cannot be written.
        """
        return draw_layers({self.source: self.layer_values()}, path)

    def layer_values(self) -> List[Values]:
        """Return the means, variances and deviations, for plots."""
        return [
            Values(_layer(name, self.roles[name]), self.roles[name], value)
            for name, value in self.items()
            if self.roles[name] in _DRAWN
        ]


def _row(alike: Sequence[Health]) -> List[str]:
    """Return the row of variables with equal figures and problems."""
    health, others = alike[0], len(alike) - 1
    name = f"{health.name} and {others} more" if others else health.name
    shape = str(list(health.shape)) if len({each.shape for each in alike}) == 1 else ""
    figures = (health.smallest, health.average, health.largest)
    return [name, shape, *map(tables.figure, figures), ", ".join(health.problems) or "ok"]


def _layer(name: str, role: str) -> str:
    """Return what the mean and the variance of one layer have in common: the name of the mean."""
    mean = name if role == "mean" else mean_beside(name)
    return _USUAL.sub(r"\1", mean)


def identical(before: np.ndarray, after: np.ndarray) -> bool:
    """Return whether two arrays have the same type, shape and bits; a NaN can equal itself."""
    is_alike = before.shape == after.shape and before.dtype == after.dtype
    return is_alike and before.tobytes() == after.tobytes()


def _alike(variables: Sequence[Health]) -> List[List[Health]]:
    """Return the variables in groups with equal figures and problems, or one in each group."""
    groups: Dict[Any, List[Health]] = {}
    for health in variables:
        figures = (health.role, health.smallest, health.average, health.largest, health.problems)
        groups.setdefault(figures if health.problems else health.name, []).append(health)
    found: List[List[Health]] = []
    for group in groups.values():
        found += [group] if len(group) >= _ALIKE else [[health] for health in group]
    return sorted(found, key=lambda group: group[0].name)


def _read_only(name: str, value: Any) -> np.ndarray:
    copy = np.array(value)
    if copy.dtype.kind in "OSU":
        raise BnguardError(
            f"{shown(name)}: contains text; expected numbers, because the variable has the name of "
            "a running statistic. Select a different scope, or rename the variable."
        )
    copy.setflags(write=False)
    return copy
