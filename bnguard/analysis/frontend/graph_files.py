"""Which files under a folder hold graphs, by their names."""

from __future__ import annotations

import os
from typing import Callable, Iterator, List

from bnguard.analysis.errors import AuditError
from bnguard.analysis.frontend.file_reader import FoundPath
from bnguard.analysis.frontend.loader import SAVED_MODEL_FILES, graph_file

_ENDINGS = (".meta", ".pb", ".pbtxt")
# Of version control, package managers and caches.
_NOT_SEARCHED = frozenset(
    [
        *(".git", ".hg", ".svn", ".bzr", ".venv", "node_modules", "site-packages", "__pycache__"),
        *(".cache", ".eggs", ".tox", ".nox", ".mypy_cache", ".pytest_cache", ".ruff_cache"),
        *(".hypothesis", ".ipynb_checkpoints"),
    ]
)
_MARKS_OF_ENVIRONMENTS = ("pyvenv.cfg", "conda-meta")


def graph_files(path: str) -> List[str]:
    """Return the graph files under a directory, sorted; or `path` itself.

    A SavedModel counts as one file, and is not searched. A directory without any graph is returned
    itself, so that reading it says what is wrong.

    Raises:
      AuditError: a directory cannot be read.
    """

    def fail(folder: str, error: OSError) -> None:
        raise unreadable(folder, error) from error

    if not is_searched(path):
        return [path]
    return sorted(map(FoundPath, search(path, lambda path: False, fail))) or [path]


def is_searched(path: str) -> bool:
    """Return whether a path is a directory to search for graphs, and not a SavedModel."""
    return os.path.isdir(path) and not _is_saved_model(path)


def search(
    folder: str,
    leaves_out: Callable[[str], bool],
    on_error: Callable[[str, OSError], None],
) -> Iterator[str]:
    """Yield the graph files below a folder, and the folders of SavedModels, in no order.

    Links to folders are not followed. Folders of version control, virtual environments and caches
    are not searched.

    Args:
      folder: the folder.
      leaves_out: whether a file or a folder is not searched, by its path.
      on_error: called for each folder that cannot be read.
    """
    folders = [folder]  # not recursive, as folders may be nested very deeply
    while folders:
        parent = folders.pop()
        try:
            with os.scandir(parent) as found:
                entries = list(found)
        except OSError as error:
            on_error(parent, error)
            continue
        names = {entry.name for entry in entries}
        if not names.isdisjoint(SAVED_MODEL_FILES) and _is_saved_model(parent):
            yield parent
            continue
        if parent != folder and not names.isdisjoint(_MARKS_OF_ENVIRONMENTS):
            continue
        for entry in entries:
            if _is_dir(entry):
                is_to_search = entry.name not in _NOT_SEARCHED and not entry.is_symlink()
                if is_to_search and not leaves_out(entry.path):
                    folders.append(entry.path)
            elif entry.name.endswith(_ENDINGS) and not leaves_out(entry.path):
                yield entry.path


def unreadable(folder: str, error: OSError) -> AuditError:
    """Return the error of a folder that cannot be searched."""
    return AuditError(
        f"{folder}: cannot be searched ({error.strerror}); make it readable, or exclude it"
    )


def _is_saved_model(folder: str) -> bool:
    return graph_file(folder) != folder


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # as of a circle of links
        return False
