"""CRC-32C, the checksum of LevelDB and of checkpoints, in Python.

The package google-crc32c is a C extension: it has wheels for some platforms and some versions of
Python from 3.7 to 3.13, and installing it elsewhere takes a compiler. The wheel of bnguard is pure
Python, and an audit needs only click, protobuf, rich and snowballstemmer. So the checksum is
computed from a table, which is enough: an index has some kilobytes to a few megabytes.

Long data are folded first. A CRC is linear, so the first half of the data can be replaced by what
it contributes behind the second half, and added to that. The contribution of four bytes depends
only on the distance, so `bytes.translate` computes it for all of them at the speed of C.
"""

from __future__ import annotations

from functools import lru_cache
from typing import List, Sequence, Tuple

_CASTAGNOLI = 0x82F63B78  # the polynomial, its bits reversed
_FOLDED_FROM = 1 << 9  # bytes; below that, the plain loop is as fast


def masked(crc: int) -> int:
    """Return a checksum as LevelDB and TensorFlow store it in files."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def checksum(data: bytes) -> int:
    """Return the masked CRC-32C of some bytes."""
    return masked(crc32c(data))


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of some bytes."""
    crc = 0xFFFFFFFF
    if len(data) >= _FOLDED_FROM:
        start = int.from_bytes(data[:4], "little") ^ crc  # the register starts with ones
        data, crc = _folded(start.to_bytes(4, "little") + data[4:]), 0
    table = byte_table()
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


@lru_cache(maxsize=None)
def byte_table() -> List[int]:
    """Return what each value of the lowest byte of the register becomes in one step."""
    table = list(range(256))
    for _ in range(8):
        table = [crc >> 1 ^ (_CASTAGNOLI if crc & 1 else 0) for crc in table]
    return table


def _folded(data: bytes) -> bytes:
    """Return shorter data with the same remainder, if the register starts with zeros."""
    size = 1 << (len(data) - 1).bit_length()
    data = bytes(size - len(data)) + data
    while size >= _FOLDED_FROM:
        size //= 2
        data = _halved(data, size)
    return data


def _halved(data: bytes, half: int) -> bytes:
    """Add what the first half of the data contributes behind the second half to that."""
    tables = _distance_tables(half)
    sources = [data[byte:half:4] for byte in range(4)]
    sum_of_both = bytearray(half)
    for target in range(4):
        total = int.from_bytes(data[half + target :: 4], "little")
        for source, table in zip(sources, tables):
            total ^= int.from_bytes(source.translate(table[target]), "little")
        sum_of_both[target::4] = total.to_bytes(half // 4, "little")
    return bytes(sum_of_both)


@lru_cache(maxsize=None)
def _distance_tables(distance: int) -> Sequence[Sequence[bytes]]:
    """Return, for each byte of a register, what it adds to each byte after so many zero bytes."""
    columns = _after_zeros(distance)
    tables = []
    for byte in range(4):
        registers = [0]
        for bit in range(8):
            registers += [register ^ columns[8 * byte + bit] for register in registers]
        tables.append([bytes(r >> 8 * target & 255 for r in registers) for target in range(4)])
    return tables


@lru_cache(maxsize=None)
def _after_zeros(count: int) -> Tuple[int, ...]:
    """Return what each bit of the register becomes after `count` zero bytes, a power of two."""
    if count == 1:
        table = byte_table()
        return tuple(table[1 << bit & 255] ^ (1 << bit) >> 8 for bit in range(32))
    half = _after_zeros(count // 2)
    return tuple(_applied(half, column) for column in half)


def _applied(columns: Sequence[int], register: int) -> int:
    result = 0
    for bit, column in enumerate(columns):
        if register >> bit & 1:
            result ^= column
    return result
