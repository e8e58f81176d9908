"""What a record shows, in sentences with the numbers, whatever is claimed."""

from __future__ import annotations

from collections import Counter
from typing import Dict, List

from bnguard.harness.results.record import InferencePass, Record
import numpy as np


def sentences(record: Record) -> List[str]:
    """What happened, in the order in which it did."""
    return [
        *_training(record),
        *(sentence for one in record.passes for sentence in _inference(one)),
        *_checkpoints(record),
        *_failure(record),
    ]


def short(value: np.ndarray) -> str:
    """A value to three decimals; of a long one, the ends."""
    return np.array2string(value, precision=3, suppress_small=True, threshold=8)


def _training(record: Record) -> List[str]:
    if not record.training:
        return []
    told = []
    if record.values == 1:
        told.append(
            "A training batch has one value for each channel, so its variance is 0: every step "
            "takes moving_variance closer to 0. Train on larger batches."
        )
    for scope in record.initial:
        runs = Counter(
            (run.layers[scope].absorbed, run.layers[scope].due) for run in record.training
        )
        for (absorbed, due), count in sorted(runs.items()):
            told.append(f"{scope} absorbed {absorbed} in {count} training runs; {due} was due.")
    return told


def _inference(one: InferencePass) -> List[str]:
    steps = len(one.steps)
    reads = Counter(step.reads for step in one.steps)
    late = reads["after"] + reads["mixed"]
    told = [
        f"{steps} inferences in the {one.session} session: {_changes(one.drift)}.",
        f"{late} of {steps} outputs read statistics that the same step had updated; the session "
        f"had run this fetch {one.earlier_runs} times before.",
    ]
    if reads["batch"]:
        told.append(f"{reads['batch']} of {steps} outputs normalized rows by their own statistics.")
    return told


def _checkpoints(record: Record) -> List[str]:
    if record.checkpoints is None:
        return []
    saved = record.checkpoints
    told = [f"The checkpoint saved after evaluation: {_changes(saved.drift)}."]
    if saved.holds:
        holds = (f"{name} = {short(value)}" for name, value in sorted(saved.holds.items()))
        told.append(f"That checkpoint now holds {', '.join(holds)}.")
    return told


def _failure(record: Record) -> List[str]:
    if record.failure is None:
        return []
    failure = record.failure
    return [f"Phase {failure.phase} ends in {failure.error}: {failure.message}"]


def _changes(drift: Dict[str, float]) -> str:
    moved = [f"{name} moved by {change:.6g}" for name, change in sorted(drift.items()) if change]
    return ", ".join(moved) or "every variable bit-identical"
