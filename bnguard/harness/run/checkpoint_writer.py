"""Write checkpoints whole or not at all, each run in a folder of its own."""

from __future__ import annotations

from contextlib import contextmanager
import glob
import os
from typing import IO, Iterator, List

from bnguard import checkpoint_reader
from bnguard.errors import BnguardError, first_line
import tensorflow.compat.v1 as tf


def claim_folder(parent: str) -> str:
    """Create and return the first free folder `run-1`, `run-2`, ... under `parent`.

    A run never writes where another has written, so nothing that it does, not even being
    killed half way through a save, can damage an earlier checkpoint. mkdir is atomic: two
    runs at once get two folders.

    Raises:
      BnguardError: `parent` cannot be created or written, or a checkpoint in it not be restored.
    """
    checkpoint_reader.check_name(parent)
    try:
        os.makedirs(parent, exist_ok=True)
        number = 1 + max((_run_number(name) for name in os.listdir(parent)), default=0)
        while True:
            folder = os.path.join(parent, f"run-{number}")
            try:
                os.mkdir(folder)
                return folder
            except FileExistsError:
                number += 1
    except OSError as error:
        raise _unwritable(parent, error) from error


def save(session: tf.Session, saver: tf.train.Saver, prefix: str, latest: bool = True) -> str:
    """Save `session` under `prefix`, and return it.

    Args:
      session: what to save from.
      saver: saves.
      prefix: where to.
      latest: whether the folder's `checkpoint` file is to name this checkpoint; its graph is then
        saved beside it, as a Saver does unless told not to.

    Raises:
      BnguardError: the folder cannot be written, or is full.
    """
    with writing(os.path.dirname(prefix)):
        return saver.save(session, prefix, write_meta_graph=latest, write_state=latest)


def write(path: str, text: str) -> None:
    """Write a file that is there as a whole or not at all, whenever this process is killed.

    Raises:
      OSError: it cannot be written.
    """
    with open(path + ".tmp", "w", encoding="utf-8") as file:
        file.write(text)
        sync(file)
    os.replace(path + ".tmp", path)


def sync(file: IO) -> None:
    """Have the system put on the disk what was written to an open file."""
    file.flush()
    os.fsync(file.fileno())


def parts(prefix: str) -> List[str]:
    """The files of a checkpoint."""
    return sorted(glob.glob(glob.escape(prefix) + ".*"))


@contextmanager
def writing(folder: str) -> Iterator[None]:
    """A block that writes in a folder.

    Raises:
      BnguardError: the folder cannot be written, or is full.
    """
    try:
        yield
    except (OSError, ValueError, tf.errors.OpError) as error:
        if isinstance(error, ValueError) and os.path.isdir(folder):
            raise  # Saver's ValueError for a folder that is gone, and for misuse
        raise _unwritable(folder, error) from error


def _run_number(name: str) -> int:
    digits = name[len("run-") :]
    return int(digits) if name.startswith("run-") and digits.isdecimal() else 0


def _unwritable(folder: str, error: Exception) -> BnguardError:
    return BnguardError(
        f"{folder}: cannot save a checkpoint there ({first_line(error)}); expected a folder that "
        "can be written. Give another with --checkpoint-dir; earlier checkpoints are untouched."
    )
