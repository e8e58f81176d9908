"""A file in a folder that is nested more deeply than Python's functions may call each other."""

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
