"""The tensors of a checkpoint as NumPy arrays, with every checksum verified.

TensorFlow is imported only for types that NumPy does not have, such as bfloat16.
"""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from typing import Any, BinaryIO, Dict, Iterable, List, Mapping, Sequence, Tuple

import numpy as np

from bnguard.analysis import limits
from bnguard.analysis.checkpoints.bundle import Bundle, file_size, read_range
from bnguard.analysis.checkpoints.crc32c import byte_table, crc32c, masked
from bnguard.analysis.checkpoints.entries import (
    WHOLE_AXIS,
    Extent,
    TensorEntry,
    product,
    shown,
)
from bnguard.analysis.checkpoints.first_format import FirstFormat
from bnguard.analysis.ir.protos import DATA_TYPES
from bnguard.runtime.tensorflow_import import import_tensorflow

_STRING = DATA_TYPES["DT_STRING"]
_NAMES_IN_NUMPY = {"FLOAT": "float32", "DOUBLE": "float64", "HALF": "float16"}
_IN_NUMPY = """
    BOOL COMPLEX64 COMPLEX128 DOUBLE FLOAT HALF INT8 INT16 INT32 INT64 UINT8 UINT16 UINT32 UINT64
"""
_DTYPES: Dict[int, Any] = {
    DATA_TYPES[f"DT_{name}"]: np.dtype(_NAMES_IN_NUMPY.get(name, name.lower()))
    for name in _IN_NUMPY.split()
}
_HALF = DATA_TYPES["DT_HALF"]
_ALIKE = 64  # tensors of one size, from which on their checksums are computed together
_COMPLEX = {np.dtype(np.complex64): np.float32, np.dtype(np.complex128): np.float64}


def bundle_arrays(bundle: Bundle, names: Iterable[str]) -> Dict[str, Any]:
    """Return tensors of a checkpoint by name, in the order of the names; a single text as bytes.

    Raises:
      OSError: a shard cannot be read.
      ValueError, IndexError: a tensor is damaged, or of a type that is not read; or together they
        are too large.
    """
    entries = {name: bundle.tensors[name] for name in names}
    parts = {part: name for name in entries for part in _parts(bundle, name)}
    size, first = sum(part.size for part in parts), next(iter(parts.values()), "")
    if size > limits.VALUE_BYTES:
        raise ValueError(
            f"{shown(first)}, or all that is to be read with it, has {size} bytes, "
            f"more than {limits.VALUE_BYTES}, the limit of what is read at once"
        )
    data = _verified(bundle, parts)
    arrays: Dict[str, Any] = {}
    for name, entry in entries.items():
        if entry.slices:
            whole = _Whole(name, _dtype(entry.dtype), entry.shape)
            for extents, part in bundle.pieces(name):
                whole.fill(extents, _array(bundle, name, part, data[part]))
            arrays[name] = whole.joined()
        else:
            arrays[name] = _array(bundle, name, entry, data[entry])
    return arrays


def first_format_arrays(stored: FirstFormat, names: Iterable[str]) -> Dict[str, Any]:
    """Return tensors of a checkpoint in the first format; else as `bundle_arrays`."""
    arrays: Dict[str, Any] = {}
    for name in names:
        dtype, shape = stored.tensors[name].dtype, stored.tensors[name].shape
        whole = _Whole(name, _dtype(dtype), shape)
        for extents, elements in stored.values(name):
            whole.fill(extents, _from_elements(dtype, elements))
        arrays[name] = whole.joined()
    return arrays


def check_shards(bundle: Bundle, names: Iterable[str]) -> None:
    """Check that tensors can be read: their shards are there and whole, and their texts are right.

    Numbers are not read. TensorFlow verifies their checksums when it restores them.

    Raises:
      OSError: a shard cannot be read.
      ValueError, IndexError: a tensor is outside of its shard, of a type that is not read, or a
        damaged text.
    """
    parts = {part: name for name in names for part in _parts(bundle, name)}
    for part in parts:
        _dtype(part.dtype)
    for path, in_shard in _by_shard(bundle, parts).items():
        with bundle.open_shard(path) as file:
            size = file_size(file)
            for part in in_shard:
                is_text = part.dtype == _STRING
                data = _range(path, file, size, part if is_text else _nothing_behind(part))
                if is_text:
                    _array(bundle, parts[part], part, data)


