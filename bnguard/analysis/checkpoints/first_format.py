"""A checkpoint in the first format, of TensorFlow before 1.0: one table with names and values.

Saver(write_version=V1) still writes it. What it says is checked as in a bundle.
Format: tensorflow/core/util/saved_tensor_slice.proto.
"""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

from bnguard.analysis.checkpoints.entries import (
    Extent,
    extents_of,
    impossible_shape,
    product,
    shown,
    slice_key,
    slice_shape,
)
from bnguard.analysis.checkpoints.table import read_table
from bnguard.analysis.ir import protos
from bnguard.analysis.ir.protos import DATA_TYPES

_VERSION = 1  # of the format
_FIELDS = {
    "bool_val": "BOOL",
    "dcomplex_val": "COMPLEX128",
    "double_val": "DOUBLE",
    "float_val": "FLOAT",
    "half_val": "HALF",
    "int64_val": "INT64",
    "int_val": "INT8 INT16 INT32 UINT8 UINT16 QINT8 QINT16 QINT32 QUINT8 QUINT16",
    "scomplex_val": "COMPLEX64",
    "string_val": "STRING",
}
_FIELD_OF = {
    DATA_TYPES[f"DT_{name}"]: field for field, names in _FIELDS.items() for name in names.split()
}
_NUMBERS_OF_COMPLEX = 2


class StoredSlices(NamedTuple):
    """What the table says about a tensor; checked.

    Attributes:
      dtype: the number of the type.
      shape: the size of each axis.
      slices: the extents of each slice.
    """

    dtype: int
    shape: Tuple[int, ...]
    slices: Tuple[Tuple[Extent, ...], ...]


class FirstFormat:
    """A checkpoint in the first format.

    Args:
      data: the contents of the file.

    Attributes:
      tensors: what the table says about each tensor, by name.

    Raises:
      ValueError, IndexError: the table is damaged, or says what cannot be.
    """

    def __init__(self, data: bytes) -> None:
        self._entries = read_table(data)
        if b"" not in self._entries:
            raise ValueError("it has no header")
        meta = protos.parse("SavedTensorSlices", self._entries[b""]).meta
        if meta.versions.min_consumer > _VERSION:
            raise ValueError(f"its format is for version {meta.versions.min_consumer} and later")
        self.tensors: Dict[str, StoredSlices] = {}
        for tensor in meta.tensor:
            if tensor.name in self.tensors:
                raise ValueError(f"{shown(tensor.name)} is there twice")
            self.tensors[tensor.name] = _checked(tensor)

    def values(self, name: str) -> Iterator[Tuple[Tuple[Extent, ...], List[Any]]]:
        """Yield the extents of each slice of a tensor, and its elements in order.

        The elements of a complex tensor are pairs of numbers, one after the other; those of a
        float16, their bits.

        Raises:
          ValueError: a slice is missing, or has another type or number of elements than its place.
        """
        stored = self.tensors[name]
        field = _FIELD_OF.get(stored.dtype)
        if field is None:
            raise ValueError(f"{shown(name)} is of the type {stored.dtype}, which cannot be")
        for extents in stored.slices:
            entry = self._entries.get(slice_key(name, extents))
            if entry is None:
                raise ValueError(f"a slice of {shown(name)} is missing")
            data = protos.parse("SavedTensorSlices", entry).data.data
            elements = list(getattr(data, field))
            count = product(slice_shape(extents, stored.shape))
            if len(elements) != count * (_NUMBERS_OF_COMPLEX if "complex" in field else 1):
                raise ValueError(f"a slice of {shown(name)} does not fit its place")
            yield extents, elements


def _checked(tensor: Any) -> StoredSlices:
    shape = tuple(axis.size for axis in tensor.shape.dim)
    wrong = impossible_shape(shape, tensor.shape.unknown_rank)
    if wrong:
        raise ValueError(f"{shown(tensor.name)} {wrong}")
    slices = tuple(extents_of(each, tensor.name, shape) for each in tensor.slice)
    elements = sum(product(slice_shape(extents, shape)) for extents in slices)
    if elements != product(shape):
        raise ValueError(
            f"the slices of {shown(tensor.name)} have {elements} elements, not {product(shape)}"
        )
    return StoredSlices(tensor.type, shape, slices)
