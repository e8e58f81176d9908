"""A checkpoint on disk, read without TensorFlow: its names, and the values of small tensors."""

from __future__ import annotations

from contextlib import contextmanager
from functools import lru_cache
import os
import re
import stat
from typing import Any, Dict, FrozenSet, Iterator, List, Mapping, Optional

from bnguard.analysis import limits
from bnguard.analysis.errors import AuditError
from bnguard.analysis.frontend.checkpoint_index import table_entries, varint
from bnguard.analysis.frontend.file_kinds import pointer_at
from bnguard.analysis.ir import protos
from bnguard.analysis.ir.tensor_values import Scalar, unpack

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_SLICE = b"\0"  # the first byte of the key of a slice, beside the key of the whole tensor
_ENDING = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})\Z")
_CASTAGNOLI = 0x82F63B78  # the polynomial of CRC-32C, its bits reversed


class StoredCheckpoint:
    """A checkpoint, of TensorFlow 1.x or object-based.

    Attributes:
      prefix: its path, without `.index`.
      names: the names of its tensors and, if it is object-based, of its variables.
    """

    def __init__(self, prefix: str, entries: Mapping[bytes, bytes]) -> None:
        self.prefix = prefix
        self._entries = entries
        self._header = protos.message("BundleHeaderProto").FromString(entries[b""])
        keys = [key for key in entries if key and not key.startswith(_SLICE)]
        # The key of each name, None for a name that several variables have.
        self._keys: Dict[str, Optional[bytes]] = {key.decode(): key for key in keys}
        if _OBJECT_GRAPH in self._keys:
            self._add_objects()
        self.names: FrozenSet[str] = frozenset(self._keys)

    def value(self, name: str) -> Optional[Scalar]:
        """Return the value that every element of a tensor has.

        It is None if nothing has this name, if the elements differ or are not numbers, if there are
        too many, or if the file with the data is missing.

        Raises:
          AuditError: the tensor, or the file with its data, is damaged.
        """
        elements = self._elements(name)
        return elements[0] if elements and elements.count(elements[0]) == len(elements) else None

    def smallest(self, name: str) -> Optional[float]:
        """Return the smallest element of a tensor; None, and an error, as for `value`."""
        elements = self._elements(name)
        numbers = [float(element) for element in elements or () if not isinstance(element, bytes)]
        return min(numbers, default=None)

    def _elements(self, name: str) -> Optional[List[Scalar]]:
        key = self._keys.get(name)
        if key is None or key not in self._entries:
            return None
        with _damage_reported(f"{self.prefix}.index"):
            entry = self._entry(key)
        if entry.slices or self._header.endianness or not 0 < entry.size <= limits.STORED_BYTES:
            return None
        path = self._shard(entry)
        if not os.path.exists(path):
            return None
        with _damage_reported(path):
            data = _read(path, entry)
            elements = unpack(data, entry.dtype, len(data))
            if elements is not None and checksum(data) != entry.crc32c:
                raise ValueError(f"the checksum of {name} is wrong")
        return elements

    def _entry(self, key: bytes) -> Any:
        return protos.message("BundleEntryProto").FromString(self._entries[key])

    def _shard(self, entry: Any) -> str:
        return f"{self.prefix}.data-{entry.shard_id:05d}-of-{self._header.num_shards:05d}"

    def _add_objects(self) -> None:
        """Add the names of the variables of an object-based checkpoint, whose keys are paths."""
        entry = self._entry(_OBJECT_GRAPH.encode())
        if not 0 < entry.size <= limits.OBJECT_GRAPH_BYTES:
            raise ValueError(f"the object graph has {entry.size} bytes")
        data = _read(self._shard(entry), entry)
        length, at = varint(data, 0)
        at += 4  # the checksum of the length
        graph = protos.message("TrackableObjectGraph").FromString(data[at : at + length])
        named: Dict[str, Optional[bytes]] = {}
        for node in graph.nodes:
            for attribute in node.attributes:
                key, name = attribute.checkpoint_key.encode(), attribute.full_name
                named[name] = key if named.get(name, key) == key else None
        named.pop("", None)
        self._keys = {**named, **self._keys}


def read_checkpoint(prefix: str) -> StoredCheckpoint:
    """Return the checkpoint with this prefix; tensors are read when their values are asked for.

    Args:
      prefix: the path without `.index`, as Saver.save returns it; or one of its files.

    Raises:
      AuditError: there is no such checkpoint, or it is damaged.
    """
    prefix = stored_prefix(prefix)
    path = f"{prefix}.index"
    with _damage_reported(path):
        return StoredCheckpoint(prefix, dict(table_entries(_regular_file(path))))


def stored_prefix(path: str) -> str:
    """Return the prefix of a checkpoint, given that or one of its files."""
    return _ENDING.sub("", path)


@contextmanager
def _damage_reported(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AuditError(
            f"{path}: cannot be read ({error.strerror}); give the prefix of a checkpoint, the "
            "path that Saver.save returned"
        ) from error
    except (IndexError, ValueError, KeyError, protos.DecodeError) as error:
        raise AuditError(f"{path}: not a file of a checkpoint, or damaged ({error})") from error


def _regular_file(path: str, offset: int = 0, size: int = -1) -> bytes:
    """Return the contents of a file, or `size` bytes of them."""
    pointer = pointer_at(path)
    if pointer is not None:
        raise AuditError(f"{path}: {pointer.what}, not a file of a checkpoint; {pointer.advice}")
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("it is no regular file")
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(size)


def _read(path: str, entry: Any) -> bytes:
    data = _regular_file(path, entry.offset, entry.size)
    if len(data) < entry.size:
        raise ValueError("it is cut off")
    return data


def checksum(data: bytes) -> int:
    """Return the masked CRC-32C of some bytes, as LevelDB and TensorFlow store it."""
    table, crc = _crc_table(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@lru_cache(maxsize=None)
def _crc_table() -> List[int]:
    table = list(range(256))
    for _ in range(8):
        table = [crc >> 1 ^ (_CASTAGNOLI if crc & 1 else 0) for crc in table]
    return table
