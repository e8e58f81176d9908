"""A checkpoint of TensorFlow 1.0 and later: an index of tensors, and shards with their bytes.

The checksums of an index are right whoever wrote it. What its entries say is checked before it is
used: TensorFlow's reader ends the process where a shape is impossible or a type unknown, allocates
what an entry claims, and leaves memory as it was where a slice has fewer elements than its place.
Format: tensorflow/core/protobuf/tensor_bundle.proto, tensorflow/core/util/tensor_bundle.
"""

from __future__ import annotations

from itertools import groupby
import os
from typing import (
    Any,
    BinaryIO,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Sequence,
    Tuple,
    Union,
)

from bnguard.analysis.checkpoints.crc32c import checksum, crc32c, masked
from bnguard.analysis.checkpoints.table import read_table, varint
from bnguard.analysis.ir import protos
from bnguard.analysis.ir.protos import DATA_TYPES
from bnguard.runtime.files import open_regular
from bnguard.runtime.streams import printable

SLICE = b"\0"
"""The first byte of the key of a slice, whose tensor has an entry of its own without elements."""

WHOLE_AXIS = -1
"""The length of a slice along an axis that it does not divide."""

Extent = Tuple[int, int]  # the start and the length of a slice along an axis
Open = Callable[[str], BinaryIO]

_VERSION = 1  # of the format, that TensorFlow 1.0 to 2.21 write and read
_STRING, _VARIANT = DATA_TYPES["DT_STRING"], DATA_TYPES["DT_VARIANT"]
_LARGEST_RANK = 254  # of a tensor of TensorFlow
_LARGEST = 2**63 - 1
_CHECKSUM = 4  # bytes
_LARGEST_TYPE = 100  # larger numbers are of references
_LEAST_BYTES = {_STRING: 1, _VARIANT: 1 + _CHECKSUM}
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


class Bundle:
    """A checkpoint on disk. Every entry is checked; the bytes of a tensor are read on demand.

    Args:
      prefix: its path, without `.index`.
      index: the contents of the index.
      open_file: opens a shard; by default, if it is a regular file.

    Attributes:
      prefix: as given.
      tensors: the entries by the names of the tensors, sorted.
      is_big_endian: whether the numbers of tensors have their highest byte first.
      open_shard: as given.

    Raises:
      ValueError, IndexError: the index is damaged, or says what cannot be.
    """

    def __init__(self, prefix: str, index: bytes, open_file: Open = open_regular) -> None:
        self.prefix = prefix
        self.open_shard = open_file
        entries = read_table(index)
        header = _header(entries)
        self._shards = header.num_shards
        self.is_big_endian = header.endianness == 1
        checked = {
            key: _checked_entry(key, value, self._shards) for key, value in entries.items() if key
        }
        self._slices = {key: entry for key, entry in checked.items() if key.startswith(SLICE)}
        self.tensors: Dict[str, TensorEntry] = {
            _name(key): entry for key, entry in checked.items() if not key.startswith(SLICE)
        }
        _check_apart(checked)
        for name, entry in self.tensors.items():
            if entry.slices:
                self._check_slices(name, entry)

    def shard(self, entry: TensorEntry) -> str:
        """Return the path of the file with the bytes of a tensor."""
        return f"{self.prefix}.data-{entry.shard:05d}-of-{self._shards:05d}"

    def pieces(self, name: str) -> Iterator[Tuple[Tuple[Extent, ...], TensorEntry]]:
        """Yield the extents and the entry of each stored slice of a tensor."""
        for extents in self.tensors[name].slices:
            yield extents, self._slices[slice_key(name, extents)]

    def read(self, entry: TensorEntry) -> bytes:
        """Return the bytes of a tensor that is not stored in slices, as they are in the file.

        Raises:
          OSError: the file cannot be read.
          ValueError: it is cut off.
        """
        with self.open_shard(self.shard(entry)) as file:
            return read_range(file, file_size(file), entry)

    def texts(self, entry: TensorEntry, data: bytes) -> List[bytes]:
        """Return the elements of a tensor of text, after a check of all their checksums.

        Args:
          entry: of the tensor.
          data: its bytes.

        Raises:
          ValueError, IndexError: a length or a checksum is wrong.
        """
        order = "big" if self.is_big_endian else "little"
        at, lengths = 0, []
        for _ in range(entry.elements):
            length, at = varint(data, at)
            lengths.append(length)
        start = at + _CHECKSUM
        if start + sum(lengths) != len(data) and data:
            raise ValueError("the lengths of a text are wrong")
        # Checksums are of the lengths as numbers of 4 bytes, and of all that follows them.
        numbers = b"".join(length.to_bytes(4, order) for length in lengths)  # type: ignore[arg-type]
        stored = int.from_bytes(data[at:start], order)  # type: ignore[arg-type]
        if data and masked(crc32c(numbers)) != stored:
            raise ValueError("the checksum of the lengths of a text is wrong")
        if (checksum(numbers + data[at:]) if data else masked(0)) != entry.crc32c:
            raise ValueError("the checksum of a text is wrong")
        texts = []
        for length in lengths:
            texts.append(data[start : start + length])
            start += length
        return texts

    def _check_slices(self, name: str, entry: TensorEntry) -> None:
        """Check that the slices of a tensor are there, inside, and have as many elements as it."""
        elements = 0
        for extents in entry.slices:
            check_inside(extents, name, entry.shape)
            piece = self._slices.get(slice_key(name, extents))
            if piece is None:
                raise ValueError(f"a slice of {shown(name)} is missing")
            shape = slice_shape(extents, entry.shape)
            if piece.shape != shape or piece.dtype != entry.dtype or piece.slices:
                raise ValueError(f"a slice of {shown(name)} does not fit its place")
            elements += piece.elements
        if elements != entry.elements:
            raise ValueError(
                f"the slices of {shown(name)} have {elements} elements, and it has {entry.elements}"
            )


