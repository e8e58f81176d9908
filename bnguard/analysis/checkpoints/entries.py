"""What an index says about a tensor, or about a slice of one, and which of it cannot be.

Format: tensorflow/core/protobuf/tensor_bundle.proto, tensorflow/core/util/tensor_bundle.
"""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Sequence, Tuple, Union

from bnguard.analysis.ir import protos
from bnguard.analysis.ir.protos import DATA_TYPES
from bnguard.runtime.streams import printable

SLICE = b"\0"
"""The first byte of the key of a slice, whose tensor has an entry of its own without elements."""

WHOLE_AXIS = -1
"""The length of a slice along an axis that it does not divide."""

Extent = Tuple[int, int]  # the start and the length of a slice along an axis

CHECKSUM = 4
"""The bytes of a checksum."""

_STRING, _VARIANT = DATA_TYPES["DT_STRING"], DATA_TYPES["DT_VARIANT"]
_LARGEST_RANK = 254  # of a tensor of TensorFlow
_LARGEST = 2**63 - 1
_LARGEST_TYPE = 100  # larger numbers are of references
_LEAST_BYTES = {_STRING: 1, _VARIANT: 1 + CHECKSUM}
_SHOWN = 200  # characters of a name in a message
_NO_ELEMENTS = frozenset([DATA_TYPES["DT_INVALID"], DATA_TYPES["DT_RESOURCE"]])


def _item_bytes() -> Dict[int, int]:
    sizes = {
        1: "UINT8 INT8 BOOL QINT8 QUINT8",
        2: "INT16 BFLOAT16 QINT16 QUINT16 UINT16 HALF",
        4: "FLOAT INT32 QINT32 UINT32",
        8: "DOUBLE COMPLEX64 INT64 UINT64",
        16: "COMPLEX128",
    }
    found = {
        DATA_TYPES[f"DT_{name}"]: size for size, names in sizes.items() for name in names.split()
    }
    # Float8, float4, and integers of four and two bits take a byte each in a tensor.
    return {**found, **dict.fromkeys(range(24, 34), 1)}


ITEM_BYTES = _item_bytes()
"""The bytes of an element, by the number of the type; without text, variants and unknown types."""


class TensorEntry(NamedTuple):
    """What an index says about a tensor, or about a slice of one; checked.

    Attributes:
      dtype: the number of the type.
      shape: the size of each axis.
      shard: the number of the file with its bytes.
      offset, size: the bytes in that file.
      crc32c: their checksum.
      slices: of a tensor that is stored in slices, the extents of each; else empty.
    """

    dtype: int
    shape: Tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc32c: int
    slices: Tuple[Tuple[Extent, ...], ...]

    @property
    def elements(self) -> int:
        """The number of elements."""
        return product(self.shape)


def checked_entry(key: bytes, value: bytes, shards: int) -> TensorEntry:
    """Return an entry, after a check of all that it says by itself."""
    try:
        proto = protos.parse("BundleEntryProto", value)
    except protos.DecodeError as error:
        raise ValueError(f"the entry of {shown(key)} cannot be decoded") from error
    shape = tuple([axis.size for axis in proto.shape.dim])
    slices = tuple(map(_extents, proto.slices)) if proto.slices else ()
    entry = TensorEntry(
        proto.dtype, shape, proto.shard_id, proto.offset, proto.size, proto.crc32c, slices
    )
    wrong = (
        impossible_shape(shape, proto.shape.unknown_rank)
        or _impossible_place(entry, shards)
        or _impossible_type(entry)
    )
    if wrong:
        raise ValueError(f"the entry of {shown(key)} {wrong}")
    return entry


def shown(name: Union[bytes, str]) -> str:
    """Return a name for a message: printable, in one line, and not too long."""
    text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name
    return printable(text[:_SHOWN]) + ("..." if len(text) > _SHOWN else "")


def _impossible_place(entry: TensorEntry, shards: int) -> str:
    """Return what is impossible about where the bytes are, in words; empty if nothing is."""
    if not 0 <= entry.shard < shards:
        return f"is in the shard {entry.shard} of {shards}"
    if entry.offset < 0 or entry.size < 0 or entry.offset + entry.size > _LARGEST:
        return f"has {entry.size} bytes at {entry.offset}"
    return ""


