"""The commands `bnguard audit` and `bnguard explain`: parse, call, render, exit code.

Exit status: 0 when nothing is found, 1 when something is, 2 when something cannot be read, or
for bad usage.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Iterable, Iterator, List, Optional, Sequence, Tuple, Union

from bnguard.analysis.dataflow.constant_folding import StaticValue
from bnguard.analysis.errors import AuditError, about
from bnguard.analysis.examination import AuditOptions, examine
from bnguard.analysis.findings import Report
from bnguard.analysis.formatters import FORMATS, render
from bnguard.analysis.frontend.loader import SAVED_MODEL_FILES
from bnguard.analysis.rules import RULES, page
from bnguard.runtime import signals
from bnguard.runtime.streams import Mistake, printable, takes_color
import click

Outcome = Union[List[Report], str]  # or why there is none

_ENDINGS = (".meta", ".pb", ".pbtxt")


@click.command("audit")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "--fetch", "fetches", metavar="NAME", multiple=True, help="What an inference step fetches."
)
@click.option(
    "--feed",
    "feeds",
    metavar="NAME[=VALUE]",
    multiple=True,
    help="What is fed: a bool, number or text; any value if none is given. Say all or nothing.",
)
@click.option("--train-op", metavar="NAME", multiple=True, help="What a training step runs.")
@click.option("--tags", metavar="TAG,...", help="Of a SavedModel, the graph with these tags.")
@click.option("--signature", metavar="KEY", help="Of a SavedModel, only this signature.")
@click.option("--checkpoint", metavar="PREFIX", help="A checkpoint to compare with.")
@click.option("--select", metavar="CODE,...", multiple=True, help="Only these rules.")
@click.option("--ignore", metavar="CODE,...", multiple=True, help="Not these rules.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True)
@click.option("--jobs", type=click.IntRange(min=1), default=1, help="How many files at once.")
def audit_command(
    paths: Sequence[str], feeds: Sequence[str], form: str, jobs: int, **options: Any
) -> None:
    """Say which ops move the running statistics at inference, and what else is wrong with them.

    PATH is a .meta file, a GraphDef, a SavedModel, or a directory that is searched for these.
    What no option says is found in the graph, and the first line of a report tells what was.
    TensorFlow is not needed.
    """
    audit_options = _question(feeds, **options)
    outcomes = list(_examine_all(list(_files(paths)), audit_options, jobs))
    reports = [report for outcome in outcomes if isinstance(outcome, list) for report in outcome]
    if reports:
        click.echo(render(reports, form, takes_color(sys.stdout)))
    problems = [outcome for outcome in outcomes if isinstance(outcome, str)]
    for problem in problems:
        click.echo(f"Error: {printable(problem)}", err=True)
    found = any(report.findings for report in reports)
    sys.exit(2 if problems else int(found))


@click.command("explain")
@click.argument("code", required=False)
def explain_command(code: Optional[str]) -> None:
    """Print what a rule says, by its code or name; without one, list the rules."""
    if code is None:
        for rule in RULES:
            click.echo(f"{rule.code}  {rule.name}")
        return
    for rule in RULES:
        if code.lower() in (rule.code.lower(), rule.name):
            click.echo(page(rule), nl=False)
            return
    known = ", ".join(rule.code for rule in RULES)
    raise Mistake(f"no rule is called {code!r}; the rules are {known}")


def _question(
    feeds: Sequence[str],
    fetches: Tuple[str, ...],
    train_op: Tuple[str, ...],
    tags: Optional[str],
    signature: Optional[str],
    checkpoint: Optional[str],
    select: Sequence[str],
    ignore: Sequence[str],
) -> AuditOptions:
    return AuditOptions(
        fetches,
        dict(map(_feed, feeds)) or None,
        train_op,
        None if tags is None else tuple(filter(None, tags.split(","))),
        signature,
        checkpoint,
        tuple(code for codes in select for code in codes.split(",")),
        tuple(code for codes in ignore for code in codes.split(",")),
    )


def _feed(text: str) -> Tuple[str, StaticValue]:
    name, has_value, value = text.partition("=")
    return name, _value(value) if has_value else None


def _value(text: str) -> StaticValue:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text.encode()


def _files(paths: Sequence[str]) -> Iterator[str]:
    """The graph files to look at; what is no directory is taken as it is."""
    for path in paths:
        if not os.path.isdir(path) or _is_saved_model(path):
            yield path
            continue
        found = sorted(_search(path))
        # A directory without any is left to the reader, which says so.
        yield from found or [path]


def _search(folder: str) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        if _is_saved_model(parent):
            folders.clear()
            yield parent
        else:
            yield from (os.path.join(parent, name) for name in names if name.endswith(_ENDINGS))


def _is_saved_model(folder: str) -> bool:
    return any(os.path.exists(os.path.join(folder, name)) for name in SAVED_MODEL_FILES)


def _examine_all(files: Sequence[str], audit_options: AuditOptions, jobs: int) -> Iterable[Outcome]:
    if jobs == 1 or len(files) == 1:
        return (_examine(path, audit_options) for path in files)
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import Pipe

    ends = Pipe(duplex=False)
    workers = min(jobs, len(files))
    try:
        with ProcessPoolExecutor(workers, None, signals.in_worker, ends) as pool:
            return list(pool.map(_examine, files, [audit_options] * len(files)))
    except BrokenProcessPool as error:
        raise Mistake(
            f"--jobs {jobs}: one of the processes was killed, as by a system without memory; "
            "give a smaller number, or fewer files."
        ) from error


def _examine(path: str, audit_options: AuditOptions) -> Outcome:
    try:
        with about(path):
            return examine(path, audit_options)
    except AuditError as error:
        return str(error)
    except MemoryError:
        return f"{path}: not enough memory to audit it; give no --jobs, or use a larger machine"
