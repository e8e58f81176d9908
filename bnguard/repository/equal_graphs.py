"""Find files with equal graphs, such as the `.meta` files of one training run."""

from __future__ import annotations

from collections import Counter
import os
import stat
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

from bnguard.analysis.frontend.loader import debug_info_file, graph_file
from bnguard.analysis.ir import protos


def equal_graphs(files: Sequence[str]) -> List[Tuple[str, ...]]:
    """Group the files whose graphs, and what is stored beside them, are equal.

    Equal `.meta` files may differ in the order of their bytes, as TensorFlow 1.x writes maps in any
    order; then they have one size. Files that cannot be read are equal to no others.

    Args:
      files: paths, of SavedModels those of their directories.

    Returns:
      The groups, in the order of their first files.
    """
    sizes = [_size(graph_file(file)) for file in files]
    numbers = Counter(sizes)
    groups: Dict[Any, List[str]] = {}
    canonical: Dict[bytes, bytes] = {}
    for file, size in zip(files, sizes):
        is_alone = size is None or numbers[size] == 1
        contents = None if is_alone else _contents(graph_file(file), canonical)
        groups.setdefault(contents or file, []).append(file)
    return [tuple(group) for group in groups.values()]


def _size(path: str) -> Optional[int]:
    """Return the size of a regular file that is not empty."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size or None if stat.S_ISREG(status.st_mode) else None


def _contents(path: str, canonical: Dict[bytes, bytes]) -> Optional[Tuple[bytes, ...]]:
    """Return digests of a graph file and of its debug information; None if it cannot be read.

    Args:
      path: the path of the file.
      canonical: the digest of each MetaGraphDef in one order, by the digest of its bytes.
    """
    try:
        digests = [_digest(data) for data in _parts(path)]
    except OSError:
        return None
    if path.endswith(".meta"):
        if digests[0] not in canonical:
            canonical[digests[0]] = _canonical_digest(path) or digests[0]
        digests[0] = canonical[digests[0]]
    return tuple(digests)


def _parts(path: str) -> Iterable[bytes]:
    for part in (path, debug_info_file(path)):
        if part == path or os.path.isfile(part):
            with open(part, "rb") as file:
                yield file.read()


def _digest(data: bytes) -> bytes:
    from hashlib import sha256  # only where files have one size, as it takes time to import

    return sha256(data).digest()


def _canonical_digest(path: str) -> Optional[bytes]:
    """Return the digest of a MetaGraphDef whose maps are sorted; None if it is none."""
    try:
        with open(path, "rb") as file:
            message = protos.parse("MetaGraphDef", file.read())
        return _digest(message.SerializeToString(deterministic=True))
    except (OSError, protos.DecodeError, ValueError):
        return None
