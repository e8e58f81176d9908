"""Match paths with patterns, such as `models/*.meta`, `third_party/` and `**/old/*.pb`.

A pattern without a slash, except at its end, matches a file or folder of that name anywhere; any
other begins at the folder that it is relative to. `*`, `?` and `[abc]` match within one name, and
`**` matches any number of folders. A pattern that matches a folder matches all that is in it.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
import os
from typing import Sequence


def matches(pattern: str, path: str, root: str) -> bool:
    """Return whether a pattern matches a path.

    Args:
      pattern: the pattern.
      path: absolute, or relative to the current folder.
      root: the folder that the pattern is relative to.
    """
    parts = os.path.relpath(path, root).split(os.sep)
    pattern = pattern[2:] if pattern.startswith("./") else pattern
    names = pattern.strip("/").split("/")
    is_anchored = "/" in pattern.rstrip("/")
    return _match(names if is_anchored else ["**", *names], parts)


def _match(names: Sequence[str], parts: Sequence[str]) -> bool:
    """Return whether the names of a pattern match the first parts of a path."""
    if not names:
        return True
    if names[0] == "**":
        return any(_match(names[1:], parts[start:]) for start in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], names[0]) and _match(names[1:], parts[1:])
