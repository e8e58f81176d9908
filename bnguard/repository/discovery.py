"""Find the graph files that paths on a command line stand for."""

from __future__ import annotations

from dataclasses import dataclass
import os
from typing import Callable, List, Set, Tuple

from bnguard.analysis.frontend.file_reader import FoundPath
from bnguard.analysis.frontend.graph_files import is_searched, search, unreadable
from bnguard.analysis.frontend.loader import graph_file
from bnguard.repository.errors import RepositoryError
from bnguard.repository.git import ignored_paths


@dataclass(frozen=True)
class Found:
    """What a path stands for.

    Attributes:
      path: the path as given.
      is_searched: whether it is a directory to search; otherwise it is a graph file itself.
      files: the graph files, sorted; SavedModels by their directories.
      excluded: the number of files that are excluded, not counting those in excluded folders.
      excluded_folders: the number of folders that are excluded, not counting those in such.
      ignored: whether files or folders were left out because git ignores them.
      errors: a line for each folder that cannot be read.
      remarks: lines about what was searched, or was not, against expectation.
    """

    path: str
    is_searched: bool
    files: Tuple[str, ...]
    excluded: int = 0
    excluded_folders: int = 0
    ignored: bool = False
    errors: Tuple[str, ...] = ()
    remarks: Tuple[str, ...] = ()


def find(path: str, is_excluded: Callable[[str], bool]) -> Found:
    """Return what a path stands for: itself, or the graph files in a directory.

    In a directory, what git ignores is left out, and folders of version control, virtual
    environments and caches.

    Args:
      path: the path of a file, a SavedModel or a directory.
      is_excluded: whether the user excludes a path, given or found.
    """
    if not is_searched(path):
        files = () if is_excluded(graph_file(path)) else (path,)
        return Found(path, False, files, excluded=1 - len(files))
    return _Search(path, is_excluded).found()


class _Search:
    def __init__(self, path: str, is_excluded: Callable[[str], bool]) -> None:
        self._path = path
        self._is_excluded = is_excluded
        self._ignored: Set[str] = set()
        self._excluded = 0
        self._excluded_folders = 0
        self._has_ignored = False
        self._errors: List[str] = []
        self._remarks: List[str] = []

    def found(self) -> Found:
        self._ask_git(self._path)
        everything = search(self._path, self._leaves_out, self._add_error)
        files = [
            FoundPath(os.path.normpath(path))
            for path in everything
            if not self._is_left_out_model(path)
        ]
        return Found(
            self._path,
            True,
            tuple(sorted(files)),
            self._excluded,
            self._excluded_folders,
            self._has_ignored,
            tuple(self._errors),
            tuple(self._remarks),
        )

    def _leaves_out(self, path: str) -> bool:
        if os.path.normpath(path) in self._ignored:
            self._has_ignored = True
            return True
        if self._is_excluded(path):
            if os.path.isdir(path):
                self._excluded_folders += 1
            else:
                self._excluded += 1
            return True
        if os.path.exists(os.path.join(path, ".git")):  # a repository in this one
            self._ask_git(path)
        return False

    def _is_left_out_model(self, path: str) -> bool:
        """Return whether a found path is a SavedModel whose file is excluded or ignored."""
        file = graph_file(path)
        return file != path and self._leaves_out(file)

    def _ask_git(self, folder: str) -> None:
        try:
            self._ignored |= ignored_paths(folder)
        except RepositoryError as error:
            self._remarks.append(f"{error}, so files that it ignores are audited, too")

    def _add_error(self, folder: str, error: OSError) -> None:
        self._errors.append(str(unreadable(folder, error)))
