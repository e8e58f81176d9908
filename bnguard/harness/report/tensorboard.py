"""Write the running statistics of records as events that TensorBoard opens."""

from __future__ import annotations

import os
import socket
import time
from typing import Any, Dict, Iterator, List, Sequence, Tuple

from bnguard.errors import BnguardError, first_line
from bnguard.harness.results.closed_form import LayerStatistics
from bnguard.harness.results.record import Record
from bnguard.statistics import session_values, statistics_summaries
import numpy as np
import tensorflow.compat.v1 as tf

History = List[Dict[str, np.ndarray]]
"""One step after the other: variable name to value."""


def check_target(logdir: str) -> None:
    """Fail early where events could not be written below `logdir`, which is created.

    Raises:
      BnguardError: it cannot be created or written.
    """
    try:
        logdir.encode()
        os.makedirs(logdir, exist_ok=True)
        problem = None if os.access(logdir, os.W_OK) else "permission denied"
    except UnicodeEncodeError:
        problem = "TensorFlow wants names in UTF-8"
    except OSError as error:
        problem = str(error.strerror)
    if problem is not None:
        raise BnguardError(
            f"--logdir {logdir}: cannot be written ({problem}); expected a folder, or where one "
            "can be made. Give another."
        )


def write(records: Sequence[Record], logdir: str) -> None:
    """Write each record's training and inference passes, a TensorBoard run each.

    A run is `CASE/SIDE/training`, or `CASE/SIDE/SESSION session` for an inference pass. It holds
    what `bnguard.statistics_summaries` makes, step by step. Training has step 0 before it, and
    each pass goes on from where training ended.

    Raises:
      BnguardError: the events cannot be written.
    """
    for record in records:
        for run, first, history in _runs(record):
            if history:
                _write(os.path.join(logdir, record.case, record.side, run), first, history)


def _runs(record: Record) -> Iterator[Tuple[str, int, History]]:
    trained = [
        {scope: run.layers[scope].statistics for scope in run.layers} for run in record.training
    ]
    steps = [record.initial, *trained] if record.initial else []
    yield "training", 0, [_named(layers) for layers in steps]
    for one in record.passes:
        inferred = [
            _named({one.layer: LayerStatistics(step.moving_mean, step.moving_variance)})
            for step in one.steps
        ]
        yield f"{one.session} session", len(record.training) + 1, inferred


def _named(layers: Dict[str, LayerStatistics]) -> Dict[str, np.ndarray]:
    named = {}
    for scope, statistics in layers.items():
        named[f"{scope}/moving_mean"] = np.asarray(statistics.mean, np.float64)
        named[f"{scope}/moving_variance"] = np.asarray(statistics.variance, np.float64)
    return named


def _write(folder: str, first: int, history: History) -> None:
    """Write as `tf.summary.FileWriter` does, but not in a thread, which would keep its errors."""
    now = time.time()
    path = os.path.join(folder, f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}")
    events = [tf.Event(wall_time=now, file_version="brain.Event:2")]
    for step, summary in enumerate(_summarized(history), start=first):
        events.append(tf.Event(wall_time=now, step=step, summary=summary))
    try:
        os.makedirs(folder, exist_ok=True)
        with tf.io.TFRecordWriter(path) as writer:
            for event in events:
                writer.write(event.SerializeToString())
    except (OSError, tf.errors.OpError) as error:
        raise BnguardError(
            f"--logdir {folder}: cannot be written "
            f"({getattr(error, 'strerror', None) or first_line(error)}); expected a folder that "
            "can be made, with room in it. Give another."
        ) from error


def _summarized(history: History) -> List[Any]:
    """Play the history back on variables of the same names, and summarize each step."""
    with tf.Graph().as_default() as graph, tf.Session() as session:
        for name, value in history[0].items():
            tf.get_variable(name, initializer=value, trainable=False)
        found = session_values.find(graph)
        summaries = statistics_summaries()
        steps = []
        for values in history:
            session_values.write(session, found, values)
            steps.append(tf.Summary.FromString(session.run(summaries)))
        return steps
