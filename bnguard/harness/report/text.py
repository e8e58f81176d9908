"""A record as text: the source's lines for every step, then the verdict in words."""

from __future__ import annotations

import numpy as np

from bnguard.harness.claims import Verdict
from bnguard.harness.results.record import InferencePass, InferenceStep, Record


def as_text(record: Record, verdict: Verdict) -> str:
    """Return the source's lines for every step of every pass, then the verdict."""
    blocks = [_pass_text(inferred) for inferred in record.passes]
    if record.checkpoints:
        blocks.append(
            f"Saved after training:   {record.checkpoints.before}\n"
            f"Saved after evaluation: {record.checkpoints.after}"
        )
    blocks.append(verdict_text(record, verdict))
    return "\n\n".join(blocks)


def verdict_text(record: Record, verdict: Verdict) -> str:
    """Return the verdict and its reasons, one sentence a line."""
    head = f"{record.side}/{record.case}.py on TensorFlow {record.tensorflow}, {build_text(record)}"
    return "\n".join([f"{head}: {outcome_text(verdict)}.", *verdict.reasons])


def outcome_text(verdict: Verdict) -> str:
    """Return the word of the verdict, and whether the side claims it."""
    claim = "as this side claims" if verdict.shown else "which is not what this side claims"
    return f"{verdict.word}, {claim}"


def build_text(record: Record) -> str:
    """Return the options that the graph was built with."""
    return f"{record.variables} variables, control flow {record.control_flow}, fused={record.fused}"


def _pass_text(inferred: InferencePass) -> str:
    head = f"{len(inferred.steps)} inferences in the {inferred.session} session"
    return "\n\n".join([head, *(_step_text(step) for step in inferred.steps)])


def _step_text(step: InferenceStep) -> str:
    # The source's print-out has NumPy's legacy spacing.
    with np.printoptions(suppress=True, linewidth=200, precision=3, threshold=20, legacy="1.13"):
        return (
            f"x = {step.x}, y = {step.y}, check = {step.check}, reads = {step.reads}\n"
            f"BN Params: Beta {step.beta} Gamma {step.gamma} "
            f"mean {step.moving_mean} var{step.moving_variance}"
        )
