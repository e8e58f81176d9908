"""The difference between two snapshots, variable by variable."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Optional, Tuple, Union

import numpy as np

from bnguard.errors import BnguardError
from bnguard.layer_plot import draw_layers
from bnguard.runtime.streams import printable
from bnguard.statistics import tables
from bnguard.statistics.running_statistics import RunningStatistics, identical

_HEADINGS = ("variable", "largest change", "largest relative change", "note")


@dataclass(frozen=True)
class Change:
    """The change of one variable that both snapshots contain with the same shape and type.

    Attributes:
      name: of the variable.
      identical: whether the two values are bit-identical.
      absolute: largest |after - before| of an element; infinite if an element differs and is not
        finite on one side.
      relative: largest |after - before| / |before| of an element; infinite if an element that was
        zero changed.
      newly_non_finite: number of elements that were finite before and are not after.
    """

    name: str
    identical: bool
    absolute: float
    relative: float
    newly_non_finite: int


@dataclass(frozen=True)
class Reshaped:
    """A variable with a different shape or type in each snapshot; both are given as text."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, repr=False)
class StatisticsDiff:
    """The difference between two snapshots of running statistics.

    It is true if there is a difference. `print` shows a table; `repr` is one line.

    Attributes:
      before, after: the sources of the two snapshots, in words.
      changes: one entry per variable that both contain with the same shape and type, whether it
        changed or not.
      added, removed: names of the variables that only `after`, or only `before`, contains.
      reshaped: the variables whose shape or type differs.
      tolerance: absolute changes up to this are ignored; with 0, the values must be bit-identical.
      snapshots: the two snapshots, for `plot`.
    """

    before: str
    after: str
    changes: Tuple[Change, ...]
    added: Tuple[str, ...]
    removed: Tuple[str, ...]
    reshaped: Tuple[Reshaped, ...]
    tolerance: float = 0.0
    snapshots: Optional[Tuple[RunningStatistics, RunningStatistics]] = field(
        default=None, compare=False
    )

    @property
    def changed(self) -> Tuple[Change, ...]:
        """Return the changes beyond the tolerance."""
        return tuple(
            change
            for change in self.changes
            if not change.identical and (self.tolerance == 0 or change.absolute > self.tolerance)
        )

    @property
    def newly_non_finite(self) -> Tuple[str, ...]:
        """Return the names of the variables in which a finite element became NaN or infinite."""
        return tuple(change.name for change in self.changes if change.newly_non_finite)

    def __bool__(self) -> bool:
        return bool(self.changed or self.added or self.removed or self.reshaped)

    def __repr__(self) -> str:
        counts = [f"{len(self.changed)} of {len(self.changes)} changed"]
        for name in ("added", "removed", "reshaped"):
            names = getattr(self, name)
            counts += [f"{len(names)} {name}"] if names else []
        return printable(f"StatisticsDiff({self.before} -> {self.after}: {', '.join(counts)})")

    def __str__(self) -> str:
        unchanged = len(self.changes) - len(self.changed)
        same = "bit-identical" if self.tolerance == 0 else f"within {self.tolerance:g}"
        summary = f"{unchanged} of {len(self.changes)} common variables are {same}"
        rows = list(self._rows())
        parts = [f"running statistics: {self.before} -> {self.after}"]
        return "\n".join([*parts, *([tables.table(_HEADINGS, rows)] if rows else []), summary])

    def to_dict(self) -> Dict[str, Any]:
        """Return the JSON form; an infinite change is the string `inf`."""
        return {
            "before": self.before,
            "after": self.after,
            "tolerance": self.tolerance,
            "different": bool(self),
            "changed": [change.name for change in self.changed],
            "changes": [_to_dict(change) for change in self.changes],
            "added": list(self.added),
            "removed": list(self.removed),
            "reshaped": [_to_dict(reshaped) for reshaped in self.reshaped],
            "newly_non_finite": list(self.newly_non_finite),
        }

    def plot(self, path: Optional[str] = None) -> Any:
        """Draw each layer's mean and variance before and after, as RunningStatistics.plot does.

        Args:
          path: the file to write, .png, .svg or .pdf; None for no file.

        Returns:
          The matplotlib.figure.Figure, which a notebook shows.

        Raises:
          BnguardError: Matplotlib is not installed, there is no mean or variance, the file cannot
            be written, or the difference was made without snapshots.
        """
        if self.snapshots is None:
            raise BnguardError(
                f"{self!r} has no snapshots to draw; expected those of bnguard.diff(before, after)."
            )
        before, after = (snapshot.layer_values() for snapshot in self.snapshots)
        titles = f"before: {self.before}", f"after: {self.after}"
        return draw_layers(dict(zip(titles, (before, after))), path)

    def _rows(self) -> Iterator[List[str]]:
        for change in self.changed:
            figures = (change.absolute, change.relative)
            yield [change.name, *map(tables.figure, figures), _note(change)]
        for reshaped in self.reshaped:
            yield [reshaped.name, "", "", f"{reshaped.before} became {reshaped.after}"]
        for name in self.removed:
            yield [name, "", "", "removed"]
        for name in self.added:
            yield [name, "", "", "added"]


def compare(
    before: RunningStatistics, after: RunningStatistics, tolerance: float = 0.0
) -> StatisticsDiff:
    """Return the difference between two snapshots; `tolerance` is that of `StatisticsDiff`."""
    common = [name for name in before if name in after]
    alike = [name for name in common if _type(before[name]) == _type(after[name])]
    return StatisticsDiff(
        before=before.source,
        after=after.source,
        changes=tuple(_change(name, before[name], after[name]) for name in alike),
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        reshaped=tuple(
            Reshaped(name, _type(before[name]), _type(after[name]))
            for name in common
            if name not in alike
        ),
        tolerance=tolerance,
        snapshots=(before, after),
    )


def _type(value: np.ndarray) -> str:
    return f"{value.dtype} {list(value.shape)}"


def _change(name: str, before: np.ndarray, after: np.ndarray) -> Change:
    if identical(before, after):
        return Change(name, True, 0.0, 0.0, 0)
    was, now = (np.atleast_1d(value).astype(np.float64) for value in (before, after))
    with np.errstate(all="ignore"):
        is_same = np.equal(was, now) | (np.isnan(was) & np.isnan(now))
        absolute = np.where(is_same, 0.0, np.abs(now - was))
        relative = np.where(absolute == 0, 0.0, absolute / np.abs(was))
    lost = np.isfinite(was) & ~np.isfinite(now)
    return Change(name, False, _largest(absolute), _largest(relative), int(lost.sum()))


def _note(change: Change) -> str:
    if change.newly_non_finite:
        return f"{change.newly_non_finite} newly not finite"
    return "bits only" if change.absolute == 0 else ""  # -0.0 and 0.0, or two NaNs


def _largest(changes: np.ndarray) -> float:
    return float(np.max(np.where(np.isnan(changes), np.inf, changes)))


def _to_dict(entry: Union[Change, Reshaped]) -> Dict[str, Any]:
    return {key: tables.json_value(value) for key, value in vars(entry).items()}
