"""Ask git which files it ignores."""

from __future__ import annotations

import os
from typing import Any, FrozenSet, Sequence

from bnguard.repository.errors import RepositoryError, reason

# The configuration of a repository must not start programs when its files are only looked at.
_GIT = ("git", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
_IGNORED = ("ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory")
# Set where git runs a hook; they would lead away from the folder.
_OF_A_HOOK = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR")
_TIMEOUT = 60  # seconds


def is_in_repository(folder: str) -> bool:
    """Return whether a folder or one above it contains `.git`."""
    path = os.path.realpath(folder)
    while not os.path.exists(os.path.join(path, ".git")):
        parent = os.path.dirname(path)
        if parent == path:
            return False
        path = parent
    return True


def ignored_paths(folder: str) -> FrozenSet[str]:
    """Return the normalized paths of the files and folders below a folder that git ignores.

    The contents of an ignored folder are left out. Nothing is ignored outside of a repository,
    without git, and in a folder that is ignored itself or with all its contents: a user who names
    it wants to search it.

    Raises:
      RepositoryError: git fails.
    """
    from shutil import which  # only here, as it takes time to import

    if not is_in_repository(folder) or which("git") is None:
        return frozenset()
    if _run(folder, ["check-ignore", "--quiet", "--no-index", "."]).returncode == 0:
        return frozenset()
    found = _run(folder, _IGNORED)
    if found.returncode != 0:
        lines = found.stderr.decode("utf-8", "replace").split("\n")
        raise RepositoryError(f"git fails in {folder} ({lines[0].strip()})")
    names = [os.fsdecode(name) for name in found.stdout.split(b"\0") if name]
    if "./" in names:  # all that is in the folder
        return frozenset()
    return frozenset(os.path.normpath(os.path.join(folder, name)) for name in names)


def _run(folder: str, arguments: Sequence[str]) -> Any:
    import subprocess

    environment = {name: value for name, value in os.environ.items() if name not in _OF_A_HOOK}
    environment.update(GIT_OPTIONAL_LOCKS="0", LC_ALL="C")
    try:
        return subprocess.run(
            [*_GIT, *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RepositoryError(f"git fails in {folder} ({reason(error)})") from error
