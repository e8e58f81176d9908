"""Write checkpoints whole or not at all, each run in a folder of its own."""

from __future__ import annotations

from contextlib import contextmanager
import os
from typing import Iterator

import tensorflow.compat.v1 as tf

from bnguard import checkpoint_reader
from bnguard.errors import BnguardError, first_line


def claim_folder(parent: str) -> str:
    """Create and return the first free folder `run-1`, `run-2`, ... under `parent`.

    A run never writes into the folder of an earlier run. So nothing that happens to it, not even
    a kill in the middle of a save, damages an earlier checkpoint. mkdir is atomic: two runs at
    the same time get two folders.

    Raises:
      BnguardError: `parent` cannot be created or written, or TensorFlow could not restore a
        checkpoint from a path with this name.
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


def save(session: tf.Session, saver: tf.train.Saver, prefix: str) -> str:
    """Save the variables of `session` under `prefix`, and return the prefix.

    TensorFlow writes the data and the index under temporary names and renames them, the index
    last: a checkpoint with an index is complete.

    Args:
      session: the session to save.
      saver: decides which variables are saved.
      prefix: the path of the checkpoint without an ending.

    Raises:
      BnguardError: the folder cannot be written, or its disk is full.
    """
    folder = os.path.dirname(prefix)
    with _writing_to(folder):
        return str(saver.save(session, prefix))


@contextmanager
def _writing_to(folder: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, tf.errors.OpError) as error:
        if isinstance(error, ValueError) and os.path.isdir(folder):
            raise  # a misuse of the Saver; it raises the same type when the folder is missing
        raise _unwritable(folder, error) from error


def _run_number(name: str) -> int:
    digits = name[len("run-") :]
    return int(digits) if name.startswith("run-") and digits.isdecimal() else 0


def _unwritable(folder: str, error: Exception) -> BnguardError:
    return BnguardError(
        f"{folder}: cannot save a checkpoint there ({first_line(error)}); expected a writable "
        "folder with free space. Give another with --checkpoint-dir; earlier checkpoints are "
        "untouched."
    )
