"""What is true of every correct program, in sentences that say where a record departs from it."""

from __future__ import annotations

from typing import Callable, Dict, Iterator, List, Sequence, Tuple

from bnguard.harness.results.closed_form import NOTHING, ROUNDING
from bnguard.harness.results.record import InferencePass, InferenceStep, Record, Values
import numpy as np

Invariant = Callable[[Record], List[str]]


def failure(record: Record) -> List[str]:
    """No phase ends in an error."""
    if record.failure is None:
        return []
    return [f"It fails in phase {record.failure.phase}: {record.failure.message}"]


def training_statistics(record: Record) -> List[str]:
    """Every run of training moves the statistics by the recurrence over the data that is due."""
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
    """A layer that is to learn its data's statistics normalizes by these in training."""
    runs = [run for run in record.training if run.reads is not None]
    wrong = [run for run in runs if run.reads != _due_reads(run.layers[record.layer].due)]
    if not wrong:
        return []
    return [
        f"{len(wrong)} of {len(runs)} training runs normalized by other statistics than was due: "
        f"{wrong[0].reads}."
    ]


def idle_training(record: Record) -> List[str]:
    """Every run of training changes something."""
    idle = sum(not run.moved for run in record.training)
    if not idle:
        return []
    return [f"{idle} of {len(record.training)} training runs changed no variable."]


def moves_at_inference(record: Record) -> List[str]:
    """Inference leaves every variable bit-identical."""
    return [
        f"{name} moved by {change:.6g} in the {one.session} session's inference."
        for one in record.passes
        for name, change in sorted(one.drift.items())
        if change
    ]


def reads_at_inference(record: Record) -> List[str]:
    """Inference computes its output from the statistics that the session holds, nothing else."""
    return [
        f"{count} inferences in the {one.session} session read other statistics than it holds: "
        f"{reads}."
        for one in record.passes
        for reads, count in _reads(one).items()
        if reads != "before"
    ]


def restored_values(record: Record) -> List[str]:
    """The restored session holds what the trained one held."""
    if len(record.passes) < 2:
        return []
    trained, restored = record.passes
    return [
        f"{name} is {there} in the restored session, and was {here} in the {trained.session} one."
        for name, here, there in _pairs(trained, restored)
        if here.tobytes() != there.tobytes()
    ]


def restored_answers(record: Record) -> List[str]:
    """The restored session answers the same rows as the trained one: to the bit, or to rounding."""
    if len(record.passes) < 2:
        return []
    trained, restored = record.passes
    pairs = list(zip(trained.steps, restored.steps))
    same = _equal_but_for_rounding if restored.frozen else _identical
    different = sum(not same(here.y, there.y) for here, there in pairs)
    if not different:
        return []
    return [
        f"The {trained.session} and the {restored.session} session answer differently: "
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


def departures(record: Record, but: Sequence[Invariant] = ()) -> List[str]:
    """Every way in which the record departs from health; none for a correct program.

    Args:
      record: what a run showed.
      but: the aspects not to look at.
    """
    return [sentence for aspect in INVARIANTS if aspect not in but for sentence in aspect(record)]


def layer_variables(one: InferencePass, values: Values) -> Dict[str, np.ndarray]:
    """The variables of the layer that a pass looked at, by their names inside its scope."""
    scope = f"{one.layer}/"
    return {name[len(scope) :]: value for name, value in values.items() if name.startswith(scope)}


def _pairs(trained: InferencePass, restored: InferencePass) -> Iterator[tuple]:
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


def _reads(one: InferencePass) -> Dict[str, int]:
    steps: List[InferenceStep] = [*one.steps, *([one.together] if one.together else [])]
    counts: Dict[str, int] = {}
    for step in steps:
        counts[step.reads] = counts.get(step.reads, 0) + 1
    return counts


def _due_reads(due: str) -> str:
    return "before" if due == NOTHING else "batch"


def _tolerance(due: np.ndarray) -> float:
    return 10 * ROUNDING * max(1.0, float(np.abs(due).max()))
