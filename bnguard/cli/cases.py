"""`bnguard repro`, `fixed`, `compare` and `list`: run the cases, and list them."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Callable, Iterable, List, Optional, Sequence

import click

from bnguard.cli.options import Command, experiment_options, make_options
from bnguard.cli.types import TEXT
from bnguard.harness.cases import catalogue
from bnguard.harness.cases.docstring import SYMPTOM, Docstring
from bnguard.harness.cases.errors import BrokenCaseError, UnavailableError
from bnguard.harness.cases.symptom_search import search
from bnguard.harness.results.terms import SIDES, Comparison, Side
from bnguard.runtime import signals
from bnguard.runtime.requirements import require
from bnguard.runtime.streams import printable
from bnguard.runtime.tensorflow_import import import_tensorflow

if TYPE_CHECKING:  # these import TensorFlow and NumPy, which `bnguard list` does not need
    from bnguard.harness.cases.loading import LoadedCase
    from bnguard.harness.report.entry import Entry, Judged
    from bnguard.harness.results.record import Record
    from bnguard.harness.run.options import Options

_MANY_STEPS = 1000  # a run of so many steps shows a progress bar on a terminal


def _run_options(command: Command) -> Command:
    """Add the options that `repro`, `fixed` and `compare` share."""
    outputs = [
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document."),
        click.option(
            "--plot", type=TEXT, metavar="FILE", help="Draw the statistics to a .png or .svg."
        ),
        click.option(
            "--logdir", type=TEXT, metavar="DIR", help="Write the statistics for TensorBoard."
        ),
    ]
    for output in reversed(outputs):
        command = output(command)
    return experiment_options(command)


@click.command("repro")
@click.argument("case")
@_run_options
def repro(case: str, **options: Any) -> None:
    """Run the graph built wrong: repro/CASE.py.

    Exit status: 0 if the run shows the defect, 1 if it does not, 2 if it failed.
    """
    _run_side(case, Side.REPRO, **options)


@click.command("fixed")
@click.argument("case")
@_run_options
def fixed(case: str, **options: Any) -> None:
    """Run the graph built right: fixed/CASE.py.

    Exit status: 0 if the run shows that the defect is gone, 1 if it does not, 2 if it failed.
    """
    _run_side(case, Side.FIXED, **options)


@click.command("compare")
@click.argument("case", required=False)
@click.option("--all", "everything", is_flag=True, help="Run every case; print one row for each.")
@_run_options
def compare(case: Optional[str], everything: bool, **options: Any) -> None:
    """Run both sides of a case, and show the diff.

    Prints a table of the statistics of both sides, the diff of the two files, and the verdicts.
    Exit status: 0 if both sides show what they claim, 1 if one does not, 2 if a run failed.
    """
    if everything == (case is not None):
        raise click.UsageError("give either a CASE or --all")
    signals.set_message(signals.NOTHING_SAVED)
    if case is None:
        _compare_all(**options)
    else:
        _compare_sides(case, **options)


@click.command("list")
@click.option(
    "--symptom",
    metavar="TEXT",
    help="List what fits these words best, such as the title of a bug report.",
)
def list_cases(symptom: Optional[str]) -> None:
    """List the cases and their symptoms."""
    from bnguard.harness.report.catalogue_table import print_catalogue, print_matches

    folder = _folder()
    if symptom is None:
        names = catalogue.names(folder)
        print_catalogue([catalogue.find(name, Side.REPRO, folder) for name in names])
    else:
        print_matches(search(symptom, folder))


def _run_side(case: str, side: Side, **options: Any) -> None:
    signals.set_message(signals.NOTHING_SAVED)
    judged = _run(case, [side], **options)
    from bnguard.harness.report.json import as_json
    from bnguard.harness.report.text import as_text

    record, verdict = judged[0]
    if options["as_json"]:
        _print_json(as_json(record, verdict))
    else:
        click.echo(as_text(record, verdict))
    _draw(judged, **options)
    sys.exit(_status(judged))


def _compare_sides(case: str, **options: Any) -> None:
    judged = _run(case, SIDES, **options)
    from bnguard.harness.report.json import as_json
    from bnguard.harness.report.tables import print_comparison

    difference = catalogue.diff(case, _folder())
    if options["as_json"]:
        sides = {record.side: as_json(record, verdict) for record, verdict in judged}
        _print_json({"case": case, **sides, "diff": difference})
    else:
        print_comparison(judged, difference)
    _draw(judged, **options)
    sys.exit(_status(judged))


def _compare_all(**options: Any) -> None:
    for name in ("restore", "plot"):
        if options[name] is not None:
            raise click.UsageError(f"--{name} needs a CASE; it does not go with --all")
    entries: List[Entry] = []
    problems: List[str] = []
    try:
        for case in _tracked(catalogue.names(_folder()), "comparing all cases"):
            try:
                entries.append(_entry(case, **options))
            except BrokenCaseError as error:
                problems.append(str(error))
    finally:  # print the results so far even if, for example, the disk is full
        _print_entries(entries, problems, options["as_json"])
    for entry in entries:
        _draw(entry.sides, **options)
    shown = all(entry.comparison != Comparison.NOT_SHOWN for entry in entries)
    sys.exit(2 if problems else int(not shown))


def _entry(case: str, **options: Any) -> Entry:
    file = catalogue.find(case, Side.REPRO, _folder())
    Docstring(file).summary(SYMPTOM)  # raises before the run if the table could not show it
    _prepare()
    from bnguard.harness.report.entry import Entry

    try:
        return Entry(file, _run(case, SIDES, **options))
    except UnavailableError as unavailable:
        return Entry(file, skipped=str(unavailable))


def _print_entries(entries: Sequence[Entry], problems: Sequence[str], as_json: bool) -> None:
    if entries and as_json:
        from bnguard.harness.report.json import entry_json

        _print_json({"cases": [entry_json(entry) for entry in entries]})
    elif entries:
        from bnguard.harness.report.tables import print_entries

        print_entries(entries)
    for problem in problems:
        click.echo(f"Error: {printable(problem)}", err=True)


def _run(
    case: str, sides: Sequence[Side], plot: Optional[str], logdir: Optional[str], **values: Any
) -> List[Judged]:
    files = [catalogue.find(case, side, _folder()) for side in sides]
    options = make_options(values)
    _prepare()
    from bnguard.harness.cases.loading import load

    _check_targets(plot, logdir)
    loaded = [load(file) for file in files]
    records = [_record(each, options) for each in loaded]
    return [(record, each.case.claim.judge(record)) for record, each in zip(records, loaded)]


def _prepare() -> None:
    """Import TensorFlow quietly, before a case file imports it."""
    require(["tensorflow", "numpy", "scipy"], extra="cases")
    import_tensorflow()


def _check_targets(plot: Optional[str], logdir: Optional[str]) -> None:
    if plot is not None:
        from bnguard.harness.report import figure

        figure.check_target(plot)
    if logdir is not None:
        from bnguard.runtime import event_files

        event_files.check_folder(logdir)


def _draw(
    judged: Sequence[Judged], plot: Optional[str], logdir: Optional[str], **options: Any
) -> None:
    """Write the figure and the events, after the results have been printed."""
    records = [record for record, _ in judged]
    if plot is not None:
        from bnguard.harness.report import figure

        figure.draw(records, plot)
    if logdir is not None:
        from bnguard.harness.report import tensorboard

        tensorboard.write(records, logdir)


def _record(case: LoadedCase, options: Options) -> Record:
    from bnguard.harness.run import experiment

    return experiment.run(case, options, _progress(case), _on_saved)


def _on_saved(prefix: str) -> None:
    signals.set_message(f"the last complete checkpoint is {prefix}; --restore reads it")


def _folder() -> Optional[str]:
    """Return the group's `--cases`."""
    folder: Optional[str] = click.get_current_context().find_root().obj
    return folder


def _progress(case: LoadedCase) -> Callable[[Sequence[int]], Iterable[int]]:
    def track(steps: Sequence[int]) -> Iterable[int]:
        if len(steps) < _MANY_STEPS:
            return steps
        return _tracked(steps, f"training {case.file.label}")

    return track


def _tracked(items: Sequence[Any], description: str) -> Iterable[Any]:
    if not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, description, console=Console(stderr=True), transient=True)


def _print_json(document: Any) -> None:
    click.echo(json.dumps(document, indent=2, allow_nan=False))


def _status(judged: Sequence[Judged]) -> int:
    return 0 if all(verdict.shown for _, verdict in judged) else 1
