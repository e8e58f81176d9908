"""The command line: parse, call, render, exit code.

Exit status: 0 when a run showed what its side claims, 1 when it did not, 2 for bad usage or
input, 130 after Ctrl-C and 143 after SIGTERM.
"""

from __future__ import annotations

from contextlib import contextmanager
import json
import os
import shlex
import sys
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Optional,
    Sequence,
)

from bnguard._version import __version__
from bnguard.cli import statistics
from bnguard.errors import BnguardError, first_line
from bnguard.harness.cases import catalogue
from bnguard.harness.run.options import KINDS, Between
from bnguard.runtime import signals
from bnguard.runtime.streams import Mistake, any_streams, printable
import click
from click.core import ParameterSource

if TYPE_CHECKING:  # at run time these import TensorFlow, which `bnguard list` does without
    from bnguard.harness.report.console import Entry, Judged
    from bnguard.harness.results.record import Record
    from bnguard.harness.run.experiment import Options
    from bnguard.harness.run.point import Point

_MANY_STEPS = 1000  # from here on a terminal gets a progress bar


class _OneLine:
    """A command whose user's mistakes are one line on stderr and exit status 2."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _mistakes():
            return super().make_context(*args, **extra)  # type: ignore[misc]

    def invoke(self, ctx: click.Context) -> Any:
        with _mistakes():
            return super().invoke(ctx)  # type: ignore[misc]


class _Command(_OneLine, click.Command):
    pass


class _Group(_OneLine, click.Group):
    """The commands; those of the audit are imported when one of them is called."""

    command_class = _Command
    audit_commands = {"audit": "audit_command", "explain": "explain_command"}  # noqa: RUF012

    def list_commands(self, ctx: click.Context) -> List[str]:
        return sorted([*super().list_commands(ctx), *self.audit_commands])

    def get_command(self, ctx: click.Context, cmd_name: str) -> Optional[click.Command]:
        if cmd_name not in self.audit_commands:
            return super().get_command(ctx, cmd_name)
        from bnguard.cli import audit

        return getattr(audit, self.audit_commands[cmd_name])


class _Text(click.ParamType):
    """Text that is not empty: `--restore "$UNSET"` is a mistake, not the default."""

    name = "text"

    def convert(self, value: str, param: Any, ctx: Any) -> str:
        return value or self.fail("it is empty", param, ctx)


_TEXT = _Text()


@contextmanager
def _mistakes() -> Iterator[None]:
    try:
        yield
    except click.UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # click 8.2: the help, not a mistake
            raise
        raise Mistake(error.format_message()) from error
    except BnguardError as error:
        raise Mistake(str(error)) from error
    except MemoryError as error:
        raise Mistake(
            f"not enough memory ({first_line(error)}); give a smaller --batch-size, or other flags "
            "that ask for less."
        ) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bnguard")
@click.option(
    "--cases",
    type=_TEXT,
    metavar="DIR",
    help="The folder that holds repro/ and fixed/: by default the current one, or the checkout "
    "that bnguard runs from (make demo, or pip install --editable).",
)
@click.pass_context
def cli(ctx: click.Context, cases: Optional[str]) -> None:
    """Who moves your batch-norm running statistics, and when."""
    ctx.obj = cases


def main(case_path: Optional[str] = None) -> None:
    """Run the `bnguard` command; from a case file, `bnguard SIDE CASE` for that file.

    Args:
      case_path: the case file's `__file__`, in `repro/` or `fixed/`.
    """
    with any_streams():
        signals.install()  # with streams open, or a copy of stderr would take stdout's place
        cli(_arguments(case_path), prog_name="bnguard")


def _arguments(case_path: Optional[str]) -> Optional[List[str]]:
    if case_path is None:
        return None
    folder, filename = os.path.split(os.path.abspath(case_path))
    home, side = os.path.split(folder)
    case = os.path.splitext(filename)[0]
    return ["--cases", home, side, case, *sys.argv[1:]]


def _experiment_flags(command: Callable) -> Callable:
    """The flags that `repro`, `fixed` and `compare` share; the defaults are the source's."""
    flags = [
        click.option("--restore", type=_TEXT, metavar="PATH", help="Start from this checkpoint."),
        click.option("--no-train", is_flag=True, help="Infer only."),
        _option("--train-steps", 100, "Training steps."),
        _option("--infer-steps", 10, "Single-row inferences in each session."),
        _option("--batch-size", 4, "Rows in a training step."),
        _option("--seed", 1006, "Of the data's random stream."),
        _option("--fused", "no", "The layer's kernel."),
        _option("--variables", "ref", "Kind of variables."),
        _option("--control-flow", "v1", "What tf.cond builds."),
        _option("--checkpoint-dir", "checkpoints", "Where each run gets a folder."),
        _option("--save-every", 1000, "Training steps from save to save; 0: no saves."),
        click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout."),
        click.option(
            "--plot", type=_TEXT, metavar="FILE", help="Draw the statistics to a .png or .svg."
        ),
        click.option(
            "--logdir", type=_TEXT, metavar="DIR", help="Write the statistics for TensorBoard."
        ),
    ]
    for flag in reversed(flags):
        command = flag(command)
    return command


