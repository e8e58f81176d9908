"""A checkpoint of TensorFlow 1.0 and later: an index of tensors, and shards with their bytes.

The checksums of an index are right whoever wrote it. What its entries say is checked before it is
used: TensorFlow's reader ends the process where a shape is impossible or a type unknown, allocates
what an entry claims, and leaves memory as it was where a slice has fewer elements than its place.
"""

from __future__ import annotations

from itertools import groupby
import os
from typing import Any, BinaryIO, Callable, Dict, Iterator, List, Mapping, Tuple

from bnguard.analysis.checkpoints.crc32c import checksum, crc32c, masked
from bnguard.analysis.checkpoints.entries import (
    CHECKSUM,
    SLICE,
    Extent,
    TensorEntry,
    check_inside,
    checked_entry,
    shown,
    slice_key,
    slice_shape,
)
from bnguard.analysis.checkpoints.table import read_table, varint
from bnguard.analysis.ir import protos
from bnguard.runtime.files import open_regular

Open = Callable[[str], BinaryIO]

_VERSION = 1  # of the format, that TensorFlow 1.0 to 2.21 write and read


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
            key: checked_entry(key, value, self._shards) for key, value in entries.items() if key
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
        start = at + CHECKSUM
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
