"""`bnguard audit` and `bnguard explain`: parse, call, render, exit status."""

from __future__ import annotations

from dataclasses import fields
import sys
from typing import Any, Callable, Dict, List, Optional, Sequence

import click

from bnguard.analysis.api import AuditOptions
from bnguard.analysis.formatters import FORMATS, format_reports
from bnguard.analysis.formatters.lines import count
from bnguard.analysis.report import Report
from bnguard.analysis.rules import RULES, choose, page
from bnguard.cli.types import TEXT
from bnguard.repository import option_texts
from bnguard.repository.audit import RepositoryAudit, audit_paths, kinds
from bnguard.repository.baseline import Baseline, read_baseline, write_baseline
from bnguard.repository.configuration import Configuration, load_configuration
from bnguard.repository.summary import statistics_lines, total_line
from bnguard.runtime.streams import Mistake, printable, takes_color

_CLEAN, _FOUND, _FAILED = 0, 1, 2
_SHOWN_STALE = 4
_STATUS = """Exit status: 0 if nothing was found. 1 if a defect was found (with --strict also for a
note), also if something else could not be read. 2 if nothing was found and something could not be
read, and for bad usage. --exit-zero turns 1 into 0."""
_READERS: Dict[str, Callable[..., Any]] = {
    "feeds": option_texts.feeds,
    "tags": option_texts.tags,
    "select": option_texts.codes,
    "ignore": option_texts.codes,
}


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


@click.command("audit", epilog=_STATUS)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path())
@_audit_options
@click.option(
    "--exclude",
    metavar="GLOB",
    multiple=True,
    type=TEXT,
    help="Do not audit files and folders that match, such as `third_party` or `old/*.pb`.",
)
@click.option(
    "--baseline",
    metavar="FILE",
    type=TEXT,
    help="Let the findings pass that are recorded in FILE.",
)
@click.option(
    "--write-baseline",
    "recorded",
    metavar="FILE",
    type=TEXT,
    help="Record all findings in FILE, and print no report.",
)
@click.option(
    "--only-graphs",
    is_flag=True,
    help="Skip files that are no graphs also if you name them, as pre-commit does.",
)
@click.option(
    "--config",
    metavar="FILE",
    type=TEXT,
    help="The configuration file. Default: the nearest bnguard.toml, pyproject.toml with "
    "[tool.bnguard] or setup.cfg with [bnguard], from the current folder upwards.",
)
@click.option("--no-config", is_flag=True, help="Use no configuration file.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="[default: text]")
@click.option(
    "--output", metavar="FILE", type=TEXT, help="Write the report to FILE, or `-` for stdout."
)
@click.option("--statistics", is_flag=True, help="Count the findings by rule.")
@click.option("--strict", is_flag=True, help="Let notes set the exit status, too.")
@click.option("--exit-zero", is_flag=True, help="Exit with status 0 if something was found.")
@click.option(
    "--jobs", type=click.IntRange(min=1), default=1, help="Number of files to audit in parallel."
)
def audit_command(
    paths: Sequence[str],
    exclude: Sequence[str],
    baseline: Optional[str],
    recorded: Optional[str],
    only_graphs: bool,
    config: Optional[str],
    no_config: bool,
    form: Optional[str],
    output: Optional[str],
    statistics: bool,
    strict: bool,
    exit_zero: bool,
    jobs: int,
    **options: Any,
) -> None:
    """Find ops that move running statistics at inference, and other defects of the statistics.

    PATH is a .meta file, a GraphDef, a SavedModel, or a directory to search for these. Repeat
    --fetch, --feed or --train-op to describe one step. Anything that you do not specify is inferred
    from the graph; the first line of the report lists what was inferred. TensorFlow is not needed.
    """
    configuration = _configuration(config, no_config).with_excluded(exclude)
    form = form or configuration.format or FORMATS[0]
    output = None if output == "-" else output
    given = AuditOptions(**_values(options))
    rules = choose(given.select or configuration.select, given.ignore or configuration.ignore)
    known_file = None if recorded else baseline or configuration.baseline
    known = read_baseline(known_file) if known_file else None
    audit = audit_paths(
        paths, given, configuration, jobs, with_timeline=form == "html", only_graphs=only_graphs
    )
    if recorded:
        _record(recorded, audit)
        _print_problems(audit)
        sys.exit(_FAILED if audit.errors else _CLEAN)
    reports = [known.without_known(report) if known else report for report in audit.reports]
    _print_report(reports, form, audit.errors, output)
    is_for_programs = form != "text" and not output  # who read nothing else from stdout
    summary = statistics_lines(reports) if statistics else []
    if reports and not is_for_programs and (output or audit.is_search or audit.files > 1):
        summary.append(total_line(reports, len(audit.errors)))
    if summary and not is_for_programs and not output:
        click.echo()
    _print_problems(audit)
    if known and reports:
        _print_stale(known, audit.reports, [rule.code for rule in rules])
    for line in summary:
        click.echo(line, err=is_for_programs)
    has_found = any(report.findings if strict else not report.ok for report in reports)
    sys.exit(_status(has_found and not exit_zero, bool(audit.errors)))


def _configuration(file: Optional[str], is_unwanted: bool) -> Configuration:
    if file and is_unwanted:
        raise Mistake("--config and --no-config exclude each other; give one of them")
    return Configuration() if is_unwanted else load_configuration(file)


def _print_report(
    reports: Sequence[Report], form: str, errors: Sequence[str], output: Optional[str]
) -> None:
    text = format_reports(reports, form, not output and takes_color(sys.stdout), errors)
    if output:
        try:
            with open(output, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{text}\n")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise Mistake(f"--output {output}: cannot be written ({reason})") from error
    elif text:
        click.echo(text)


def _print_problems(audit: RepositoryAudit) -> None:
    """Print to stderr what was not audited, and why."""
    lines = list(audit.remarks)
    if audit.skipped:
        lines.append(f"Skipped {kinds(audit.skipped)}")
    if audit.excluded:
        lines.append(f"Excluded {count(audit.excluded, 'file')}")
    for line in [*lines, *(f"Error: {error}" for error in audit.errors)]:
        click.echo(printable(line), err=True)


def _print_stale(known: Baseline, reports: Sequence[Report], rules: Sequence[str]) -> None:
    """Print to stderr which entries of the baseline no longer occur."""
    stale = known.stale(reports, rules)
    if stale:
        more = f" and {len(stale) - _SHOWN_STALE} more" if len(stale) > _SHOWN_STALE else ""
        entries = f"{len(stale)} {'entry' if len(stale) == 1 else 'entries'}"
        line = f"{known.file}: {entries} found in none of these graphs: "
        click.echo(printable(f"{line}{', '.join(stale[:_SHOWN_STALE])}{more}"), err=True)


def _record(file: str, audit: RepositoryAudit) -> None:
    if audit.reports:
        number = write_baseline(file, audit.reports)
        click.echo(printable(f"Recorded {count(number, 'finding')} in {file}"))


def _status(has_found: bool, has_failed: bool) -> int:
    return _FOUND if has_found else _FAILED if has_failed else _CLEAN


def _values(given: Dict[str, Any]) -> Dict[str, Any]:
    """Return the values of AuditOptions from the texts that are given."""
    return {
        name: _READERS[name](texts) if name in _READERS else texts for name, texts in given.items()
    }


def _codes(ctx: click.Context, param: click.Parameter, incomplete: str) -> List[str]:
    """Return the codes of rules that complete a text in a shell."""
    return [rule.code for rule in RULES if rule.code.startswith(incomplete.upper())]


@click.command("explain")
@click.argument("code", required=False, shell_complete=_codes)
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
