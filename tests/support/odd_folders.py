"""Folders that are nested more deeply than Python's functions, or that nobody may list."""

from contextlib import contextmanager
import os
import subprocess

DEPTH = 1100


@contextmanager
def moved_deep(path):
    """Move a file of the current folder to a depth of DEPTH folders; yield its new path.

    The folders are removed at the end: pytest's own removal is recursive.
    """
    here, name = os.getcwd(), os.path.basename(path)
    try:
        for _ in range(DEPTH):
            os.mkdir("d")
            os.chdir("d")
        os.rename(os.path.join(here, name), name)
        os.chdir(here)
        yield os.path.join(*["d"] * DEPTH, name)
    finally:
        os.chdir(here)
        subprocess.run(["rm", "-r", "d"], check=True)


def refuse_to_list(name, monkeypatch):
    """Let the folders of this name be none that this process may list, even as root."""
    scandir = os.scandir

    def refuse(path):
        if os.path.basename(path) == name:
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
