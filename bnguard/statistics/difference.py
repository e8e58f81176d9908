"""The difference of two snapshots, variable by variable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Tuple

import numpy as np

from bnguard.statistics import tables
from bnguard.statistics.running_statistics import RunningStatistics, identical

_HEADINGS = ("variable", "largest change", "largest relative change", "note")


@dataclass(frozen=True)
class Change:
    """How one variable that both snapshots hold, in one shape, differs between them.

    Attributes:
      name: of the variable.
      identical: whether both hold the same bits.
      absolute: largest |after - before|; infinite where either is not finite and they differ.
      relative: largest |after - before| / |before| of an element; infinite from a zero.
      newly_non_finite: how many elements were finite before, and are not after.
    """

    name: str
    identical: bool
    absolute: float
    relative: float
    newly_non_finite: int


@dataclass(frozen=True)
class Reshaped:
    """A variable whose shape or type differs: `before` and `after` say both, as text."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class StatisticsDiff:
    """How the running statistics `after` differ from those `before`. `print` shows a table.

    Attributes:
      before, after: where the two snapshots come from, in words.
      changes: one for each variable that both hold in the same shape and type, moved or not.
      added, removed: names that only `after`, or only `before`, holds.
      reshaped: variables that they hold in different shapes or types.
      tolerance: an absolute change of at most this counts as none; at 0 the bits must agree.
    """

    before: str
    after: str
    changes: Tuple[Change, ...]
    added: Tuple[str, ...]
    removed: Tuple[str, ...]
    reshaped: Tuple[Reshaped, ...]
    tolerance: float = 0.0

    @property
    def changed(self) -> Tuple[Change, ...]:
        """The changes beyond the tolerance."""
        return tuple(
            one
            for one in self.changes
            if not one.identical and (self.tolerance == 0 or one.absolute > self.tolerance)
        )

    @property
    def newly_non_finite(self) -> Tuple[str, ...]:
        """Names of the variables in which a finite element became NaN or infinite."""
        return tuple(one.name for one in self.changes if one.newly_non_finite)

    def __bool__(self) -> bool:
        """Whether there is any difference."""
        return bool(self.changed or self.added or self.removed or self.reshaped)

    def __str__(self) -> str:
        still = len(self.changes) - len(self.changed)
        same = "bit-identical" if self.tolerance == 0 else f"within {self.tolerance:g}"
        summary = f"{still} of {len(self.changes)} variables that both hold are {same}"
        rows = list(self._rows())
        parts = [f"running statistics: {self.before} -> {self.after}"]
        return "\n".join([*parts, *([tables.table(_HEADINGS, rows)] if rows else []), summary])

    def as_json(self) -> Dict[str, Any]:
        """As a JSON object; an infinite change is the string `inf`."""
        return {
            "before": self.before,
            "after": self.after,
            "tolerance": self.tolerance,
            "different": bool(self),
            "changed": [one.name for one in self.changed],
            "changes": [_plain(one) for one in self.changes],
            "added": list(self.added),
            "removed": list(self.removed),
            "reshaped": [_plain(one) for one in self.reshaped],
            "newly_non_finite": list(self.newly_non_finite),
        }

    def _rows(self) -> Iterator[List[str]]:
        for one in self.changed:
            yield [one.name, tables.figure(one.absolute), tables.figure(one.relative), _note(one)]
        for other in self.reshaped:
            yield [other.name, "", "", f"{other.before} became {other.after}"]
        for name in self.removed:
            yield [name, "", "", "removed"]
        for name in self.added:
            yield [name, "", "", "added"]


def compare(
    before: RunningStatistics, after: RunningStatistics, tolerance: float = 0.0
) -> StatisticsDiff:
    """The difference of two snapshots; `tolerance` as `StatisticsDiff` has it."""
    both = [name for name in before if name in after]
    alike = [name for name in both if _form(before[name]) == _form(after[name])]
    return StatisticsDiff(
        before=before.source,
        after=after.source,
        changes=tuple(_change(name, before[name], after[name]) for name in alike),
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        reshaped=tuple(
            Reshaped(name, _form(before[name]), _form(after[name]))
            for name in both
            if name not in alike
        ),
        tolerance=tolerance,
    )


def _form(value: np.ndarray) -> str:
    return f"{value.dtype} {list(value.shape)}"


def _change(name: str, before: np.ndarray, after: np.ndarray) -> Change:
    if identical(before, after):
        return Change(name, True, 0.0, 0.0, 0)
    was, now = (np.atleast_1d(value).astype(np.float64) for value in (before, after))
    with np.errstate(all="ignore"):
        absolute = np.where(_same(was, now), 0.0, np.abs(now - was))
        relative = np.where(absolute == 0, 0.0, absolute / np.abs(was))
    lost = np.isfinite(was) & ~np.isfinite(now)
    return Change(name, False, _largest(absolute), _largest(relative), int(lost.sum()))


def _note(one: Change) -> str:
    if one.newly_non_finite:
        return f"{one.newly_non_finite} newly not finite"
    return "bits only" if one.absolute == 0 else ""  # -0.0 and 0.0, or two kinds of NaN


def _same(was: np.ndarray, now: np.ndarray) -> np.ndarray:
    return (was == now) | (np.isnan(was) & np.isnan(now))


def _largest(changes: np.ndarray) -> float:
    return float(np.max(np.where(np.isnan(changes), np.inf, changes)))


def _plain(one: Any) -> Dict[str, Any]:
    return {key: tables.plain(value) for key, value in vars(one).items()}
