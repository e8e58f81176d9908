"""Constant folding: the value that an op computes when some of its inputs are known.

A tensor has a static value only if all its elements are equal; otherwise the value is None.
"""

from __future__ import annotations

import math
import operator
from typing import Any, Callable, Dict, List, Optional

from bnguard.analysis.ir.op_types import MADE_OF_FIRST
from bnguard.analysis.ir.protos import DATA_TYPES
from bnguard.analysis.ir.tensor_values import Scalar

StaticValue = Optional[Scalar]

_LARGEST_EXACT = 1 << 24  # whole numbers up to this are exact in every type that counts
_INTEGERS = {
    DATA_TYPES[f"DT_{sign}INT{bits}"]: (
        0 if sign else -(1 << (bits - 1)),
        (1 << (bits if sign else bits - 1)) - 1,
    )
    for sign in ("", "U")
    for bits in (8, 16, 32, 64)
}
_FLOATS = [DATA_TYPES[name] for name in ("DT_FLOAT", "DT_DOUBLE", "DT_HALF", "DT_BFLOAT16")]


def fold(op_type: str, attributes: Callable[[], Any], inputs: List[StaticValue]) -> StaticValue:
    """Return the value of an op's first output, or None if it is not known.

    Args:
      op_type: the type of the op; `can_fold(op_type)`.
      attributes: returns the attributes of the op.
      inputs: the values of its data inputs.
    """
    try:
        if op_type == "Cast":
            return _cast(inputs[0], attributes()["DstT"].type) if inputs else None
        return _FOLDS[op_type](*inputs)
    except (TypeError, ValueError, ArithmeticError):
        return None  # operands that TensorFlow refuses, a division by zero, an infinite float


def can_fold(op_type: str) -> bool:
    """Return whether ops of this type can be folded."""
    return op_type in _FOLDS or op_type == "Cast"


def _cast(value: StaticValue, to: int) -> StaticValue:
    if value is None or isinstance(value, bytes):
        return None
    if to == DATA_TYPES["DT_BOOL"]:
        return bool(value)
    if to in _FLOATS:
        return float(value)
    smallest, largest = _INTEGERS.get(to, (0, 0))
    integer = int(value)  # raises for a float that is not finite
    return integer if smallest <= integer <= largest else None  # else platforms differ


def _first(value: StaticValue, *_: StaticValue) -> StaticValue:
    return value


def _second(_: StaticValue, value: StaticValue) -> StaticValue:
    return value


def _and(left: StaticValue, right: StaticValue) -> StaticValue:
    if left is False or right is False:
        return False
    return None if left is None or right is None else bool(left and right)


def _or(left: StaticValue, right: StaticValue) -> StaticValue:
    if left is True or right is True:
        return True
    return None if left is None or right is None else bool(left or right)


def _not(value: StaticValue) -> StaticValue:
    return None if value is None else not value


def _select(choice: StaticValue, then: StaticValue, otherwise: StaticValue) -> StaticValue:
    if choice is None:
        return then if then == otherwise else None
    return then if choice else otherwise


def _comparison(
    compare: Callable[[Any, Any], bool],
) -> Callable[[StaticValue, StaticValue], StaticValue]:
    def folded(left: StaticValue, right: StaticValue) -> StaticValue:
        return None if left is None or right is None else compare(left, right)

    return folded


def _whole(compute: Callable[[Any, Any], Any]) -> Callable[[StaticValue, StaticValue], StaticValue]:
    """Restrict arithmetic to whole numbers, for which floating point does not round."""

    def folded(left: StaticValue, right: StaticValue) -> StaticValue:
        if not _is_small_whole(left) or not _is_small_whole(right):
            return None
        result = compute(left, right)
        return result if _is_small_whole(result) else None

    return folded


def _multiply(left: StaticValue, right: StaticValue) -> StaticValue:
    """Multiply; a factor that is not known is taken to be finite."""
    if left == 0 or right == 0:
        return 0 if _is_finite_or_unknown(left) and _is_finite_or_unknown(right) else None
    return _whole(operator.mul)(left, right)


def _is_finite_or_unknown(value: StaticValue) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _is_small_whole(value: StaticValue) -> bool:
    return isinstance(value, (int, float)) and value == int(value) and abs(value) <= _LARGEST_EXACT


_FOLDS: Dict[str, Callable[..., StaticValue]] = {
    **dict.fromkeys(MADE_OF_FIRST - {"ReadVariableOp"}, _first),
    **dict.fromkeys(["All", "Any", "Max", "Min", "PlaceholderWithDefault", "LoopCond"], _first),
    "Add": _whole(operator.add),
    "AddV2": _whole(operator.add),
    "Equal": _comparison(operator.eq),
    "Fill": _second,
    "FloorDiv": _whole(operator.floordiv),
    "FloorMod": _whole(operator.mod),
    "Greater": _comparison(operator.gt),
    "GreaterEqual": _comparison(operator.ge),
    "Less": _comparison(operator.lt),
    "LessEqual": _comparison(operator.le),
    "LogicalAnd": _and,
    "LogicalNot": _not,
    "LogicalOr": _or,
    "Maximum": _whole(max),
    "Minimum": _whole(min),
    "Mul": _multiply,
    "NotEqual": _comparison(operator.ne),
    "OnesLike": lambda _: 1,
    "Select": _select,
    "SelectV2": _select,
    "Sub": _whole(operator.sub),
    "ZerosLike": lambda _: 0,
}
