"""Read the bytes of a graph file."""

from __future__ import annotations

from bnguard.analysis import limits
from bnguard.analysis.errors import AuditError, NotAGraphError
from bnguard.runtime.files import (
    NotRegularError,
    TooLargeError,
    read_file_or_pipe,
    read_regular,
)


class FoundPath(str):
    """A path that a search found: only a regular file is read there, because a pipe may block."""


def read_bytes(path: str, may_be_pipe: bool = False) -> bytes:
    """Return the contents of a regular file or, if that is allowed, of a pipe.

    Args:
      path: of the file.
      may_be_pipe: whether to wait for the writer of a pipe, as for one that is given by name.

    Raises:
      AuditError: it cannot be read, is empty, or is larger than a protobuf message can be.
    """
    read = read_file_or_pipe if may_be_pipe else read_regular
    try:
        data = read(path, limits.FILE_BYTES)
    except NotRegularError as error:
        raise NotAGraphError(
            f"{path}: {error.what}, not a file; give a .meta file, a GraphDef or a SavedModel",
            error.what,
        ) from error
    except TooLargeError as error:
        raise AuditError(
            f"{path}: more than 2 GiB; a protobuf message cannot be as large"
        ) from error
    except (OSError, ValueError) as error:
        raise AuditError(
            f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}); "
            "give the path of a .meta file, a GraphDef or a SavedModel"
        ) from error
    if not data:
        raise AuditError(f"{path}: the file is empty; was writing it interrupted?")
    return data
