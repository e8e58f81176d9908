"""The difference between two snapshots, variable by variable."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from bnguard.errors import BnguardError
from bnguard.layer_plot import draw_layers
from bnguard.runtime import tables
from bnguard.runtime.streams import printable
from bnguard.statistics.health import in_parts, numbers, rows_of, type_problem
from bnguard.statistics.running_statistics import RunningStatistics

_HEADINGS = ("variable", "largest change", "largest relative change", "note")


@dataclass(frozen=True)
class Change:
    """The change of one variable that both snapshots contain with the same shape and type.

    Attributes:
      name: of the variable.
      identical: whether the two values are bit-identical.
      absolute: largest |after - before| of an element, exact for integers; infinite if an element
        differs and is not finite on one side.
      relative: largest |after - before| / |before| of an element; infinite if an element that was
        zero changed.
      newly_non_finite: number of elements that were finite before and are not after.
      type_problem: what is wrong about the type of a statistic, in words; empty if nothing is.
    """

    name: str
    identical: bool
    absolute: float
    relative: float
    newly_non_finite: int
    type_problem: str


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
        parts = [printable(f"running statistics: {self.before} -> {self.after}")]
        return "\n".join([*parts, *([self._table()] if self else []), summary])

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

    def _table(self) -> str:
        changed = self.changed
        count = sum(map(len, (changed, self.reshaped, self.removed, self.added)))
        return tables.table(_HEADINGS, self._rows(changed), count)

    def _rows(self, changed: Sequence[Change]) -> Iterator[List[str]]:
        for change in changed:
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
    later = dict(after)
    kinds = {
        name: (_kind(was), _kind(later[name])) for name, was in before.items() if name in later
    }
    alike = {name: was for name, (was, now) in kinds.items() if was == now}
    return StatisticsDiff(
        before=before.source,
        after=after.source,
        changes=tuple(_changes(before, after, alike)),
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        reshaped=tuple(
            Reshaped(name, _type(before[name]), _type(after[name]))
            for name, (was, now) in kinds.items()
            if was != now
        ),
        tolerance=tolerance,
        snapshots=(before, after),
    )


def _kind(value: np.ndarray) -> Tuple[Any, ...]:
    return value.dtype, value.shape


def _type(value: np.ndarray) -> str:
    return f"{value.dtype} {list(value.shape)}"


def _changes(
    before: RunningStatistics, after: RunningStatistics, kinds: Mapping[str, Any]
) -> Iterator[Change]:
    """Yield the changes of variables that have one type and shape on both sides, in their order.

    Those of one type and shape are compared together, because there may be many.

    Args:
      before: the earlier snapshot.
      after: the later one.
      kinds: the type and the shape of each of these variables.
    """
    alike: Dict[Any, List[str]] = defaultdict(list)
    for name, kind in kinds.items():
        alike[kind].append(name)
    found: Dict[str, Change] = {}
    for (_, shape), similar in alike.items():
        for chosen in in_parts(similar, shape):
            was, now = (rows_of(side[name] for name in chosen) for side in (before, after))
            problems = [type_problem(before.roles[name], was.dtype) for name in chosen]
            found.update(zip(chosen, _changes_of_rows(chosen, problems, was, now)))
    return (found[name] for name in kinds)


def _changes_of_rows(
    names: Sequence[str], problems: Sequence[str], before: np.ndarray, after: np.ndarray
) -> Iterator[Change]:
    same = np.ones(len(before), bool)
    if before.size:
        same = (before.view(np.uint8) == after.view(np.uint8)).all(axis=1)
    was, now = numbers(before[~same]), numbers(after[~same])
    lost = (np.isfinite(was) & ~np.isfinite(now)).sum(axis=1).tolist()
    changes = zip(*_largest_changes(was, now), lost) if was.size else iter(())
    for name, problem, is_same in zip(names, problems, same.tolist()):
        if is_same:
            yield Change(name, True, 0.0, 0.0, 0, problem)
        else:
            yield Change(name, False, *next(changes), problem)


def _largest_changes(was: np.ndarray, now: np.ndarray) -> Tuple[List[float], List[float]]:
    """Return the largest absolute and relative change in each row, in the type of the numbers."""
    if was.dtype.kind in "iu":
        # Modulo 2**64, the larger minus the smaller is exact for every type of integer.
        was_bits, now_bits = was.astype(np.uint64), now.astype(np.uint64)
        absolute = np.where(now > was, now_bits - was_bits, was_bits - now_bits)
        size = np.where(was < 0, ~was_bits + np.uint64(1), was_bits)
    else:
        is_same = np.equal(was, now) | (np.isnan(was) & np.isnan(now))
        with np.errstate(all="ignore"):
            absolute = np.where(is_same, 0.0, np.abs(now - was))
            size = np.abs(was)
    with np.errstate(all="ignore"):
        relative = np.where(absolute == 0, 0.0, absolute / size)
    return _largest(absolute), _largest(relative)


def _note(change: Change) -> str:
    notes = [change.type_problem] if change.type_problem else []
    if change.newly_non_finite:
        notes.append(f"{change.newly_non_finite} newly not finite")
    elif change.absolute == 0:
        notes.append("bits only")  # -0.0 and 0.0, or two NaNs
    return ", ".join(notes)


def _largest(changes: np.ndarray) -> List[float]:
    if changes.dtype.kind == "f":
        changes = np.where(np.isnan(changes), np.inf, changes)
    largest: List[float] = changes.max(axis=1).tolist()
    return largest


def _to_dict(entry: Union[Change, Reshaped]) -> Dict[str, Any]:
    return {key: tables.json_value(value) for key, value in vars(entry).items()}
