"""Open what is read: a regular file of at most a given size, so that nothing blocks or grows.

Opening a named pipe waits for a writer, and a device such as /dev/zero never ends. So what is no
regular file is not opened: even without waiting, that would disturb the writer of a pipe. Where
something else takes its place meanwhile, it is opened without waiting, and refused then.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO

_PIECE = 1 << 20  # bytes read at once from what does not tell its size
_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_AT_ONCE = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


class NotRegularError(OSError):
    """What is to be read is not a regular file; `strerror` says what it is.

    Attributes:
      what: what it is, with its article.
    """

    def __init__(self, path: str, what: str) -> None:
        super().__init__(errno.EINVAL, f"it is {what}, not a regular file", path)
        self.what = what


class TooLargeError(OSError):
    """A file is larger than what is read of its kind; `strerror` says the limit."""

    def __init__(self, path: str, most: int) -> None:
        super().__init__(errno.EFBIG, f"it has more than {int(most)} bytes, the limit", path)


def open_regular(path: str) -> BinaryIO:
    """Open a regular file to read its bytes, without waiting for anything.

    Raises:
      NotRegularError: it is a directory, a pipe, a device or a socket.
      OSError: it cannot be opened.
    """
    _check(path, os.stat(path).st_mode, may_be_pipe=False)
    return _opened(path, _FLAGS | _AT_ONCE, may_be_pipe=False)


def read_regular(path: str, most: int) -> bytes:
    """Return the contents of a regular file.

    Args:
      path: of the file.
      most: the largest size in bytes.

    Raises:
      NotRegularError: it is no regular file.
      TooLargeError: it is larger.
      OSError: it cannot be read.
    """
    with open_regular(path) as file:
        return _contents(file, path, most)


def read_file_or_pipe(path: str, most: int) -> bytes:
    """Return the contents of a regular file, or of a pipe, waiting for its writer.

    Args:
      path: of the file or pipe.
      most: the largest size in bytes.

    Raises:
      NotRegularError: it is neither.
      TooLargeError: it is larger.
      OSError: it cannot be read.
    """
    mode = os.stat(path).st_mode
    _check(path, mode, may_be_pipe=True)
    is_pipe = stat.S_ISFIFO(mode)
    with _opened(path, _FLAGS if is_pipe else _FLAGS | _AT_ONCE, may_be_pipe=is_pipe) as file:
        return _contents(file, path, most)


def _check(path: str, mode: int, may_be_pipe: bool) -> None:
    if not (stat.S_ISREG(mode) or (may_be_pipe and stat.S_ISFIFO(mode))):
        raise NotRegularError(path, _kind(mode))


def _opened(path: str, flags: int, may_be_pipe: bool) -> BinaryIO:
    descriptor = os.open(path, flags)
    try:
        _check(path, os.fstat(descriptor).st_mode, may_be_pipe)
        return open(descriptor, "rb")  # the caller closes it
    except BaseException:
        os.close(descriptor)
        raise


def _kind(mode: int) -> str:
    return next((what for is_kind, what in _KINDS if is_kind(mode)), "something else")


def _contents(file: BinaryIO, path: str, most: int) -> bytes:
    """Return all of a file, using no more memory than there is to read."""
    size = os.fstat(file.fileno()).st_size  # 0 for a pipe
    parts = [file.read(min(size, most) + 1)]
    count = len(parts[0])
    while parts[-1] and size < count <= most:
        parts.append(file.read(_PIECE))
        count += len(parts[-1])
    if count > most:
        raise TooLargeError(path, most)
    return b"".join(parts)
