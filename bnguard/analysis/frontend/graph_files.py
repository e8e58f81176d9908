"""Which files under a path hold graphs, by their names."""

from __future__ import annotations

import os
from typing import Iterator, List

from bnguard.analysis.frontend.file_reader import FoundPath
from bnguard.analysis.frontend.loader import SAVED_MODEL_FILES

_ENDINGS = (".meta", ".pb", ".pbtxt")


def graph_files(path: str) -> List[str]:
    """Return the graph files under a directory, sorted; or `path` itself.

    A SavedModel counts as one file, and is not searched. A directory without any graph is returned
    itself, so that reading it says what is wrong.
    """
    if not os.path.isdir(path) or _is_saved_model(path):
        return [path]
    return sorted(map(FoundPath, _search(path))) or [path]


def _search(folder: str) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        if _is_saved_model(parent):
            folders.clear()
            yield parent
        else:
            yield from (os.path.join(parent, name) for name in names if name.endswith(_ENDINGS))


def _is_saved_model(folder: str) -> bool:
    return any(os.path.exists(os.path.join(folder, name)) for name in SAVED_MODEL_FILES)
