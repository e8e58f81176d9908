"""Records rendered: the source's lines, tables and JSON. Takes records and verdicts only."""

from __future__ import annotations

import math
from typing import Any, Dict, Iterator, List, Sequence, Tuple

from bnguard.harness.catalogue import CaseFile
from bnguard.harness.claims import Verdict
from bnguard.harness.record import Pass, Record, Step
import numpy as np
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table

Judged = Tuple[Record, Verdict]


def as_text(record: Record, verdict: Verdict) -> str:
    """The source's lines for every step of every pass, then the verdict in plain words."""
    blocks = [_pass_text(one) for one in record.passes]
    if record.checkpoints:
        blocks.append(
            f"Saved after training:   {record.checkpoints.before}\n"
            f"Saved after evaluation: {record.checkpoints.after}"
        )
    blocks.append(_verdict_text(record, verdict))
    return "\n\n".join(blocks)


def as_json(record: Record, verdict: Verdict) -> Dict[str, Any]:
    """The record and its verdict as one JSON document; non-finite numbers become strings."""
    document = {
        "case": record.case,
        "side": record.side,
        "tensorflow": record.tensorflow,
        "variables": record.variables,
        "control_flow": record.control_flow,
        "fused": record.fused,
        "verdict": verdict.word,
        "shown": verdict.shown,
        "reasons": verdict.reasons,
        "passes": [
            {
                "session": one.session,
                "before": one.before,
                "after": one.after,
                "drift": one.drift,
                "steps": [vars(step) for step in one.steps],
            }
            for one in record.passes
        ],
        "checkpoints": record.checkpoints and vars(record.checkpoints),
    }
    return _plain(document)


def print_comparison(sides: Sequence[Judged], difference: str) -> None:
    """Print both sides of a case in one table, a column each, then the diff of the files."""
    console = Console()
    first = sides[0][0]
    table = Table("", title=f"{first.case} on TensorFlow {first.tensorflow}, {_how(first)}")
    for record, verdict in sides:
        table.add_column(f"{record.side}/{record.case}.py\n{verdict.word}")
    for row in _comparison_rows([record for record, _ in sides]):
        table.add_row(*row)
    console.print(table)
    console.print(Syntax(difference, "diff", background_color="default"))
    for record, verdict in sides:
        console.print(_verdict_text(record, verdict), highlight=False, markup=False)


def print_catalogue(cases: Sequence[CaseFile]) -> None:
    """Print every case's name and symptom."""
    table = Table("case", "symptom", show_lines=True)
    for case in cases:
        table.add_row(case.name, case.sections["Symptom"])
    Console().print(table)


def _pass_text(one: Pass) -> str:
    head = f"{len(one.steps)} inferences in the {one.session} session, is_training=False"
    return "\n\n".join([head, *(_step_text(step) for step in one.steps)])


def _step_text(step: Step) -> str:
    # NumPy's legacy spacing is what the source's print-out has.
    with np.printoptions(suppress=True, linewidth=200, precision=3, legacy="1.13"):
        return (
            f"x = {step.x}, y = {step.y}, check = {step.check}, reads = {step.reads}\n"
            f"BN Params: Beta {step.beta} Gamma {step.gamma} "
            f"mean {step.moving_mean} var{step.moving_variance}"
        )


def _verdict_text(record: Record, verdict: Verdict) -> str:
    shown = "as this side claims" if verdict.shown else "which is not what this side claims"
    head = f"{record.side}/{record.case}.py on TensorFlow {record.tensorflow}, {_how(record)}"
    return "\n".join([f"{head}: {verdict.word}, {shown}.", *verdict.reasons])


def _how(record: Record) -> str:
    return f"{record.variables} variables, control flow {record.control_flow}, fused={record.fused}"


def _comparison_rows(sides: Sequence[Record]) -> Iterator[List[str]]:
    for passes in zip(*(record.passes for record in sides)):
        where = f"{passes[0].session} session"
        for name in passes[0].drift:
            if any(one.drift[name] for one in passes):
                changes = (_change(one.before[name], one.after[name]) for one in passes)
                yield [f"{where}: {name}", *changes]
        late = (f"{_late(one)} of {len(one.steps)}" for one in passes)
        yield [f"{where}: outputs computed from updated statistics", *late]
    drifts = [record.checkpoints.drift for record in sides if record.checkpoints]
    if drifts:
        moved = (", ".join(n for n, change in one.items() if change) or "nothing" for one in drifts)
        yield ["checkpoint after evaluation differs from the one before in", *moved]


def _late(one: Pass) -> int:
    return sum(step.reads != "before" for step in one.steps)


def _change(before: np.ndarray, after: np.ndarray) -> str:
    if before.tobytes() == after.tobytes():
        return f"{_short(before)}, bit-identical"
    return f"{_short(before)} -> {_short(after)}"


def _short(value: np.ndarray) -> str:
    return np.array2string(value, precision=3, suppress_small=True, threshold=8)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