def _option(name: str, default: Any, text: str) -> Callable:
    kind = _type(name[len("--") :].replace("-", "_"))
    return click.option(name, type=kind, default=default, show_default=True, help=text)


def _type(name: str) -> click.ParamType:
    kind = KINDS[name]
    if isinstance(kind, Between):
        return click.IntRange(*kind)
    return click.Choice(kind) if kind else _TEXT


_resume = click.option(
    "--resume",
    type=_TEXT,
    metavar="PATH",
    help="Go on with the run that saved in this folder, or from this step-N.ckpt of it.",
)


@cli.command("repro")
@click.argument("case")
@_resume
@_experiment_flags
def _repro(case: str, **flags: Any) -> None:
    """Run the graph built wrong: repro/CASE.py."""
    _run_side(case, "repro", **flags)


@cli.command("fixed")
@click.argument("case")
@_resume
@_experiment_flags
def _fixed(case: str, **flags: Any) -> None:
    """Run the graph built right: fixed/CASE.py."""
    _run_side(case, "fixed", **flags)


@cli.command("compare")
@click.argument("case", required=False)
@click.option("--all", "everything", is_flag=True, help="Every case, one row each.")
@_experiment_flags
def _compare(case: Optional[str], everything: bool, **flags: Any) -> None:
    """Run both sides of a case; print them side by side, and the diff of the two files."""
    if everything == (case is not None):
        raise click.UsageError("give either a CASE or --all")
    signals.tell(signals.NOTHING_SAVED)
    if case is None:
        _compare_all(**flags)
    else:
        _compare_one(case, **flags)


@cli.command("list")
@click.option("--symptom", metavar="TEXT", help="Likeliest first, by the words of the symptom.")
def _list(symptom: Optional[str]) -> None:
    """List the cases and their symptoms."""
    from bnguard.harness.report import console

    home = _home()
    if symptom is None:
        console.print_catalogue(
            [catalogue.find(name, "repro", home) for name in catalogue.names(home)]
        )
    else:
        console.print_catalogue(catalogue.ranked(symptom, home))


def _compare_one(case: str, **flags: Any) -> None:
    judged = _run(case, catalogue.SIDES, **flags)
    from bnguard.harness.report import console

    difference = catalogue.diff(case, _home())
    if flags["as_json"]:
        sides = {record.side: console.as_json(record, verdict) for record, verdict in judged}
        _print_json({"case": case, **sides, "diff": difference})
    else:
        console.print_comparison(judged, difference)
    _draw(judged, **flags)
    sys.exit(_status(judged))


def _compare_all(**flags: Any) -> None:
    for flag in ("restore", "plot"):
        if flags[flag] is not None:
            raise click.UsageError(f"--{flag} is for one case, not for --all")
    entries: List[Entry] = []
    problems: List[str] = []
    try:
        for name in _tracked(catalogue.names(_home()), "comparing all cases"):
            try:
                entries.append(_entry(name, **flags))
            except catalogue.BrokenCaseError as error:
                problems.append(str(error))
    finally:  # what was shown is not lost where the disk is full before the last case
        _print_all(entries, problems, flags["as_json"])
    for entry in entries:
        _draw(entry.sides, **flags)
    shown = all(entry.verdict != "not shown" for entry in entries)
    sys.exit(2 if problems else int(not shown))


def _entry(name: str, **flags: Any) -> Entry:
    from bnguard.harness.report import console

    case = catalogue.find(name, "repro", _home())
    case.summary("Symptom")  # which the table shows; an error, if any, before the run
    try:
        return console.Entry(case, _run(case.name, catalogue.SIDES, **flags))
    except catalogue.UnavailableError as unavailable:
        return console.Entry(case, skipped=str(unavailable))


