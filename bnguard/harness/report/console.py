"""Records rendered: the source's lines, tables and JSON. Takes records and verdicts only."""

from __future__ import annotations

from collections import Counter
from itertools import zip_longest
import math
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from bnguard.harness.cases.catalogue import CaseFile
from bnguard.harness.claims import Verdict
from bnguard.harness.claims.narrative import short
from bnguard.harness.results.record import InferencePass, InferenceStep, Record
from bnguard.runtime.streams import printable
import numpy as np
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Column, Table

Judged = Tuple[Record, Verdict]

_NARROWEST, _WIDTH = 72, 160  # columns


class Entry(NamedTuple):
    """One case of a run of the whole catalogue.

    Attributes:
      case: the file of its buggy side, for the docstring.
      sides: both sides' records and verdicts; none where the case cannot run here.
      skipped: why it cannot; None where it can.
    """

    case: CaseFile
    sides: Sequence[Judged] = ()
    skipped: Optional[str] = None

    @property
    def verdict(self) -> str:
        """`shown` where both sides showed what they claim, else `not shown` or `skipped`."""
        if self.skipped:
            return "skipped"
        return "shown" if all(verdict.shown for _, verdict in self.sides) else "not shown"


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
        "figure": verdict.figure,
        "reasons": verdict.reasons,
        "training": {scope: _layer_json(record, scope) for scope in record.initial},
        "passes": [
            {
                "session": one.session,
                "before": one.before,
                "after": one.after,
                "drift": one.drift,
                "earlier_runs": one.earlier_runs,
                "steps": [vars(step) for step in one.steps],
                "together": one.together and vars(one.together),
            }
            for one in record.passes
        ],
        "checkpoints": record.checkpoints and vars(record.checkpoints),
        "failure": record.failure and vars(record.failure),
    }
    return _plain(document)


def entry_json(entry: Entry) -> Dict[str, Any]:
    """One case of a run of the whole catalogue as JSON."""
    return {
        "case": entry.case.name,
        "symptom": entry.case.sections["Symptom"],
        "measures": entry.sides[0][1].measures if entry.sides else None,
        "verdict": entry.verdict,
        "skipped": entry.skipped,
        **{record.side: as_json(record, verdict) for record, verdict in entry.sides},
    }


def print_comparison(sides: Sequence[Judged], difference: str) -> None:
    """Print both sides of a case in one table, a column each, then the diff of the files."""
    console = _console()
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


def print_entries(entries: Sequence[Entry]) -> None:
    """Print a run of the whole catalogue: one row for each case."""
    verdict = Column("verdict", min_width=len("not shown"))
    case = Column("case", overflow="fold")
    table = Table(case, "symptom", "figure", "repro", "fixed", verdict, show_lines=True)
    for entry in entries:
        figures = [verdict.figure for _, verdict in entry.sides] or ["", ""]
        measures = entry.skipped or entry.sides[0][1].measures
        symptom = entry.case.summary("Symptom")
        row = (entry.case.name, symptom, measures, *figures, entry.verdict)
        table.add_row(*map(printable, row))
    _console().print(table)


def print_catalogue(cases: Sequence[CaseFile]) -> None:
    """Print every case's name and symptom."""
    table = Table(Column("case", no_wrap=True), "symptom", show_lines=True)
    for case in cases:
        table.add_row(printable(case.name), printable(case.sections["Symptom"]))
    _console().print(table)


def _console() -> Console:
    """The terminal, as wide as it is or as a case's name needs; a file or a pipe is wide."""
    console = Console(markup=False, emoji=False)  # what is printed has brackets of its own
    console.width = max(console.width, _NARROWEST) if console.is_terminal else _WIDTH
    return console


def _pass_text(one: InferencePass) -> str:
    head = f"{len(one.steps)} inferences in the {one.session} session"
    return "\n\n".join([head, *(_step_text(step) for step in one.steps)])


def _step_text(step: InferenceStep) -> str:
    # NumPy's legacy spacing is what the source's print-out has.
    with np.printoptions(suppress=True, linewidth=200, precision=3, threshold=20, legacy="1.13"):
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
    for scope in sides[0].initial:
        yield [f"training runs: {scope} absorbed", *(_absorbed(one, scope) for one in sides)]
        for name in ("mean", "variance"):
            yield [f"after training: {scope}/moving_{name}", *(_now(o, scope, name) for o in sides)]
    for passes in zip_longest(*(record.passes for record in sides)):
        session = next(one.session for one in passes if one)
        for name in sorted({name for one in passes if one for name in one.drift}):
            if any(one and one.drift.get(name) for one in passes):
                yield [f"{session} session: {name}", *(_change(one, name) for one in passes)]
        yield [f"{session} session: outputs computed from", *(_reads(one) for one in passes)]
    drifts = [record.checkpoints.drift for record in sides if record.checkpoints]
    if len(drifts) == len(sides):
        moved = (", ".join(n for n, change in one.items() if change) or "nothing" for one in drifts)
        yield ["checkpoint after evaluation differs from the one before in", *moved]
    if any(record.failure for record in sides):
        yield ["error", *(_failure(record) for record in sides)]


def _absorbed(record: Record, scope: str) -> str:
    counts = Counter(run.layers[scope].absorbed for run in record.training)
    return ", ".join(f"{data}: {count}" for data, count in sorted(counts.items())) or "none ran"


def _now(record: Record, scope: str, name: str) -> str:
    if not record.training:
        return short(getattr(record.initial[scope], name))
    last = record.training[-1].layers[scope]
    return f"{short(getattr(last.statistics, name))}, due {short(getattr(last.expected, name))}"


def _reads(one: Optional[InferencePass]) -> str:
    counts = Counter(step.reads for step in one.steps) if one else Counter()
    words = {
        "before": "the statistics before the step",
        "after": "updated statistics",
        "mixed": "partly updated statistics",
        "batch": "the row's own statistics",
        "other": "neither",
    }
    return ", ".join(f"{words[reads]}: {count}" for reads, count in counts.items()) or "never ran"


def _change(one: Optional[InferencePass], name: str) -> str:
    if one is None or name not in one.drift:
        return ""
    before, after = one.before[name], one.after[name]
    if before.tobytes() == after.tobytes():
        return f"{short(before)}, bit-identical"
    return f"{short(before)} -> {short(after)}"


def _failure(record: Record) -> str:
    if record.failure is None:
        return "none"
    return f"{record.failure.phase}: {record.failure.error}: {record.failure.message}"


def _layer_json(record: Record, scope: str) -> Dict[str, Any]:
    runs = [run.layers[scope] for run in record.training]
    return {
        "runs": len(runs),
        "due": Counter(run.due for run in runs),
        "absorbed": Counter(run.absorbed for run in runs),
        "statistics": [list(run.statistics) for run in runs[-1:]],
        "expected": [list(run.expected) for run in runs[-1:]],
    }


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
