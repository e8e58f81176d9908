"""Tables for the terminal: both sides of a case, and a run of the whole catalogue."""

from __future__ import annotations

from collections import Counter
from itertools import zip_longest
from typing import Iterator, List, Optional, Sequence

from rich.syntax import Syntax
from rich.table import Column, Table

from bnguard.harness.cases.docstring import SYMPTOM, Docstring
from bnguard.harness.report.entry import Entry, Judged
from bnguard.harness.report.terminal import console
from bnguard.harness.report.text import build_text, outcome_text
from bnguard.harness.results.narrative import short
from bnguard.harness.results.record import InferencePass, Record
from bnguard.harness.results.terms import Comparison, Reads
from bnguard.runtime.streams import printable

_NO_LAYER = "no such layer"
_READS = {
    Reads.BEFORE: "the statistics before the step",
    Reads.AFTER: "updated statistics",
    Reads.MIXED: "partly updated statistics",
    Reads.BATCH: "the row's own statistics",
    Reads.OTHER: "neither",
}


def print_comparison(sides: Sequence[Judged], difference: str) -> None:
    """Print both sides of a case in one table, then the diff of the files and the verdicts.

    The reasons of a verdict are printed only if its side did not show what it claims.
    """
    out = console()
    first = sides[0][0]
    table = Table("", title=f"{first.case} on TensorFlow {first.tensorflow}, {build_text(first)}")
    for record, verdict in sides:
        table.add_column(f"{record.side}/{record.case}.py\n{verdict.word}")
    for row in _comparison_rows([record for record, _ in sides]):
        table.add_row(*row)
    out.print(table)
    if out.is_terminal:
        out.print(Syntax(difference, "diff", background_color="default"))
    else:
        out.out(difference, highlight=False, end="")
    for record, verdict in sides:
        reasons = () if verdict.shown else verdict.reasons
        head = f"{record.side}/{record.case}.py: {outcome_text(verdict)}."
        out.print("\n".join([head, *reasons]), highlight=False)


def print_entries(entries: Sequence[Entry]) -> None:
    """Print a run of the whole catalogue, one case in each row."""
    verdict_column = Column("verdict", min_width=len(Comparison.NOT_SHOWN))
    case_column = Column("case", overflow="fold")
    table = Table(
        case_column, "symptom", "figure", "repro", "fixed", verdict_column, show_lines=True
    )
    for entry in entries:
        figures = [verdict.figure for _, verdict in entry.sides] or ["", ""]
        measures = entry.skipped or entry.sides[0][1].measures
        symptom = Docstring(entry.file).summary(SYMPTOM)
        row = (entry.file.name, symptom, measures, *figures, str(entry.comparison))
        table.add_row(*map(printable, row))
    console().print(table)


def _comparison_rows(sides: Sequence[Record]) -> Iterator[List[str]]:
    for scope in dict.fromkeys(scope for side in sides for scope in side.initial):
        yield [f"training runs: {scope} absorbed", *(_absorbed(side, scope) for side in sides)]
        for name in ("mean", "variance"):
            values = (_trained(side, scope, name) for side in sides)
            yield [f"after training: {scope}/moving_{name}", *values]
    for passes in zip_longest(*(record.passes for record in sides)):
        yield from _pass_rows(passes)
    drifts = [record.checkpoints.drift for record in sides if record.checkpoints]
    if len(drifts) == len(sides):
        changed = ([name for name, change in drift.items() if change] for drift in drifts)
        yield [
            "checkpoint after evaluation differs from the one before in",
            *(", ".join(names) or "nothing" for names in changed),
        ]
    if any(record.failure for record in sides):
        yield ["error", *(_failure(record) for record in sides)]


def _pass_rows(passes: Sequence[Optional[InferencePass]]) -> Iterator[List[str]]:
    ran = [inferred for inferred in passes if inferred]
    session = ran[0].session
    for name in sorted({name for inferred in ran for name in inferred.drift}):
        if any(inferred.drift.get(name) for inferred in ran):
            yield [f"{session} session: {name}", *(_change(pass_, name) for pass_ in passes)]
    yield [f"{session} session: outputs computed from", *map(_reads, passes)]


def _absorbed(record: Record, scope: str) -> str:
    if scope not in record.initial:
        return _NO_LAYER
    counts = Counter(run.layers[scope].absorbed for run in record.training)
    return ", ".join(f"{data}: {count}" for data, count in sorted(counts.items())) or "none ran"


def _trained(record: Record, scope: str, name: str) -> str:
    if scope not in record.initial:
        return _NO_LAYER
    if not record.training:
        return short(getattr(record.initial[scope], name))
    last = record.training[-1].layers[scope]
    return f"{short(getattr(last.statistics, name))}, due {short(getattr(last.expected, name))}"


def _reads(inferred: Optional[InferencePass]) -> str:
    counts = Counter(step.reads for step in inferred.steps) if inferred else Counter()
    return ", ".join(f"{_READS[reads]}: {count}" for reads, count in counts.items()) or "never ran"


def _change(inferred: Optional[InferencePass], name: str) -> str:
    if inferred is None or name not in inferred.drift:
        return ""
    before, after = inferred.before[name], inferred.after[name]
    if before.tobytes() == after.tobytes():
        return f"{short(before)}, bit-identical"
    return f"{short(before)} -> {short(after)}"


def _failure(record: Record) -> str:
    if record.failure is None:
        return "none"
    return f"{record.failure.phase}: {record.failure.error}: {record.failure.message}"