def _print_all(entries: Sequence[Entry], problems: Sequence[str], as_json: bool) -> None:
    from bnguard.harness.report import console

    if entries and as_json:
        _print_json({"cases": [console.entry_json(entry) for entry in entries]})
    elif entries:
        console.print_entries(entries)
    for problem in problems:
        click.echo(f"Error: {printable(problem)}", err=True)


def _run_side(case: str, side: str, **flags: Any) -> None:
    signals.tell(signals.NOTHING_SAVED)
    judged = _run(case, [side], **flags)
    from bnguard.harness.report import console

    if flags["as_json"]:
        _print_json(console.as_json(*judged[0]))
    else:
        click.echo(console.as_text(*judged[0]))
    _draw(judged, **flags)
    sys.exit(_status(judged))


def _run(
    case: str, sides: Sequence[str], plot: Optional[str], logdir: Optional[str], **flags: Any
) -> List[Judged]:
    files = [catalogue.find(case, side, _home()) for side in sides]
    from bnguard.harness.report import figure as plots
    from bnguard.runtime.tensorflow_import import import_tensorflow

    if plot is not None:
        plots.check_target(plot)
    import_tensorflow()
    from bnguard.harness.report import tensorboard

    if logdir is not None:
        tensorboard.check_target(logdir)
    options = _options(**flags)
    loaded = [catalogue.load(file) for file in files]
    records = [_record(one, options) for one in loaded]
    return [(record, one.case.claim.judge(record)) for record, one in zip(records, loaded)]


def _draw(
    judged: Sequence[Judged], plot: Optional[str], logdir: Optional[str], **flags: Any
) -> None:
    """Write what is no more than a picture of what has been printed."""
    records = [record for record, _ in judged]
    if plot is not None:
        from bnguard.harness.report import figure as plots

        plots.draw(records, plot)
    if logdir is not None:
        from bnguard.harness.report import tensorboard

        tensorboard.write(records, logdir)


def _record(case: catalogue.LoadedCase, options: Options) -> Record:
    from bnguard.harness.run import experiment

    home = _home()

    def saved(prefix: str, is_point: bool) -> None:
        where = [] if home is None else ["--cases", home]
        words = ["bnguard", *where, case.file.side, case.file.name, "--resume", prefix]
        command = " ".join(map(shlex.quote, words))
        then = f"go on with `{command}`" if is_point else "--restore reads it"
        signals.tell(f"the last complete checkpoint is {prefix}; {then}")

    return experiment.run(case, options, _progress(case), saved)


def _options(as_json: bool, no_train: bool, resume: Optional[str] = None, **flags: Any) -> Options:
    from bnguard.harness.run.case_session import Build
    from bnguard.harness.run.experiment import Options

    point = None
    if resume is not None:
        point = _point(resume, no_train, flags.pop("restore"))
        flags = point.flags_with(_given(flags))
    build = Build(*(flags.pop(name) for name in Build._fields))
    return Options(train=not no_train, build=build, resume=point, **flags)


def _point(resume: str, no_train: bool, restore: Optional[str]) -> Point:
    from bnguard.harness.run import points

    if no_train or restore is not None:
        raise click.UsageError(
            "--resume goes on with training: give no --restore and no --no-train"
        )
    return points.find(resume)


def _given(flags: Dict[str, Any]) -> Dict[str, Any]:
    """Those that are on the command line, not defaults."""
    source = click.get_current_context().get_parameter_source
    return {name: flags[name] for name in flags if source(name) is ParameterSource.COMMANDLINE}


def _home() -> Optional[str]:
    return click.get_current_context().find_root().obj


def _progress(case: catalogue.LoadedCase) -> Callable[[Sequence[int]], Iterable[int]]:
    def track(steps: Sequence[int]) -> Iterable[int]:
        if len(steps) < _MANY_STEPS:
            return steps
        return _tracked(steps, f"training {case.file.label}")

    return track


def _tracked(items: Sequence[Any], what: str) -> Iterable[Any]:
    if not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, what, console=Console(stderr=True), transient=True)


def _print_json(document: Any) -> None:
    click.echo(json.dumps(document, indent=2, allow_nan=False))


def _status(judged: Sequence[Any]) -> int:
    return 0 if all(verdict.shown for _, verdict in judged) else 1


cli.command("diff")(statistics.diff)
cli.command("stats")(statistics.stats)
