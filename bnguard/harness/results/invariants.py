"""The invariants of every correct graph, each with sentences on how a record violates it."""

from __future__ import annotations

from typing import Callable, Dict, Iterator, List, Sequence, Tuple

import numpy as np

from bnguard.harness.results.closed_form import NOTHING, ROUNDING
from bnguard.harness.results.record import InferencePass, InferenceStep, Record, Values
from bnguard.harness.results.terms import Reads

Invariant = Callable[[Record], List[str]]


def failure(record: Record) -> List[str]:
    """Check that no phase ends in an error."""
    if record.failure is None:
        return []
    return [f"It fails in phase {record.failure.phase}: {record.failure.message}"]


def training_statistics(record: Record) -> List[str]:
    """Check that every training run moves the statistics by the recurrence over the due data."""
    sentences = []
    for scope in record.initial if record.training else ():
        runs = [run.layers[scope] for run in record.training]
        wrong = [number for number, run in enumerate(runs, 1) if run.absorbed != run.due]
        if wrong:
            run = runs[wrong[0] - 1]
            sentences.append(
                f"{len(wrong)} of {len(runs)} training runs moved {scope} by other data than was "
                f"due: run {wrong[0]} absorbed {run.absorbed}, and {run.due} was due."
            )
        for name, now, due in zip(
            ("moving_mean", "moving_variance"), runs[-1].statistics, runs[-1].expected
        ):
            if not np.allclose(now, due, rtol=1e-5, atol=_tolerance(due)):
                sentences.append(f"{scope}/{name} is {now} after training; {due} is due.")
    return sentences


def training_outputs(record: Record) -> List[str]:
    """Check that a layer whose statistics have to move normalizes by its batch in training."""
    runs = [run for run in record.training if run.reads is not None]
    wrong = [run for run in runs if run.reads != due_reads(run.layers[record.layer].due)]
    if not wrong:
        return []
    return [
        f"{len(wrong)} of {len(runs)} training runs normalized by other statistics than was due: "
        f"{wrong[0].reads}."
    ]


def idle_training(record: Record) -> List[str]:
    """Check that every training run changes a variable."""
    idle = sum(not run.moved for run in record.training)
    if not idle:
        return []
    return [f"{idle} of {len(record.training)} training runs changed no variable."]


def moves_at_inference(record: Record) -> List[str]:
    """Check that inference leaves every variable bit-identical."""
    return [
        f"{name} moved by {change:.6g} in the {inferred.session} session's inference."
        for inferred in record.passes
        for name, change in sorted(inferred.drift.items())
        if change
    ]


def reads_at_inference(record: Record) -> List[str]:
    """Check that inference computes its output from the session's statistics alone."""
    return [
        f"{count} inferences in the {inferred.session} session read other statistics than the "
        f"session's: {reads}."
        for inferred in record.passes
        for reads, count in _reads(inferred).items()
        if reads != Reads.BEFORE
    ]


def restored_values(record: Record) -> List[str]:
    """Check that the restored session has the values of the trained one."""
    if len(record.passes) < 2:
        return []
    trained, restored = record.passes
    return [
        f"{name} is {there} in the restored session, and was {here} in the {trained.session} one."
        for name, here, there in _pairs(trained, restored)
        if here.tobytes() != there.tobytes()
    ]


def restored_answers(record: Record) -> List[str]:
    """Check that both sessions give the same outputs, to the bit or, if frozen, to rounding."""
    if len(record.passes) < 2:
        return []
    trained, restored = record.passes
    pairs = list(zip(trained.steps, restored.steps))
    same = _equal_but_for_rounding if restored.frozen else _identical
    different = sum(not same(here.y, there.y) for here, there in pairs)
    if not different:
        return []
    return [
        f"The {trained.session} and the {restored.session} session give different outputs: "
        f"{different} of {len(pairs)} rows."
    ]


INVARIANTS: Tuple[Invariant, ...] = (
    failure,
    training_statistics,
    training_outputs,
    idle_training,
    moves_at_inference,
    reads_at_inference,
    restored_values,
    restored_answers,
)


def violations(record: Record, but: Sequence[Invariant] = ()) -> List[str]:
    """Return a sentence for each violation of an invariant; none for a correct graph.

    Args:
      record: the record of a run.
      but: the invariants not to check.
    """
    checked = [invariant for invariant in INVARIANTS if invariant not in but]
    return [sentence for invariant in checked for sentence in invariant(record)]


def due_reads(due: str) -> Reads:
    """Return what a layer has to normalize by in a training run in which this data is due."""
    return Reads.BEFORE if due == NOTHING else Reads.BATCH


def layer_variables(inferred: InferencePass, values: Values) -> Dict[str, np.ndarray]:
    """Return the variables of the layer that a pass observed, by their names in its scope."""
    scope = f"{inferred.layer}/"
    return {name[len(scope) :]: value for name, value in values.items() if name.startswith(scope)}


def _pairs(
    trained: InferencePass, restored: InferencePass
) -> Iterator[Tuple[str, np.ndarray, np.ndarray]]:
    for name, here in trained.before.items():
        if name in restored.before:
            yield name, here, restored.before[name]
    if trained.layer != restored.layer:
        there = layer_variables(restored, restored.before)
        for name, here in layer_variables(trained, trained.before).items():
            yield f"{restored.layer}/{name}", here, there[name]


def _identical(here: np.ndarray, there: np.ndarray) -> bool:
    return here.tobytes() == there.tobytes()


def _equal_but_for_rounding(here: np.ndarray, there: np.ndarray) -> bool:
    return np.allclose(here, there, rtol=1e-5, atol=1e-5)


def _reads(inferred: InferencePass) -> Dict[Reads, int]:
    steps: List[InferenceStep] = list(inferred.steps)
    if inferred.together:
        steps.append(inferred.together)
    counts: Dict[Reads, int] = {}
    for step in steps:
        counts[step.reads] = counts.get(step.reads, 0) + 1
    return counts


def _tolerance(due: np.ndarray) -> float:
    return 10 * ROUNDING * max(1.0, float(np.abs(due).max()))
