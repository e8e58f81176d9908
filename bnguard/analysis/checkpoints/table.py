"""A table in LevelDB's format: the .index file of a checkpoint, or a whole one of the V1 format.

A table has blocks of sorted keys, each sharing a prefix with the one before it, an index block that
points to them, and a footer that points to that. Each block has a checksum. TensorFlow writes the
blocks uncompressed, and looks keys up by binary search, so the order is checked, too.
https://github.com/google/leveldb/blob/main/doc/table_format.md
"""

from __future__ import annotations

import struct
from typing import Dict, Iterator, List, NamedTuple, Tuple

from bnguard.analysis import limits
from bnguard.analysis.checkpoints.crc32c import checksum

BLOCK_TRAILER = 5
"""The bytes behind a block: the compression type, and a checksum."""

_FOOTER = 48  # bytes: two block handles, padding, and the magic number
_MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")


class Located(NamedTuple):
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


def read_table(data: bytes) -> Dict[bytes, bytes]:
    """Return the values of a table by key, in the order of the keys.

    Raises:
      ValueError, IndexError: the table is damaged.
    """
    return {entry.key: data[entry.start : entry.end] for entry in located_entries(data)}


def located_entries(data: bytes) -> Iterator[Located]:
    """Yield the entries of a table, in the order of their keys.

    Raises:
      ValueError, IndexError: the table is damaged.
    """
    footer = data[-_FOOTER:]
    if len(footer) < _FOOTER or not footer.endswith(_MAGIC):
        raise ValueError("its last bytes are not those of a table")
    _, _, at = _handle(footer, 0)  # of the meta index, which TensorFlow leaves empty
    offset, size, _ = _handle(footer, at)
    count = key_bytes = block_end = 0
    before = None  # the last key so far, and then that of the index block, which follows it
    for found in _block(data, offset, size):
        offset, size, _ = _handle(data[found.start : found.end], 0)
        if offset < block_end:
            raise ValueError("its blocks overlap, or are not in order")
        block_end = offset + size + BLOCK_TRAILER
        for entry in _block(data, offset, size):
            if before is not None and entry.key <= before:
                raise ValueError("its keys are not in order, or one is there twice")
            before = entry.key
            count += 1
            key_bytes += len(before)
            _check_sizes(count, key_bytes)
            yield entry
        if before is not None and found.key < before:
            raise ValueError("the key of a block is lower than one in it")
        before = found.key


def _check_sizes(count: int, key_bytes: int) -> None:
    if count > limits.CHECKPOINT_ENTRIES:
        raise ValueError(f"it has more than {limits.CHECKPOINT_ENTRIES} entries, the limit")
    if key_bytes > limits.CHECKPOINT_KEY_BYTES:
        raise ValueError(f"its keys have more than {limits.CHECKPOINT_KEY_BYTES} bytes, the limit")


def _handle(data: bytes, at: int) -> Tuple[int, int, int]:
    offset, at = varint(data, at)
    size, at = varint(data, at)
    return offset, size, at


def _block(data: bytes, offset: int, size: int) -> Iterator[Located]:
    """Yield the entries of one block, after a check of its checksum."""
    block = data[offset : offset + size]
    trailer = data[offset + size : offset + size + BLOCK_TRAILER]
    if size < 4 or len(block) < size or len(trailer) < BLOCK_TRAILER:
        raise ValueError("a block is cut off")
    if checksum(block + trailer[:1]) != int.from_bytes(trailer[1:], "little"):
        raise ValueError("the checksum of a block is wrong")
    if trailer[0] != 0:
        raise ValueError("a block is compressed; expected it as TensorFlow writes it")
    end, restarts = _restarts(block)
    whole_keys = set()  # where entries are that share nothing with the one before
    bytes_left = limits.CHECKPOINT_KEY_RATIO * size
    key, at = b"", 0
    while at < end:
        start = at
        if block[at] < 128 and block[at + 1] < 128 and block[at + 2] < 128:
            shared, unshared, length = block[at : at + 3]
            at += 3
        else:
            shared, at = varint(block, at)
            unshared, at = varint(block, at)
            length, at = varint(block, at)
        if shared > len(key):
            raise ValueError("a key shares more with the one before than that has")
        if not shared:
            whole_keys.add(start)
        key = key[:shared] + block[at : at + unshared]
        at += unshared + length
        if at > end:
            raise ValueError("an entry is cut off")
        bytes_left -= len(key)
        if bytes_left < 0:
            raise ValueError(
                f"the keys of a block are more than {limits.CHECKPOINT_KEY_RATIO} times its size"
            )
        yield Located(key, offset + at - length, offset + at, offset, size)
    if end and not whole_keys.issuperset(restarts):
        raise ValueError("a block lies about where its whole keys are")


def _restarts(block: bytes) -> Tuple[int, List[int]]:
    """Return where the entries of a block end, and where it says that whole keys are."""
    count = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 - 4 * count
    if end < 0:
        raise ValueError("a block is cut off")
    restarts = list(struct.unpack_from(f"<{count}I", block, end))
    if end and (restarts[:1] != [0] or sorted(set(restarts)) != restarts):
        raise ValueError("a block lies about where its whole keys are")
    return end, restarts


def varint(data: bytes, at: int) -> Tuple[int, int]:
    """Return the number that is encoded at a position, and the position after it.

    Raises:
      ValueError, IndexError: it has more than 64 bits, or is cut off.
    """
    value = data[at]
    at += 1
    if value < 128:
        return value, at
    value &= 127
    shift = 7
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            if value >> 64:
                raise ValueError("a number is too long")
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")
