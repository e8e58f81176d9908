"""The names in a checkpoint, from its .index file, read without TensorFlow.

The index of a V2 checkpoint is a table in LevelDB's format: blocks of sorted keys, each sharing
a prefix with the one before it, an index block that points to them, and a footer that points to
that. A value is a BundleEntryProto. TensorFlow writes the blocks uncompressed.
https://github.com/google/leveldb/blob/main/doc/table_format.md
"""

from __future__ import annotations

from typing import Any, FrozenSet, Iterator, Set, Tuple

from bnguard.analysis import limits
from bnguard.analysis.errors import AuditError
from bnguard.analysis.ir import protos

_FOOTER = 48  # bytes: two block handles, padding, and the magic number
_MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_SLICE = b"\0"  # the first byte of the key of a slice, beside the key of the whole tensor


def stored_names(prefix: str) -> FrozenSet[str]:
    """Return the names of the variables in a checkpoint, of TensorFlow 1.x or object-based.

    Args:
      prefix: the path without `.index`, as Saver.save returns it; or the `.index` file.

    Raises:
      AuditError: there is no such checkpoint, or it is damaged.
    """
    prefix = prefix[: -len(".index")] if prefix.endswith(".index") else prefix
    path = f"{prefix}.index"
    try:
        with open(path, "rb") as file:
            entries = dict(_table(file.read()))
        names = {key.decode() for key in entries if key and not key.startswith(_SLICE)}
        if _OBJECT_GRAPH in names:
            entry = protos.message("BundleEntryProto").FromString(entries[_OBJECT_GRAPH.encode()])
            names |= _full_names(prefix, entries[b""], entry)
    except OSError as error:
        raise AuditError(
            f"{path}: cannot be read ({error.strerror}); give the prefix of a checkpoint, the "
            "path that Saver.save returned"
        ) from error
    except (IndexError, ValueError, KeyError, protos.DecodeError) as error:
        raise AuditError(f"{path}: not the index of a checkpoint, or damaged ({error})") from error
    return frozenset(names)


def _table(data: bytes) -> Iterator[Tuple[bytes, bytes]]:
    footer = data[-_FOOTER:]
    if len(footer) < _FOOTER or not footer.endswith(_MAGIC):
        raise ValueError("its last bytes are not those of a table")
    _, _, at = _handle(footer, 0)  # of the meta index, which TensorFlow leaves empty
    offset, size, _ = _handle(footer, at)
    bytes_left = len(data)
    for _, handle in _block(data, offset, size):
        offset, size, _ = _handle(handle, 0)
        bytes_left -= size
        if bytes_left < 0:
            raise ValueError("its blocks overlap")
        yield from _block(data, offset, size)


def _handle(data: bytes, at: int) -> Tuple[int, int, int]:
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return offset, size, at


def _block(data: bytes, offset: int, size: int) -> Iterator[Tuple[bytes, bytes]]:
    """Yield the keys and values of one block."""
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
        shared, at = _varint(block, at)
        unshared, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + unshared]
        at += unshared + length
        if at > end:
            raise ValueError("an entry is cut off")
        bytes_left -= len(key)
        if bytes_left < 0:
            raise ValueError(
                f"the keys of a block are more than {limits.CHECKPOINT_KEY_RATIO} times its size"
            )
        yield key, block[at - length : at]


def _varint(data: bytes, at: int) -> Tuple[int, int]:
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


def _full_names(prefix: str, header: bytes, entry: Any) -> Set[str]:
    """Return the names of the variables in an object-based checkpoint, whose keys are paths."""
    shards = protos.message("BundleHeaderProto").FromString(header).num_shards
    path = f"{prefix}.data-{entry.shard_id:05d}-of-{shards:05d}"
    if not 0 < entry.size <= limits.OBJECT_GRAPH_BYTES:
        raise ValueError(f"the object graph has {entry.size} bytes")
    with open(path, "rb") as file:
        file.seek(entry.offset)
        data = file.read(entry.size)
    length, at = _varint(data, 0)
    at += 4  # the checksum of the length
    graph = protos.message("TrackableObjectGraph").FromString(data[at : at + length])
    return {attribute.full_name for node in graph.nodes for attribute in node.attributes} - {""}
