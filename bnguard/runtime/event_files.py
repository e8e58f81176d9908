"""TensorBoard's files of events."""

from __future__ import annotations

import os
import socket
import time
from typing import Any, Iterable, NamedTuple

from bnguard.errors import BnguardError, first_line


class Summarized(NamedTuple):
    """What TensorBoard shows of one step.

    Attributes:
      step: the position on the axis of steps.
      summary: a tf.Summary.
      time: seconds since 1970; None for now.
    """

    step: int
    summary: Any
    time: Any = None


def check_folder(logdir: str) -> None:
    """Create `logdir`, and raise before a run if events could not be written there.

    Raises:
      BnguardError: it cannot be created or written.
    """
    try:
        logdir.encode()
        os.makedirs(logdir, exist_ok=True)
        problem = None if os.access(logdir, os.W_OK) else "permission denied"
    except UnicodeEncodeError:
        problem = "TensorFlow needs paths in UTF-8"
    except OSError as error:
        problem = str(error.strerror)
    if problem is not None:
        raise BnguardError(
            f"--logdir {logdir}: cannot be written ({problem}); expected a folder, or a path "
            "at which one can be created. Give a different one."
        )


def write_events(folder: str, summaries: Iterable[Summarized]) -> None:
    """Write as `tf.summary.FileWriter` does, but without its thread, which hides errors.

    Raises:
      BnguardError: the folder or the file cannot be written.
    """
    import tensorflow.compat.v1 as tf

    now = time.time()
    name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}"
    events = [tf.Event(wall_time=now, file_version="brain.Event:2")]
    for step, summary, seconds in summaries:
        events.append(tf.Event(wall_time=seconds or now, step=step, summary=summary))
    try:
        os.makedirs(folder, exist_ok=True)
        with tf.io.TFRecordWriter(os.path.join(folder, name)) as writer:
            for event in events:
                writer.write(event.SerializeToString())
    except (OSError, tf.errors.OpError) as error:
        raise BnguardError(
            f"--logdir {folder}: cannot be written "
            f"({getattr(error, 'strerror', None) or first_line(error)}); expected a folder on a "
            "disk with free space. Give a different one."
        ) from error
