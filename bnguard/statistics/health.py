"""What a look at one running statistic tells: never moved, not finite, not possible."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Iterator, Tuple

import numpy as np

from bnguard.statistics.tables import plain

# No activation that anybody normalizes on purpose gets here: pixels of 16 bits have a mean of
# at most 6.6e4, and a variance of at most 1.1e9.
LARGEST = {"mean": 1e5, "variance": 1e10, "deviation": 1e5}
INITIAL = {"mean": 0.0, "variance": 1.0, "deviation": 1.0, "biased": 0.0, "count": 0.0}


@dataclass(frozen=True)
class Health:
    """One running statistic in figures.

    Attributes:
      name: of the variable.
      kind: as `role_of` has it.
      shape: of the variable.
      smallest, average, largest: over the elements that are finite; NaN where none is.
      problems: what is wrong, in words; empty where nothing is.
    """

    name: str
    role: str
    shape: Tuple[int, ...]
    smallest: float
    average: float
    largest: float
    problems: Tuple[str, ...]

    def as_json(self) -> Dict[str, Any]:
        """As a JSON object."""
        return {key: plain(value) for key, value in vars(self).items()}


def examine(name: str, role: str, value: np.ndarray) -> Health:
    """Look at the value of one running statistic, a float array of any shape."""
    value = value.astype(np.float64)  # NumPy knows little of bfloat16
    finite = value[np.isfinite(value)]
    figures = finite if finite.size else np.array([np.nan])
    return Health(
        name=name,
        role=role,
        shape=value.shape,
        smallest=float(figures.min()),
        average=float(figures.mean()),
        largest=float(figures.max()),
        problems=tuple(_problems(role, value)),
    )


def _problems(role: str, value: np.ndarray) -> Iterator[str]:
    initial = INITIAL.get(role)
    if initial is not None and value.size and np.all(value == initial):
        yield f"never moved from its initial value {initial:g}"
    for what, where in _suspects(role, value):
        count = int(np.count_nonzero(where))
        if count:
            yield f"{what} in {count} of {value.size}"


def _suspects(role: str, value: np.ndarray) -> Iterator[Tuple[str, np.ndarray]]:
    finite = np.isfinite(value)
    yield "not finite", ~finite
    if role in ("variance", "deviation"):
        yield "zero", value == 0
    if role in ("variance", "deviation", "count"):
        yield "negative", np.where(finite, value, 0) < 0
    if role in LARGEST:
        yield f"above {LARGEST[role]:g}", np.abs(np.where(finite, value, 0)) > LARGEST[role]