def file_size(file: BinaryIO) -> int:
    """Return the number of bytes of an open file, on this machine or not."""
    file.seek(0, os.SEEK_END)
    return file.tell()


def read_range(file: BinaryIO, size: int, entry: TensorEntry) -> bytes:
    """Return the bytes of a tensor from the open file that has them.

    Args:
      file: the open file.
      size: its number of bytes; what is behind them is not even asked for.
      entry: of the tensor.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is cut off.
    """
    if size < entry.offset + entry.size:
        raise ValueError("it is cut off")
    file.seek(entry.offset)
    data = file.read(entry.size)
    if len(data) < entry.size:
        raise ValueError("it is cut off")
    return data


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


def _header(entries: Mapping[bytes, bytes]) -> Any:
    if b"" not in entries:
        raise ValueError("it has no header")
    header = protos.parse("BundleHeaderProto", entries[b""])
    version = header.version
    if version.min_consumer > _VERSION or _VERSION in version.bad_consumers or version.producer < 0:
        raise ValueError(
            f"its format is for version {version.min_consumer} and later; expected {_VERSION}"
        )
    if header.num_shards < 1:
        raise ValueError(f"it has {header.num_shards} shards")
    if header.endianness not in (0, 1):
        raise ValueError(f"its byte order is {header.endianness}; expected 0 or 1")
    return header


def _name(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"the name {shown(key)} is not in UTF-8") from error


def _checked_entry(key: bytes, value: bytes, shards: int) -> TensorEntry:
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


def _check_apart(entries: Mapping[bytes, TensorEntry]) -> None:
    """Check that no two tensors have a part of their bytes in common; all of them, they may."""
    ranges = sorted(
        (entry.shard, entry.offset, entry.size, key)
        for key, entry in entries.items()
        if entry.size and not entry.slices
    )
    for _, in_shard in groupby(ranges, lambda found: found[0]):
        before = (0, 0)
        for _, offset, size, key in in_shard:
            if offset < sum(before) and (offset, size) != before:
                raise ValueError(f"some bytes of {shown(key)} are also those of another tensor")
            before = (offset, size)
