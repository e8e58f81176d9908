"""Checkpoints written by hand: every checksum is right, and every entry may lie.

Formats: https://github.com/google/leveldb/blob/main/doc/table_format.md and
tensorflow/core/protobuf/tensor_bundle.proto. Nothing here uses the code under test.
"""

import struct

MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
FLOAT, INT32, STRING = 1, 3, 7


def crc32c(data, crc=0):
    """Return the CRC-32C, bit by bit."""
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    return crc ^ 0xFFFFFFFF


_AFTER_BYTE = [crc32c(bytes([byte]), 0xFFFFFFFF) ^ 0xFFFFFFFF for byte in range(256)]


def masked_crc(data):
    """Return the CRC-32C as LevelDB stores it: rotated, and a constant added."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _AFTER_BYTE[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(value):
    """Encode a number as protobuf and LevelDB do, in 64 bits if it is negative."""
    value &= (1 << 64) - 1
    low, high = value & 127, value >> 7
    return bytes([low | 128]) + varint(high) if high else bytes([low])


def block(entries, restarts=(0,)):
    """Entries (bytes shared with the key before, the key's others, value), and the whole keys."""
    heads = (
        (varint(shared) + varint(len(own)) + varint(len(value)), own, value)
        for shared, own, value in entries
    )
    numbers = (*restarts, len(restarts))
    return b"".join(map(b"".join, heads)) + struct.pack(f"<{len(numbers)}I", *numbers)


def trailed(content, compression=b"\0"):
    """A block and what is behind it: its compression type and its checksum."""
    sealed = content + compression
    return sealed + masked_crc(sealed).to_bytes(4, "little")


def footed(index, before=b""):
    """A table of blocks that are written, and the index block that points to them."""
    footer = varint(0) + varint(0) + varint(len(before)) + varint(len(index))
    return before + trailed(index) + footer.ljust(40, b"\0") + MAGIC


def table(content, compression=b"\0", times=1, last=b"\xff"):
    """One block, that an index points to so many times."""
    pointer = varint(0) + varint(len(content))
    return footed(block([(0, last, pointer)] * times), trailed(content, compression))


def table_of(entries, order=sorted, per_block=100):
    """A table of entries (key, value) in several blocks, each key whole."""
    entries = order(entries)
    written, pointers = b"", []
    for first in range(0, len(entries), per_block):
        part = entries[first : first + per_block]
        content = block([(0, key, value) for key, value in part], _starts(part))
        pointers.append((0, part[-1][0], varint(len(written)) + varint(len(content))))
        written += trailed(content)
    ends = [(own, value) for _, own, value in pointers]
    return footed(block(pointers, _starts(ends)), written)


def _starts(entries):
    starts, at = [], 0
    for key, value in entries:
        starts.append(at)
        at += 1 + len(varint(len(key))) + len(varint(len(value))) + len(key) + len(value)
    return starts


def field(name, value):
    """A field of a protobuf message, by its number: of an int, or of bytes."""
    if isinstance(value, int):
        return varint(name << 3) + varint(value)
    return varint(name << 3 | 2) + varint(len(value)) + value


def shape(sizes):
    """A TensorShapeProto."""
    return b"".join(field(2, field(1, size)) for size in sizes)


def extents(pairs):
    """A TensorSliceProto of (start, length); a length of None is a whole axis."""
    return b"".join(
        field(1, field(1, start) + (b"" if length is None else field(2, length)))
        for start, length in pairs
    )


def header(shards=1, endianness=0, producer=1, min_consumer=0):
    """A BundleHeaderProto."""
    version = field(1, producer) + field(2, min_consumer)
    return field(1, shards) + field(2, endianness) + field(3, version)


def entry(data=b"", sizes=(4,), dtype=FLOAT, slices=(), **lies):
    """A BundleEntryProto of a tensor with these bytes, and what is said instead of the truth."""
    said = {"shard": 0, "offset": 0, "size": len(data), "crc": masked_crc(data), **lies}
    numbers = [(1, dtype), (3, said["shard"]), (4, said["offset"]), (5, said["size"])]
    return b"".join(
        [
            *(field(name, value) for name, value in numbers),
            lies.get("shape", field(2, shape(sizes))),
            varint(6 << 3 | 5) + struct.pack("<I", said["crc"]),
            *(field(7, extents(pairs)) for pairs in slices),
        ]
    )


def text_data(texts, lengths=None):
    """The bytes of a tensor of texts, and their checksum; the lengths may lie."""
    lengths = [len(text) for text in texts] if lengths is None else lengths
    numbers = b"".join((length & 0xFFFFFFFF).to_bytes(4, "little") for length in lengths)
    behind = masked_crc(numbers).to_bytes(4, "little") + b"".join(texts)
    return b"".join(map(varint, lengths)) + behind, masked_crc(numbers + behind)


def ordered_slice_key(name, pairs):
    """The key of a slice: numbers of one byte are enough here."""
    signed = bytes(byte for pair in pairs for each in pair for byte in [0x80 ^ each & 0xFF])
    return b"\0" + name + b"\0\1" + bytes([1, len(pairs)]) + signed


def write(prefix, entries, data=b"", head=None, shards=1):
    """Write a checkpoint of entries by key, with the same bytes in each shard."""
    index = {b"": header(shards) if head is None else head, **entries}
    with open(f"{prefix}.index", "wb") as file:
        file.write(table_of(list(index.items())))
    for shard in range(shards):
        with open(f"{prefix}.data-{shard:05}-of-{shards:05}", "wb") as file:
            file.write(data)
    return str(prefix)
