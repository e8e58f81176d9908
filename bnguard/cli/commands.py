"""The `bnguard` command: its subcommands, imported when they are called, and its errors.

Exit status: 0 if all is well; 1 if a run did not show what its side claims, or a command found
something; 2 for bad usage, bad input, or a failure of bnguard itself; 130 after Ctrl-C, 143 after
SIGTERM, and 141 if the reader of the output has gone.
"""

from __future__ import annotations

from contextlib import contextmanager
import errno
import gc
import importlib
import os
import sys
import traceback
from typing import Any, Iterator, List, NamedTuple, Optional

import click

from bnguard._version import __version__
from bnguard.cli.types import TEXT
from bnguard.errors import BnguardError, first_line
from bnguard.runtime import signals
from bnguard.runtime.streams import Mistake, any_streams, is_stream_error, silence

_READER_HAS_GONE = 141  # as of a process that ends by SIGPIPE
TRACEBACK = "BNGUARD_TRACEBACK"
"""The environment variable that shows the traceback of an unexpected error if it is 1."""


class _Subcommand(NamedTuple):
    """A subcommand's module, its name there, and its line in `bnguard --help`."""

    module: str
    attribute: str
    summary: str


_SUBCOMMANDS = {
    "audit": _Subcommand("audit", "audit_command", "Find what moves running statistics in graphs."),
    "compare": _Subcommand("cases", "compare", "Run both sides of a case, and show the diff."),
    "diff": _Subcommand("statistics", "diff", "Compare the statistics of two checkpoints."),
    "explain": _Subcommand("audit", "explain_command", "Explain a rule of the audit."),
    "fixed": _Subcommand("cases", "fixed", "Run the graph built right: fixed/CASE.py."),
    "list": _Subcommand("cases", "list_cases", "List the cases and their symptoms."),
    "reestimate": _Subcommand(
        "reestimate", "reestimate_command", "Estimate a checkpoint's statistics anew from data."
    ),
    "repro": _Subcommand("cases", "repro", "Run the graph built wrong: repro/CASE.py."),
    "run": _Subcommand("run", "run_command", "Run a program, and judge its steps as they run."),
    "stats": _Subcommand("statistics", "stats", "Examine the statistics of a checkpoint."),
}


class _Group(click.Group):
    """The subcommands. Every error is one line on stderr and exit status 2."""

    def list_commands(self, ctx: click.Context) -> List[str]:
        return sorted(_SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> Optional[click.Command]:
        if cmd_name not in _SUBCOMMANDS:
            return None
        subcommand = _SUBCOMMANDS[cmd_name]
        module = importlib.import_module(f"bnguard.cli.{subcommand.module}")
        command: click.Command = getattr(module, subcommand.attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, _SUBCOMMANDS[name].summary) for name in self.list_commands(ctx)]
            )

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _one_line_errors():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _one_line_errors():
            return super().invoke(ctx)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bnguard")
@click.option(
    "--cases",
    type=TEXT,
    metavar="DIR",
    help="The folder of repro/ and fixed/. Default: the current folder, else the checkout that "
    "bnguard is installed from, else the installed cases.",
)
@click.pass_context
def cli(ctx: click.Context, cases: Optional[str]) -> None:
    """Find out what moves batch-norm running statistics, and when."""
    ctx.obj = cases


def main(case_path: Optional[str] = None) -> None:
    """Run the `bnguard` command and exit.

    Args:
      case_path: a case file's `__file__`, in `repro/` or `fixed/`: run `bnguard SIDE CASE` with
        the arguments of this process, for that file.
    """
    with any_streams():
        signals.install()  # after any_streams, so that its copy of stderr is not descriptor 1
        try:
            cli(_arguments(case_path), prog_name="bnguard")
        finally:
            gc.freeze()  # the process ends; its last collections need not visit every object


def _arguments(case_path: Optional[str]) -> Optional[List[str]]:
    if case_path is None:
        return None
    side_folder, filename = os.path.split(os.path.abspath(case_path))
    cases, side = os.path.split(side_folder)
    case = os.path.splitext(filename)[0]
    return ["--cases", cases, side, case, *sys.argv[1:]]


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn every error into one line and exit status 2; leave signals and streams alone."""
    try:
        yield
    except click.UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # click 8.2 prints the help for it
            raise
        raise Mistake(error.format_message()) from error
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except BnguardError as error:
        raise Mistake(str(error)) from error
    except MemoryError as error:
        raise Mistake(
            f"not enough memory ({first_line(error)}); give a smaller --batch-size, or less input."
        ) from error
    except Exception as error:
        if isinstance(error, OSError) and is_stream_error(error):
            raise
        if isinstance(error, OSError) and error.errno == errno.EPIPE and error.filename is None:
            silence(sys.stdout)
            sys.exit(_READER_HAS_GONE)
        raise _unexpected(error) from error


def _unexpected(error: Exception) -> Mistake:
    hint = f"set {TRACEBACK}=1 to see where"
    if os.environ.get(TRACEBACK) == "1":
        traceback.print_exception(type(error), error, error.__traceback__)
        hint = "the traceback is above"
    return Mistake(
        f"bnguard failed unexpectedly ({type(error).__name__}: {first_line(error)}); {hint}. "
        "Please report it with the input that causes it."
    )
