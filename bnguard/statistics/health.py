"""Check the values of a running statistic: never moved, cold, not finite, implausible."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from bnguard.runtime.tables import json_value

# Above these values something is wrong. 16-bit pixels, the largest plausible activations, have a
# mean of at most 6.6e4 and a variance of at most 1.1e9.
LARGEST = {"mean": 1e5, "variance": 1e10, "deviation": 1e5}
# A deviation of less than this times the mean is the rounding of float32.
EPSILON = float(np.finfo(np.float32).eps)
_SPREADS = ("variance", "deviation")
_TOGETHER = 1 << 22  # elements that are examined together, because each takes some 50 bytes then
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
    means = {} if mean is None else {name: mean}
    (health,) = examine_all({name: value}, {name: role}, {name: coldness}, means)
    return health


def examine_all(
    values: Mapping[str, np.ndarray],
    roles: Mapping[str, str],
    coldness: Mapping[str, str],
    means: Mapping[str, np.ndarray],
) -> List[Health]:
    """Return the health of running statistics, in their order.

    Statistics of one role, type and shape are examined together, because there may be many.

    Args:
      values: arrays of any shape, by variable name.
      roles: by name, as in `role_of`.
      coldness: by name; missing or empty for a statistic that is not cold.
      means: by the name of a variance or deviation, the mean of the same layer, if there is one.
    """
    alike: Dict[Any, List[str]] = defaultdict(list)
    for name, value in values.items():
        mean = means.get(name) if roles[name] in _SPREADS else None
        has_mean = mean is not None and mean.shape == value.shape
        alike[roles[name], value.dtype, value.shape, has_mean].append(name)
    found: Dict[str, Health] = {}
    for (role, dtype, shape, has_mean), names in alike.items():
        for chosen in in_parts(names, shape):
            found.update(
                _examine_alike(
                    chosen,
                    role,
                    (type_problem(role, dtype), shape),
                    _matrix(values[name] for name in chosen),
                    _matrix(means[name] for name in chosen) if has_mean else None,
                )
            )
    return [
        health
        if health.problems or not coldness.get(name)
        else replace(health, problems=(coldness[name],))
        for name, health in ((name, found[name]) for name in values)
    ]


def in_parts(names: Sequence[str], shape: Tuple[int, ...]) -> Iterator[Sequence[str]]:
    """Yield the names of arrays of one shape in parts that fit into memory together."""
    size = max(1, int(np.prod(shape, dtype=np.float64)))
    step = max(1, _TOGETHER // size)
    for first in range(0, len(names), step):
        yield names[first : first + step]


def rows_of(values: Iterable[np.ndarray]) -> np.ndarray:
    """Return arrays of one type and shape as the rows of a matrix."""
    return np.concatenate([np.ascontiguousarray(value).reshape(1, -1) for value in values])


def numbers(value: np.ndarray) -> np.ndarray:
    """Return an array in a type of NumPy that has exactly the same numbers.

    That is float64 or complex128, or for integers an integer type. NumPy cannot compute with
    bfloat16, four-bit integers, and the quantized integers of TensorFlow.
    """
    if value.dtype.names:
        value = value[value.dtype.names[0]]
    if value.dtype.kind in "iu":
        return value
    if value.dtype.kind == "b":
        return value.astype(np.uint8)
    if value.dtype.name.startswith(("int", "uint")):
        return value.astype(np.int64)
    with np.errstate(invalid="ignore"):  # a signaling NaN
        return value.astype(np.complex128 if value.dtype.kind == "c" else np.float64)


@lru_cache(maxsize=256)
def type_problem(role: str, dtype: np.dtype) -> str:
    """Return what is wrong about the type of a statistic, in words; empty if nothing is."""
    kind = numbers(np.zeros(1, dtype)).dtype.kind
    if kind == "f" or (kind in "iu" and role == "count"):
        return ""
    name = dtype.names[0] if dtype.names else dtype.name
    parts = ", examined by its real parts" if kind == "c" else ""
    return f"{name}, not of a floating-point type{parts}"


def _matrix(values: Iterable[np.ndarray]) -> np.ndarray:
    """Return arrays of one shape as the rows of a matrix, float64; of complex ones, real parts."""
    return numbers(rows_of(values)).real.astype(np.float64)


def _examine_alike(
    names: Sequence[str],
    role: str,
    kind: Tuple[str, Tuple[int, ...]],
    values: np.ndarray,
    means: Optional[np.ndarray],
) -> Iterator[Tuple[str, Health]]:
    """Yield names, and the health of the statistics in the rows of a matrix.

    Args:
      names: of the variables.
      role: of all.
      kind: what is wrong about their type, and their shape.
      values: float64 [variables, elements].
      means: the same of the means beside them, if there are any.
    """
    problem_of_type, shape = kind
    finite = np.isfinite(values)
    counts = finite.sum(axis=1)
    with np.errstate(all="ignore"):
        smallest = np.min(np.where(finite, values, np.inf), axis=1, initial=np.inf)
        largest = np.max(np.where(finite, values, -np.inf), axis=1, initial=-np.inf)
        average = np.sum(np.where(finite, values, 0), axis=1) / counts
        problems = _problems(role, values, finite, means)
    none = counts == 0
    smallest[none] = average[none] = largest[none] = np.nan
    figures = zip(smallest.tolist(), average.tolist(), largest.tolist())
    first = [problem_of_type] if problem_of_type else []
    for name, each, own in zip(names, figures, problems):
        yield name, Health(name, role, shape, *each, problems=(*first, *own))


def _problems(
    role: str, values: np.ndarray, finite: np.ndarray, means: Optional[np.ndarray]
) -> List[List[str]]:
    """Return the problems of each row."""
    size = values.shape[1]
    found: List[List[str]] = [[] for _ in values]
    initial = INITIAL.get(role)
    if initial is not None and size:
        for row in np.flatnonzero((values == initial).all(axis=1)):
            found[row].append(f"never moved from its initial value {initial:g}")
    for problem, is_affected in (
        *_element_problems(role, values, finite),
        ("collapsed", _has_collapsed(role, values, means)),
    ):
        counts = np.count_nonzero(is_affected, axis=1)
        for row in np.flatnonzero(counts):
            found[row].append(f"{problem} in {counts[row]} of {size}")
    return found


def _element_problems(
    role: str, values: np.ndarray, finite: np.ndarray
) -> Iterator[Tuple[str, np.ndarray]]:
    yield "not finite", ~finite
    if role in _SPREADS:
        yield "zero", values == 0
    if role in (*_SPREADS, "count"):
        yield "negative", np.where(finite, values, 0) < 0
    if role in LARGEST:
        yield f"above {LARGEST[role]:g}", np.abs(np.where(finite, values, 0)) > LARGEST[role]


def _has_collapsed(role: str, values: np.ndarray, means: Optional[np.ndarray]) -> np.ndarray:
    """Return which elements are positive, but no more than the rounding of float32.

    That happens to an average over batches with one value for each channel, or with equal values.
    The bound is relative to the mean; for a whole layer, also to 1. Single channels that are zero,
    as behind ReLU, have a small mean as well.
    """
    if role not in _SPREADS:
        return np.zeros(values.shape, bool)
    exponent = 2 if role == "variance" else 1
    is_small = (values < EPSILON**exponent).all(axis=1, keepdims=True)
    if means is not None:
        is_small = is_small | (values < (EPSILON * np.abs(means)) ** exponent)
    return (values > 0) & is_small
