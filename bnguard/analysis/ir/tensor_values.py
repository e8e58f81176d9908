"""Tensor values: the scalar of a constant, or its short list, from a TensorProto."""

from __future__ import annotations

import struct
from typing import Any, List, Optional, Union

from bnguard.analysis import limits
from bnguard.analysis.ir.protos import DATA_TYPES

Scalar = Union[bool, int, float, bytes]

_VALUE_FIELDS = ("float_val", "double_val", "int_val", "int64_val", "bool_val", "string_val")
_CONTENT_FORMATS = {
    DATA_TYPES["DT_BOOL"]: "?",
    DATA_TYPES["DT_DOUBLE"]: "d",
    DATA_TYPES["DT_FLOAT"]: "f",
    DATA_TYPES["DT_HALF"]: "e",
    DATA_TYPES["DT_INT8"]: "b",
    DATA_TYPES["DT_INT16"]: "h",
    DATA_TYPES["DT_INT32"]: "i",
    DATA_TYPES["DT_INT64"]: "q",
    DATA_TYPES["DT_UINT8"]: "B",
    DATA_TYPES["DT_UINT16"]: "H",
    DATA_TYPES["DT_UINT32"]: "I",
    DATA_TYPES["DT_UINT64"]: "Q",
}


def uniform_value(tensor: Any) -> Optional[Scalar]:
    """Return the value of every element of a TensorProto, or None if they differ."""
    if any(dimension.size <= 0 for dimension in tensor.tensor_shape.dim):
        return None
    values = _stored_values(tensor)
    if values is None or any(value != values[0] for value in values):
        return None
    return values[0]


def short_list(tensor: Any) -> Optional[List[Scalar]]:
    """Return the elements of a TensorProto of rank 0 or 1; None for many, or a higher rank."""
    dimensions = tensor.tensor_shape.dim
    size = dimensions[0].size if dimensions else 1
    values = _stored_values(tensor)
    if values is None or len(dimensions) > 1 or not 0 <= size <= limits.CONSTANT_ELEMENTS:
        return None
    return (values + values[-1:] * size)[:size]  # repetitions of the last one are not stored


def _stored_values(tensor: Any) -> Optional[List[Scalar]]:
    if tensor.tensor_content:
        return unpack(tensor.tensor_content, tensor.dtype)
    if tensor.half_val and tensor.dtype == DATA_TYPES["DT_HALF"]:
        packed = struct.pack(f"<{len(tensor.half_val)}i", *tensor.half_val)
        return [struct.unpack_from("<e", packed, 4 * k)[0] for k in range(len(packed) // 4)]
    if tensor.half_val:
        return None
    for field in _VALUE_FIELDS:
        values = list(getattr(tensor, field))
        if values:
            return values
    if tensor.dtype == DATA_TYPES["DT_STRING"]:
        return [b""]
    return [False] if tensor.dtype == DATA_TYPES["DT_BOOL"] else [0]


def unpack(
    content: bytes, dtype: int, most: int = limits.CONSTANT_ELEMENTS
) -> Optional[List[Scalar]]:
    """Return the elements of a tensor of numbers, from its bytes; one element if all are equal.

    It is None for another type, and for more than `most` elements that are not equal.
    """
    code = _CONTENT_FORMATS.get(dtype)
    width = struct.calcsize(code) if code else 0
    if not width or len(content) % width:
        return None
    if content == content[:width] * (len(content) // width):
        content = content[:width]
    elif len(content) > most * width:
        return None
    return list(struct.unpack(f"<{len(content) // width}{code}", content))
