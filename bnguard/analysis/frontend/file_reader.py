"""Read the bytes of a graph file."""

from __future__ import annotations

import os
import stat
from typing import BinaryIO

from bnguard.analysis import limits
from bnguard.analysis.errors import AuditError

_PIECE = 1 << 20  # bytes read at once from what does not tell its size


def read_bytes(path: str) -> bytes:
    """Return the contents of a regular file or a pipe.

    Raises:
      AuditError: it cannot be read, is empty, or is larger than a protobuf message can be.
    """
    try:
        mode = os.stat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            raise AuditError(f"{path}: not a file; give a .meta file, a GraphDef or a SavedModel")
        with open(path, "rb") as file:
            data = _contents(file)
    except (OSError, ValueError) as error:
        raise AuditError(
            f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}); "
            "give the path of a .meta file, a GraphDef or a SavedModel"
        ) from error
    if not data:
        raise AuditError(f"{path}: the file is empty; was writing it interrupted?")
    if len(data) > limits.FILE_BYTES:
        raise AuditError(f"{path}: more than 2 GiB; a protobuf message cannot be as large")
    return data


def _contents(file: BinaryIO) -> bytes:
    """Return all of a file, or more than the limit, using no more memory than there is to read."""
    size = os.fstat(file.fileno()).st_size  # 0 for a pipe
    parts = [file.read(min(size, limits.FILE_BYTES) + 1)]
    count = len(parts[0])
    while parts[-1] and size < count <= limits.FILE_BYTES:
        parts.append(file.read(_PIECE))
        count += len(parts[-1])
    return b"".join(parts)
