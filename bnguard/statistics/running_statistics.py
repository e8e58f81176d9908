"""Running statistics as values: what a snapshot holds."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

import numpy as np

from bnguard.errors import BnguardError
from bnguard.statistics import tables
from bnguard.statistics.health import Health, examine
from bnguard.statistics.names import role_of

_HEADINGS = ("variable", "shape", "smallest", "average", "largest", "health")


class RunningStatistics(Mapping[str, np.ndarray]):
    """The running statistics of a session or a checkpoint at one moment, by variable name.

    A mapping from variable name (without `:0`; a partitioned variable under its full name) to
    a read-only array. Two are equal where they hold the same names and the same bits.
    `print` shows a table, one row for each variable.

    Args:
      source: where they come from, in words.
      values: by variable name. They are copied: a fetched ref variable may share its memory
        with the variable.
      kinds: what each is, as `role_of` has it; where not given, their names say.

    Raises:
      BnguardError: a value is text.
    """

    def __init__(
        self, source: str, values: Mapping[str, Any], roles: Optional[Mapping[str, str]] = None
    ) -> None:
        self.source = source
        self.roles = {name: (roles or {}).get(name) or role_of(name) for name in sorted(values)}
        self._values = {name: _read_only(name, values[name]) for name in self.roles}

    def __getitem__(self, name: str) -> np.ndarray:
        return self._values[name]

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
        return RunningStatistics, (self.source, self._values, self.roles)

    def __repr__(self) -> str:
        return f"RunningStatistics({self.source}, {len(self)} variables)"

    def __str__(self) -> str:
        return f"running statistics of {self.source}\n{tables.table(_HEADINGS, self._rows())}"

    def health(self) -> List[Health]:
        """What a look at each variable tells, in the order of their names."""
        return [examine(name, self.roles[name], value) for name, value in self.items()]

    def as_json(self) -> Dict[str, Any]:
        """As a JSON object: the source, and the health of each variable."""
        return {"source": self.source, "variables": [one.as_json() for one in self.health()]}

    def _rows(self) -> Iterator[List[str]]:
        for one in self.health():
            figures = (one.smallest, one.average, one.largest)
            health = ", ".join(one.problems) or "ok"
            yield [one.name, str(list(one.shape)), *map(tables.figure, figures), health]


def identical(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether two arrays hold the same bits; so a NaN that stays has not moved."""
    same_kind = before.shape == after.shape and before.dtype == after.dtype
    return same_kind and before.tobytes() == after.tobytes()


def _read_only(name: str, value: Any) -> np.ndarray:
    copy = np.array(value)
    if copy.dtype.kind in "OSU":
        raise BnguardError(
            f"{name}: holds text; expected the numbers of a running statistic, for that is what "
            "it is called. Look at another scope, or rename the variable."
        )
    copy.setflags(write=False)
    return copy
