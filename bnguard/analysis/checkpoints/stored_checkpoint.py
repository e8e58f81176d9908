"""A checkpoint on disk, for the analysis: its names, and the values of small tensors."""

from __future__ import annotations

from contextlib import contextmanager
import os
import re
from typing import Dict, FrozenSet, Iterator, List, Optional

from bnguard.analysis import limits
from bnguard.analysis.checkpoints.bundle import Bundle
from bnguard.analysis.checkpoints.crc32c import checksum
from bnguard.analysis.checkpoints.entries import TensorEntry, shown
from bnguard.analysis.errors import AuditError
from bnguard.analysis.frontend.file_kinds import pointer_at
from bnguard.analysis.ir import protos
from bnguard.analysis.ir.tensor_values import Scalar, unpack
from bnguard.runtime.files import read_regular

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
"""The name of the tensor that describes the objects of an object-based checkpoint."""

_ENDING = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})\Z")


class StoredCheckpoint:
    """A checkpoint, of TensorFlow 1.x or object-based.

    Attributes:
      prefix: its path, without `.index`.
      names: the names of its tensors and, if it is object-based, of its variables.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.prefix = bundle.prefix
        self._bundle = bundle
        # The tensor of each name, None for a name that several variables have.
        self._keys: Dict[str, Optional[str]] = {name: name for name in bundle.tensors}
        if OBJECT_GRAPH in bundle.tensors:
            self._keys = {**_variable_keys(bundle), **self._keys}
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
        entry = self._bundle.tensors.get(self._keys.get(name) or "")
        if entry is None or entry.slices or self._bundle.is_big_endian:
            return None
        path = self._bundle.shard(entry)
        if not 0 < entry.size <= limits.STORED_BYTES or not os.path.exists(path):
            return None
        with _damage_reported(path):
            _check_no_pointer(path)
            data = self._bundle.read(entry)
            elements = unpack(data, entry.dtype, len(data))
            if elements is not None and checksum(data) != entry.crc32c:
                raise ValueError(f"the checksum of {shown(name)} is wrong")
        return elements


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
        _check_no_pointer(path)
        return StoredCheckpoint(Bundle(prefix, read_regular(path, limits.INDEX_BYTES)))


def stored_prefix(path: str) -> str:
    """Return the prefix of a checkpoint, given that or one of its files."""
    return _ENDING.sub("", path)


def object_graph_entry(bundle: Bundle) -> TensorEntry:
    """Return the entry of the tensor that describes the objects of an object-based checkpoint.

    Raises:
      ValueError: it is not one text, or too long.
    """
    entry = bundle.tensors[OBJECT_GRAPH]
    if entry.dtype != protos.DATA_TYPES["DT_STRING"] or entry.shape or entry.slices:
        raise ValueError(f"{OBJECT_GRAPH} is not one text")
    if entry.size > limits.OBJECT_GRAPH_BYTES:
        raise ValueError(
            f"the object graph has {entry.size} bytes, more than {limits.OBJECT_GRAPH_BYTES}, "
            "the limit"
        )
    return entry


def _variable_keys(bundle: Bundle) -> Dict[str, Optional[str]]:
    """Return the tensor of each variable of an object-based checkpoint, whose keys are paths."""
    entry = object_graph_entry(bundle)
    (text,) = bundle.texts(entry, bundle.read(entry))
    named: Dict[str, Optional[str]] = {}
    for node in protos.parse("TrackableObjectGraph", text).nodes:
        for attribute in node.attributes:
            key, name = attribute.checkpoint_key, attribute.full_name
            named[name] = key if named.get(name, key) == key else None
    named.pop("", None)
    return named


@contextmanager
def _damage_reported(path: str) -> Iterator[None]:
    try:
        yield
    except AuditError:
        raise
    except OSError as error:
        raise AuditError(
            f"{path}: cannot be read ({error.strerror}); give the prefix of a checkpoint, the "
            "path that Saver.save returned"
        ) from error
    except (IndexError, ValueError, KeyError, protos.DecodeError) as error:
        raise AuditError(f"{path}: not a file of a checkpoint, or damaged ({error})") from error


def _check_no_pointer(path: str) -> None:
    pointer = pointer_at(path)
    if pointer is not None:
        raise AuditError(f"{path}: {pointer.what}, not a file of a checkpoint; {pointer.advice}")
