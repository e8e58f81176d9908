"""The events of a record in sentences with numbers, whatever the case claims."""

from __future__ import annotations

from collections import Counter
from typing import Dict, List

import numpy as np

from bnguard.harness.results.record import InferencePass, Record
from bnguard.harness.results.terms import Reads


def sentences(record: Record) -> List[str]:
    """Return the events of a run in their order."""
    return [
        *_training(record),
        *(sentence for inferred in record.passes for sentence in _inference(inferred)),
        *_checkpoints(record),
        *_failure(record),
    ]


def short(value: np.ndarray) -> str:
    """Return a value to three decimals; of a long one, its ends."""
    return np.array2string(value, precision=3, suppress_small=True, threshold=8)


def _training(record: Record) -> List[str]:
    if not record.training:
        return []
    sentences = []
    if record.values == 1:
        sentences.append(
            "A training batch has one value for each channel, so its variance is 0: every step "
            "moves moving_variance closer to 0. Train on larger batches."
        )
    for scope in record.initial:
        runs = Counter(
            (run.layers[scope].absorbed, run.layers[scope].due) for run in record.training
        )
        for (absorbed, due), count in sorted(runs.items()):
            sentences.append(
                f"{scope} absorbed {absorbed} in {count} training runs; {due} was due."
            )
    return sentences


def _inference(inferred: InferencePass) -> List[str]:
    steps = len(inferred.steps)
    reads = Counter(step.reads for step in inferred.steps)
    late = reads[Reads.AFTER] + reads[Reads.MIXED]
    sentences = [
        f"{steps} inferences in the {inferred.session} session: {_changes(inferred.drift)}.",
        f"{late} of {steps} outputs read statistics that the same step had updated; the session "
        f"had run this fetch {inferred.earlier_runs} times before.",
    ]
    if reads[Reads.BATCH]:
        sentences.append(
            f"{reads[Reads.BATCH]} of {steps} outputs normalized rows by their own statistics."
        )
    return sentences


def _checkpoints(record: Record) -> List[str]:
    if record.checkpoints is None:
        return []
    saved = record.checkpoints
    sentences = [f"The checkpoint saved after evaluation: {_changes(saved.drift)}."]
    if saved.values:
        values = (f"{name} = {short(value)}" for name, value in sorted(saved.values.items()))
        sentences.append(f"That checkpoint now has {', '.join(values)}.")
    return sentences


def _failure(record: Record) -> List[str]:
    if record.failure is None:
        return []
    failure = record.failure
    return [f"Phase {failure.phase} ends in {failure.error}: {failure.message}"]


def _changes(drift: Dict[str, float]) -> str:
    moved = [f"{name} moved by {change:.6g}" for name, change in sorted(drift.items()) if change]
    return ", ".join(moved) or "every variable bit-identical"
