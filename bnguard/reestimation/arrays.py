"""The arrays of an .npz file, read batch by batch, so that memory does not grow with the data."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, NamedTuple, Tuple
import zipfile
import zlib

import numpy as np

from bnguard.errors import BnguardError
from bnguard.runtime.files import open_regular

_CHUNK = 1 << 22  # bytes that are skipped at once
_DAMAGE = (EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)


class _Member(NamedTuple):
    """An array in the file: its name, the shape of all rows, and its dtype."""

    name: str
    shape: Tuple[int, ...]
    dtype: Any


class ArrayFile:
    """The arrays of an .npz file, which have their first axis in common, that of the rows.

    Args:
      path: of the file, as `numpy.savez` or `numpy.savez_compressed` writes it. Scalars are fed to
        every batch.

    Attributes:
      path: as given.
      rows: the number of rows.
      names: the names of the arrays.

    Raises:
      BnguardError: the file cannot be read, or its arrays do not have the same number of rows.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            with open_regular(path) as file, zipfile.ZipFile(file) as archive:
                members = [self._member(archive, name) for name in archive.namelist()]
        except OSError as error:
            raise BnguardError(
                f"{path}: cannot be read ({error.strerror}); expected an .npz file."
            ) from error
        except _DAMAGE as error:
            raise BnguardError(
                f"{path}: not an .npz file of arrays of numbers, or damaged ({error}); expected "
                "what numpy.savez(FILE, PLACEHOLDER=ARRAY) writes."
            ) from error
        self._arrays = [member for member in members if member.shape]
        self._scalars = [member for member in members if not member.shape]
        self.names = sorted(member.name for member in members)
        counts = {member.name: member.shape[0] for member in self._arrays}
        if len(set(counts.values())) != 1:
            found = ", ".join(f"{name} {count}" for name, count in counts.items()) or "no array"
            raise BnguardError(
                f"{path}: expected arrays with the same number of rows, and found {found}."
            )
        self.rows = next(iter(counts.values()))

    def batches(self, size: int, first: int, end: int) -> Iterator[Dict[str, np.ndarray]]:
        """Yield some batches of the rows in order, the last one smaller if rows are left.

        Args:
          size: the number of rows of a batch.
          first: the number of the first batch.
          end: the number of the batch to end before.
        """
        with open_regular(self.path) as data, zipfile.ZipFile(data) as archive:
            fixed = {m.name: self._read(self._open(archive, m), m, 1, ()) for m in self._scalars}
            files = [self._open(archive, member) for member in self._arrays]
            for file, member in zip(files, self._arrays):
                _skip(file, min(first * size, self.rows) * _row_bytes(member))
            for start in range(first * size, min(end * size, self.rows), size):
                count = min(size, self.rows - start)
                yield {
                    **fixed,
                    **{
                        member.name: self._read(file, member, count, (count, *member.shape[1:]))
                        for file, member in zip(files, self._arrays)
                    },
                }

    def _member(self, archive: zipfile.ZipFile, filename: str) -> _Member:
        name = filename[:-4] if filename.endswith(".npy") else filename
        with archive.open(filename) as file:
            shape, is_fortran, dtype = _header(file)
        if dtype.hasobject or (is_fortran and len(shape) > 1):
            raise ValueError(f"{name} is an array of objects, or in Fortran's order")
        return _Member(name, shape, dtype)

    def _open(self, archive: zipfile.ZipFile, member: _Member) -> Any:
        names: List[str] = archive.namelist()
        file = archive.open(f"{member.name}.npy" if f"{member.name}.npy" in names else member.name)
        _header(file)
        return file

    def _read(self, file: Any, member: _Member, count: int, shape: Tuple[int, ...]) -> np.ndarray:
        wanted = count * _row_bytes(member)
        try:
            data = file.read(wanted)
        except (*_DAMAGE, OSError) as error:
            raise BnguardError(f"{self.path}: {member.name} is damaged ({error}).") from error
        if len(data) < wanted:
            raise BnguardError(f"{self.path}: {member.name} is cut off; expected all of its rows.")
        return np.frombuffer(data, member.dtype).reshape(shape)


def _header(file: Any) -> Tuple[Tuple[int, ...], bool, Any]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


def _row_bytes(member: _Member) -> int:
    return int(np.prod(member.shape[1:], dtype=np.int64)) * int(member.dtype.itemsize)


def _skip(file: Any, count: int) -> None:
    while count > 0:
        skipped = len(file.read(min(count, _CHUNK)))
        if not skipped:
            return
        count -= skipped
