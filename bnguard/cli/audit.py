"""`bnguard audit` and `bnguard explain`: parse, call, render, exit status.

Exit status: 0 if no defect is found, 1 if one is (with --strict also for a note), 2 if something
cannot be read, or for bad usage.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from functools import partial
from itertools import islice
import os
import sys
import traceback
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple, Union

import click

from bnguard.analysis.api import AuditOptions, audit_all
from bnguard.analysis.dataflow.constant_folding import StaticValue
from bnguard.analysis.errors import AuditError, NotAGraphError, about
from bnguard.analysis.formatters import FORMATS, format_reports
from bnguard.analysis.frontend.graph_files import graph_files
from bnguard.analysis.report import Report
from bnguard.analysis.rules import RULES, page
from bnguard.errors import first_line
from bnguard.runtime import signals
from bnguard.runtime.streams import Mistake, printable, takes_color

Outcome = Union[List[Report], NotAGraphError, str]
"""The reports on a file, or what else it is, or a line with the reason why there are none."""


def _audit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option to a command for each field of AuditOptions, in their order."""
    for spec in reversed(fields(AuditOptions)):
        data = spec.metadata
        command = click.option(
            data["flag"],
            spec.name,
            metavar=data["metavar"],
            multiple=data["repeat"],
            help=data["help"],
        )(command)
    return command


@click.command("audit")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@_audit_options
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True)
@click.option("--strict", is_flag=True, help="Let notes set the exit status, too.")
@click.option(
    "--jobs", type=click.IntRange(min=1), default=1, help="Number of files to audit in parallel."
)
def audit_command(paths: Sequence[str], form: str, strict: bool, jobs: int, **options: Any) -> None:
    """Find ops that move running statistics at inference, and other defects of the statistics.

    PATH is a .meta file, a GraphDef, a SavedModel, or a directory to search for these. Repeat
    --fetch, --feed or --train-op to describe one step. Anything that you do not specify is inferred
    from the graph; the first line of the report lists what was inferred. TensorFlow is not needed.
    """
    searched = [graph_files(path) for path in paths]
    files = [file for found in searched for file in found]
    audit_file = partial(
        _audit_file, options=AuditOptions(**_values(options)), with_timeline=form == "html"
    )
    outcomes = list(_audit_files(files, audit_file, jobs))
    reports = [report for outcome in outcomes if isinstance(outcome, list) for report in outcome]
    if reports:
        click.echo(format_reports(reports, form, takes_color(sys.stdout)))
    skipped: List[NotAGraphError] = []
    problems: List[str] = []
    remaining = iter(outcomes)
    for path, found in zip(paths, searched):
        _sort(path, found, list(islice(remaining, len(found))), skipped, problems)
    if skipped:
        click.echo(f"Skipped {_kinds(skipped)}", err=True)
    for problem in problems:
        click.echo(f"Error: {printable(problem)}", err=True)
    has_found = any(report.findings if strict else not report.ok for report in reports)
    sys.exit(2 if problems else int(has_found))


def _sort(
    path: str,
    files: Sequence[str],
    outcomes: Sequence[Outcome],
    skipped: List[NotAGraphError],
    problems: List[str],
) -> None:
    """Sort what is no report on the files of a path: a search skips other files than graphs."""
    others = [outcome for outcome in outcomes if isinstance(outcome, NotAGraphError)]
    if files == [path]:
        problems += map(str, others)
    elif len(others) == len(outcomes):
        problems.append(f"{path}: no graph here, but {_kinds(others)}")
    else:
        skipped += others
    problems += [outcome for outcome in outcomes if isinstance(outcome, str)]


def _kinds(others: Sequence[NotAGraphError]) -> str:
    """Return how many files there are of each kind, in words."""
    counts = Counter(other.what.partition(" ")[2] for other in others)
    kinds = ", ".join(f"{kind} ({count})" for kind, count in counts.items())
    return f"{len(others)} file{'' if len(others) == 1 else 's'} of other kinds: {kinds}"


@click.command("explain")
@click.argument("code", required=False)
def explain_command(code: Optional[str]) -> None:
    """Print the documentation of a rule, by its code or name; without one, list the rules."""
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


def _values(given: Dict[str, Any]) -> Dict[str, Any]:
    """Return the values of AuditOptions from the texts that are given."""
    return {
        name: _READERS[name](texts) if name in _READERS else texts for name, texts in given.items()
    }


def _feeds(texts: Sequence[str]) -> Optional[Dict[str, StaticValue]]:
    return dict(map(_feed, texts)) or None


def _feed(text: str) -> Tuple[str, StaticValue]:
    name, has_value, value = text.partition("=")
    return name, _static_value(value) if has_value else None


def _static_value(text: str) -> StaticValue:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text.encode()


def _tags(text: Optional[str]) -> Optional[Tuple[str, ...]]:
    return None if text is None else tuple(filter(None, text.split(",")))


def _codes(texts: Sequence[str]) -> Tuple[str, ...]:
    return tuple(code for text in texts for code in text.split(","))


_READERS: Dict[str, Callable[..., Any]] = {
    "feeds": _feeds,
    "tags": _tags,
    "select": _codes,
    "ignore": _codes,
}


def _audit_files(
    files: Sequence[str], audit_file: Callable[[str], Outcome], jobs: int
) -> Iterable[Outcome]:
    if jobs == 1 or len(files) == 1:
        return map(audit_file, files)
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import Pipe

    ends = Pipe(duplex=False)
    workers = min(jobs, len(files))
    try:
        with ProcessPoolExecutor(workers, None, signals.in_worker, ends) as pool:
            return list(pool.map(audit_file, files))
    except BrokenProcessPool as error:
        raise Mistake(
            f"--jobs {jobs}: a worker process was killed, perhaps for lack of memory; "
            "give a smaller number, or fewer files."
        ) from error


def _audit_file(path: str, options: AuditOptions, with_timeline: bool) -> Outcome:
    """Audit a file. An error of any type becomes a line, so no report on another file is lost."""
    try:
        with about(path):
            return audit_all(path, options, with_timeline)
    except NotAGraphError as error:
        return error
    except AuditError as error:
        return str(error)
    except MemoryError:
        return f"{path}: not enough memory to audit it; give no --jobs, or use a larger machine"
    except Exception as error:
        if os.environ.get("BNGUARD_TRACEBACK") == "1":
            traceback.print_exc()
        return (
            f"{path}: unexpected {type(error).__name__} ({first_line(error)}); this is a bug. "
            "BNGUARD_TRACEBACK=1 shows where; please report it with that"
        )
