"""Check the values of a running statistic: never moved, cold, not finite, implausible."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Iterator, Optional, Tuple

import numpy as np

from bnguard.statistics.tables import json_value

# Above these values something is wrong. 16-bit pixels, the largest plausible activations, have a
# mean of at most 6.6e4 and a variance of at most 1.1e9.
LARGEST = {"mean": 1e5, "variance": 1e10, "deviation": 1e5}
# A deviation of less than this times the mean is the rounding of float32.
EPSILON = float(np.finfo(np.float32).eps)
INITIAL = {"mean": 0.0, "variance": 1.0, "deviation": 1.0, "biased": 0.0, "count": 0.0}


@dataclass(frozen=True)
class Health:
    """The figures and the problems of one running statistic.

    Attributes:
      name: of the variable.
      role: as in `role_of`.
      shape: of the variable.
      smallest, average, largest: over the finite elements; NaN if there are none.
      problems: in words; empty if there are none.
    """

    name: str
    role: str
    shape: Tuple[int, ...]
    smallest: float
    average: float
    largest: float
    problems: Tuple[str, ...]

    def to_dict(self) -> Dict[str, Any]:
        """Return the JSON form; a figure that is not finite is a string."""
        return {key: json_value(value) for key, value in vars(self).items()}


def examine(
    name: str,
    role: str,
    value: np.ndarray,
    coldness: str = "",
    mean: Optional[np.ndarray] = None,
) -> Health:
    """Return the health of one running statistic.

    Args:
      name: of the variable.
      role: as in `role_of`.
      value: an array of any shape.
      coldness: in words, how much of its initial value it contains, if that is a problem.
      mean: of a variance or deviation, the mean of the same layer, if there is one.
    """
    value = value.astype(np.float64)  # NumPy cannot compute with bfloat16
    finite = value[np.isfinite(value)]
    figures = finite if finite.size else np.array([np.nan])
    return Health(
        name=name,
        role=role,
        shape=value.shape,
        smallest=float(figures.min()),
        average=float(figures.mean()),
        largest=float(figures.max()),
        problems=tuple(_problems(role, value, mean)) or ((coldness,) if coldness else ()),
    )


def _problems(role: str, value: np.ndarray, mean: Optional[np.ndarray]) -> Iterator[str]:
    initial = INITIAL.get(role)
    if initial is not None and value.size and np.all(value == initial):
        yield f"never moved from its initial value {initial:g}"
    for problem, is_affected in (
        *_element_problems(role, value),
        ("collapsed", _has_collapsed(role, value, mean)),
    ):
        count = int(np.count_nonzero(is_affected))
        if count:
            yield f"{problem} in {count} of {value.size}"


def _element_problems(role: str, value: np.ndarray) -> Iterator[Tuple[str, np.ndarray]]:
    finite = np.isfinite(value)
    yield "not finite", ~finite
    if role in ("variance", "deviation"):
        yield "zero", value == 0
    if role in ("variance", "deviation", "count"):
        yield "negative", np.where(finite, value, 0) < 0
    if role in LARGEST:
        yield f"above {LARGEST[role]:g}", np.abs(np.where(finite, value, 0)) > LARGEST[role]


def _has_collapsed(role: str, value: np.ndarray, mean: Optional[np.ndarray]) -> np.ndarray:
    """Return which elements are positive, but no more than the rounding of float32.

    That happens to an average over batches with one value for each channel, or with equal values.
    The bound is relative to the mean; for a whole layer, also to 1. Single channels that are zero,
    as behind ReLU, have a small mean as well.
    """
    if role not in ("variance", "deviation"):
        return np.zeros(value.shape, bool)
    exponent = 2 if role == "variance" else 1
    if value.size and np.all(value < EPSILON**exponent):
        return value > 0
    if mean is None or mean.shape != value.shape:
        return np.zeros(value.shape, bool)
    return (value > 0) & (value < (EPSILON * np.abs(mean.astype(np.float64))) ** exponent)
