"""Write the running statistics of records as TensorBoard events."""

from __future__ import annotations

import os
import socket
import time
from typing import Any, Dict, Iterator, List, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from bnguard.errors import BnguardError, first_line
from bnguard.harness.results.closed_form import LayerStatistics
from bnguard.harness.results.record import Record
from bnguard.statistics import session_values
from bnguard.statistics.summaries import statistics_summaries

History = List[Dict[str, np.ndarray]]
"""The values after each step, in order: variable name to value."""


def check_target(logdir: str) -> None:
    """Create `logdir`, and raise before the run if events could not be written there.

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


def write(records: Sequence[Record], logdir: str) -> None:
    """Write each record's training, and each of its inference passes, as a TensorBoard run.

    The run is called `CASE/SIDE/training`, or `CASE/SIDE/SESSION session` for an inference pass. It
    contains the summaries of `bnguard.statistics_summaries` for every step. Step 0 is the state
    before training, and each pass continues the steps of training.

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
    for inferred in record.passes:
        history = [
            _named({inferred.layer: LayerStatistics(step.moving_mean, step.moving_variance)})
            for step in inferred.steps
        ]
        yield f"{inferred.session} session", len(record.training) + 1, history


def _named(layers: Dict[str, LayerStatistics]) -> Dict[str, np.ndarray]:
    named = {}
    for scope, statistics in layers.items():
        named[f"{scope}/moving_mean"] = np.asarray(statistics.mean, np.float64)
        named[f"{scope}/moving_variance"] = np.asarray(statistics.variance, np.float64)
    return named


def _write(folder: str, first: int, history: History) -> None:
    """Write as `tf.summary.FileWriter` does, but without its thread, which hides errors."""
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
            f"({getattr(error, 'strerror', None) or first_line(error)}); expected a folder on a "
            "disk with free space. Give a different one."
        ) from error


def _summarized(history: History) -> List[Any]:
    """Assign each step's values to variables of the same names, and summarize them."""
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