def crc32c_of_rows(rows: np.ndarray) -> np.ndarray:
    """Return the CRC-32C of each row of a matrix of bytes, as uint32."""
    table, wide_table = _tables()
    crc = np.full(len(rows), 0xFFFFFFFF, np.uint32)
    width = rows.shape[1]
    pairs = np.ascontiguousarray(rows[:, : width // 2 * 2]).view("<u2")
    for column in np.ascontiguousarray(pairs.T):
        crc = wide_table.take((crc ^ column) & np.uint32(0xFFFF)) ^ crc >> np.uint32(16)
    for column in rows[:, width // 2 * 2 :].T:
        crc = table.take((crc ^ column) & np.uint32(0xFF)) ^ crc >> np.uint32(8)
    return crc ^ np.uint32(0xFFFFFFFF)


@lru_cache(maxsize=None)
def _tables() -> Tuple[np.ndarray, np.ndarray]:
    """Return what each value of the lowest byte, and of the two lowest, becomes behind them."""
    table = np.array(byte_table(), np.uint32)
    two = np.arange(1 << 16, dtype=np.uint32)
    one = table[two & np.uint32(0xFF)] ^ two >> np.uint32(8)
    return table, table[one & np.uint32(0xFF)] ^ one >> np.uint32(8)


def _parts(bundle: Bundle, name: str) -> List[TensorEntry]:
    """Return the entries that have the bytes of a tensor."""
    entry = bundle.tensors[name]
    return [part for _, part in bundle.pieces(name)] if entry.slices else [entry]


def _by_shard(bundle: Bundle, parts: Iterable[TensorEntry]) -> Dict[str, List[TensorEntry]]:
    """Return entries by the paths of their shards, in the order of their bytes."""
    found: Dict[str, List[TensorEntry]] = defaultdict(list)
    for part in sorted(parts, key=lambda each: (each.shard, each.offset)):
        found[bundle.shard(part)].append(part)
    return found


def _nothing_behind(entry: TensorEntry) -> TensorEntry:
    """Return an entry without bytes behind another, to check that this is in the file."""
    return entry._replace(offset=entry.offset + entry.size, size=0)


def _range(path: str, file: BinaryIO, size: int, entry: TensorEntry) -> bytes:
    try:
        return read_range(file, size, entry)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _verified(bundle: Bundle, parts: Mapping[TensorEntry, str]) -> Dict[TensorEntry, bytes]:
    """Return the bytes of entries, after a check of their checksums; those of texts come later.

    Args:
      bundle: the checkpoint.
      parts: the entries, with the name of the tensor of each.
    """
    found: Dict[TensorEntry, bytes] = {}
    by_size: Dict[int, List[TensorEntry]] = defaultdict(list)
    for path, in_shard in _by_shard(bundle, parts).items():
        with bundle.open_shard(path) as file:
            size = file_size(file)
            for part in in_shard:
                found[part] = _range(path, file, size, part)
                if part.dtype != _STRING:
                    by_size[part.size].append(part)
    for size, alike in by_size.items():
        for part, crc in zip(alike, _checksums([found[part] for part in alike], size)):
            if masked(crc) != part.crc32c:
                raise ValueError(f"the checksum of {shown(parts[part])} is wrong")
    return found


def _checksums(data: Sequence[bytes], size: int) -> List[int]:
    """Return the CRC-32C of each of several data of one size."""
    if len(data) < _ALIKE or not size:
        return [crc32c(each) for each in data]
    rows = np.frombuffer(b"".join(data), np.uint8).reshape(len(data), size)
    sums: List[int] = crc32c_of_rows(rows).tolist()
    return sums


def _array(bundle: Bundle, name: str, entry: TensorEntry, data: bytes) -> Any:
    if entry.dtype == _STRING:
        texts = bundle.texts(entry, data)
        return texts[0] if entry.shape == () else np.array(texts, object).reshape(entry.shape)
    dtype = _dtype(entry.dtype)
    if bundle.is_big_endian:
        size = np.dtype(_COMPLEX.get(dtype, dtype)).itemsize
        data = np.frombuffer(data, np.uint8).reshape(-1, size)[:, ::-1].tobytes()
    if dtype == np.bool_:  # any byte but 0 is true
        return (np.frombuffer(data, np.uint8) != 0).reshape(entry.shape)
    return np.frombuffer(data, dtype).reshape(entry.shape).copy()


def _dtype(number: int) -> Any:
    """Return the NumPy type of a type of TensorFlow; TensorFlow registers those that NumPy lacks.

    Raises:
      ValueError: there is none.
    """
    if number == _STRING:
        return np.dtype(object)
    if number not in _DTYPES:
        import_tensorflow()
        import tensorflow.compat.v1 as tf

        try:
            found = np.dtype(tf.as_dtype(number).as_numpy_dtype)
        except (TypeError, ValueError, KeyError) as error:
            raise ValueError(f"the type {number} of a tensor is unknown here") from error
        if found.hasobject:
            raise ValueError(f"a tensor is of the type {number}, which contains no numbers")
        _DTYPES[number] = found
    return _DTYPES[number]


def _from_elements(dtype: int, elements: Sequence[Any]) -> Any:
    """Return the elements of a slice in the first format as an array of one axis."""
    kind = _dtype(dtype)
    if kind in _COMPLEX:
        return np.array(elements, _COMPLEX[kind]).view(kind)
    if dtype == _HALF:
        return np.array(elements, np.int64).astype(np.uint16).view(kind)
    if dtype == _STRING:
        return np.array(elements, kind)
    if kind.fields:  # a quantized integer of TensorFlow
        return np.array(elements, kind[0]).view(kind)
    try:
        return np.array(elements, np.int64 if kind.kind in "iub" else kind).astype(kind)
    except OverflowError as error:
        raise ValueError(f"a number does not fit its type, {kind}") from error


class _Whole:
    """A tensor that is filled slice by slice."""

    def __init__(self, name: str, dtype: Any, shape: Tuple[int, ...]) -> None:
        if product(shape) * dtype.itemsize > limits.VALUE_BYTES:
            raise ValueError(
                f"{shown(name)} has {product(shape)} elements, more than the limit of "
                f"{limits.VALUE_BYTES} bytes"
            )
        self._name = name
        self._value = np.zeros(shape, dtype)
        self._filled = np.zeros(shape, bool)

    def fill(self, extents: Sequence[Extent], elements: Any) -> None:
        """Put the elements of a slice in their place."""
        place = tuple(
            slice(start, None if length == WHOLE_AXIS else start + length)
            for start, length in extents
        )
        target = self._value[place]
        self._value[place] = np.reshape(elements, np.shape(target))
        self._filled[place] = True

    def joined(self) -> Any:
        """Return the tensor.

        Raises:
          ValueError: an element is in no slice.
        """
        if not self._filled.all():
            raise ValueError(f"the slices of {shown(self._name)} overlap, and leave some of it out")
        is_text = self._value.dtype == object and self._value.shape == ()
        return self._value.item() if is_text else self._value
