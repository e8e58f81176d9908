"""Write the running statistics of records as TensorBoard events."""

from __future__ import annotations

import os
from typing import Dict, Iterator, List, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from bnguard.harness.results.closed_form import LayerStatistics
from bnguard.harness.results.record import Record
from bnguard.runtime.event_files import Summarized, write_events
from bnguard.statistics import session_values
from bnguard.statistics.summaries import statistics_summaries

History = List[Dict[str, np.ndarray]]
"""The values after each step, in order: variable name to value."""


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
                folder = os.path.join(logdir, record.case, record.side, run)
                write_events(folder, _summarized(first, history))


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


def _summarized(first: int, history: History) -> List[Summarized]:
    """Assign each step's values to variables of the same names, and summarize them."""
    with tf.Graph().as_default() as graph, tf.Session() as session:
        for name, value in history[0].items():
            tf.get_variable(name, initializer=value, trainable=False)
        found = session_values.find(graph)
        summaries = statistics_summaries()
        steps = []
        for step, values in enumerate(history, start=first):
            session_values.write(session, found, values)
            summary = tf.Summary.FromString(session.run(summaries))
            steps.append(Summarized(step, summary))
        return steps