def _impossible_type(entry: TensorEntry) -> str:
    """Return what is impossible about the type and the size, in words; empty if nothing is."""
    if entry.dtype in _NO_ELEMENTS or entry.dtype < 0 or entry.dtype > _LARGEST_TYPE:
        return f"is of the type {entry.dtype}, which no stored tensor has"
    if entry.slices:
        return ""
    elements = product(entry.shape)
    item = ITEM_BYTES.get(entry.dtype)
    if item is not None and entry.size != elements * item:
        return f"has {entry.size} bytes for {elements} elements of {item}"
    # An element of text or a variant takes its length, and a variant its checksum, too.
    least = elements * _LEAST_BYTES.get(entry.dtype, 0)
    return f"has {entry.size} bytes for {elements} elements" if entry.size < least else ""


def product(sizes: Sequence[int]) -> int:
    """Return the number of elements of a tensor with this shape."""
    count = 1
    for size in sizes:
        count *= size
    return count


def impossible_shape(sizes: Sequence[int], unknown_rank: bool) -> str:
    """Return what is impossible about a tensor's shape, in words; empty if nothing is."""
    if unknown_rank or len(sizes) > _LARGEST_RANK:
        return f"has no rank, or one above {_LARGEST_RANK}"
    elements = 1
    for size in sizes:
        if size < 0:
            return f"has an axis of the size {size}"
        elements *= size
        if elements > _LARGEST:
            return "has more elements than a tensor can have"
    return ""


def extents_of(slice_proto: Any, name: str, shape: Sequence[int]) -> Tuple[Extent, ...]:
    """Return the extents in a TensorSliceProto.

    Args:
      slice_proto: of a slice.
      name: of its tensor.
      shape: of its tensor.

    Raises:
      ValueError: it is not inside the tensor.
    """
    extents = _extents(slice_proto)
    check_inside(extents, name, shape)
    return extents


def check_inside(extents: Sequence[Extent], name: str, shape: Sequence[int]) -> None:
    """Check that a slice is inside its tensor.

    Raises:
      ValueError: it is not.
    """
    if len(extents) != len(shape):
        raise ValueError(f"a slice of {shown(name)} has another rank")
    for (start, length), size in zip(extents, shape):
        if start < 0 or length < WHOLE_AXIS or start + max(length, 0) > size:
            raise ValueError(f"a slice of {shown(name)} is outside")
        if length == WHOLE_AXIS and start:
            raise ValueError(f"a slice of {shown(name)} does not start with its axis")


def _extents(slice_proto: Any) -> Tuple[Extent, ...]:
    return tuple((extent.start, extent.length or WHOLE_AXIS) for extent in slice_proto.extent)


def slice_shape(extents: Sequence[Extent], shape: Sequence[int]) -> Tuple[int, ...]:
    """Return the shape of a slice of a tensor."""
    return tuple(
        size - start if length == WHOLE_AXIS else length
        for (start, length), size in zip(extents, shape)
    )


def slice_key(name: str, extents: Sequence[Extent]) -> bytes:
    """Return the key of a slice in an index, in TensorFlow's OrderedCode.

    Args:
      name: the name of the tensor.
      extents: the start and the length along each axis.
    """
    text = name.encode().replace(b"\x00", b"\x00\xff")
    numbers = b"".join(_signed(number) for extent in extents for number in extent)
    return b"\x00" + text + b"\x00\x01" + _unsigned(len(extents)) + numbers


def _unsigned(number: int) -> bytes:
    size = (number.bit_length() + 7) // 8
    return bytes([size]) + number.to_bytes(size, "big")


def _signed(number: int) -> bytes:
    size = next(n for n in range(1, 11) if -(1 << 7 * n - 1) <= number < 1 << 7 * n - 1)
    header = ((1 << size) - 1) << 7 * size
    return ((number & (1 << 8 * size) - 1) ^ header).to_bytes(size, "big")
