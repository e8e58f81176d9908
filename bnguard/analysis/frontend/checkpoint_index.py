"""The .index file of a checkpoint, read without TensorFlow.

The index of a V2 checkpoint is a table in LevelDB's format: blocks of sorted keys, each sharing
a prefix with the one before it, an index block that points to them, and a footer that points to
that. A value is a BundleEntryProto. TensorFlow writes the blocks uncompressed.
https://github.com/google/leveldb/blob/main/doc/table_format.md
"""

from __future__ import annotations

from typing import Iterator, NamedTuple, Tuple

from bnguard.analysis import limits

_FOOTER = 48  # bytes: two block handles, padding, and the magic number
_MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")


class Entry(NamedTuple):
    """An entry of a table, and where it is in the file.

    Attributes:
      key: its key.
      start, end: the bytes of its value.
      block: the offset of its block.
      block_size: the size of that, without its type and checksum.
    """

    key: bytes
    start: int
    end: int
    block: int
    block_size: int


def table_entries(data: bytes) -> Iterator[Tuple[bytes, bytes]]:
    """Yield the keys and values of a table.

    Raises:
      ValueError, IndexError: the table is damaged.
    """
    for entry in located_entries(data):
        yield entry.key, data[entry.start : entry.end]


def located_entries(data: bytes) -> Iterator[Entry]:
    """Yield the entries of a table.

    Raises:
      ValueError, IndexError: the table is damaged.
    """
    footer = data[-_FOOTER:]
    if len(footer) < _FOOTER or not footer.endswith(_MAGIC):
        raise ValueError("its last bytes are not those of a table")
    _, _, at = _handle(footer, 0)  # of the meta index, which TensorFlow leaves empty
    offset, size, _ = _handle(footer, at)
    bytes_left = len(data)
    for found in _block(data, offset, size):
        offset, size, _ = _handle(data[found.start : found.end], 0)
        bytes_left -= size
        if bytes_left < 0:
            raise ValueError("its blocks overlap")
        yield from _block(data, offset, size)


def _handle(data: bytes, at: int) -> Tuple[int, int, int]:
    offset, at = varint(data, at)
    size, at = varint(data, at)
    return offset, size, at


def _block(data: bytes, offset: int, size: int) -> Iterator[Entry]:
    """Yield the entries of one block."""
    block = data[offset : offset + size]
    if len(block) < size or size < 4:
        raise ValueError("a block is cut off")
    if data[offset + size] != 0:
        raise ValueError("a block is compressed; expected it as TensorFlow writes it")
    restarts = int.from_bytes(block[-4:], "little")
    end = size - 4 - 4 * restarts
    bytes_left = limits.CHECKPOINT_KEY_RATIO * size
    key, at = b"", 0
    while at < end:
        shared, at = varint(block, at)
        unshared, at = varint(block, at)
        length, at = varint(block, at)
        key = key[:shared] + block[at : at + unshared]
        at += unshared + length
        if at > end:
            raise ValueError("an entry is cut off")
        bytes_left -= len(key)
        if bytes_left < 0:
            raise ValueError(
                f"the keys of a block are more than {limits.CHECKPOINT_KEY_RATIO} times its size"
            )
        yield Entry(key, offset + at - length, offset + at, offset, size)


def varint(data: bytes, at: int) -> Tuple[int, int]:
    """Return the number that is encoded at a position, and the position after it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")
