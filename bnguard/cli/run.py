"""`bnguard run`: parse, call, exit status."""

from __future__ import annotations

import sys
from typing import List, Optional, Sequence, Tuple

import click

from bnguard.analysis.rules import choose
from bnguard.runtime.streams import Mistake
from bnguard.watch.program import Program
from bnguard.watch.runner import run_watched
from bnguard.watch.watcher import Watcher

_WITHOUT_VALUE = ("--stop", "--help", "-h")


class _Command(click.Command):
    """Ends its own options at the program's name, or after `-m MODULE`, as Python does."""

    def parse_args(self, ctx: click.Context, args: List[str]) -> List[str]:
        own, program = _split(args)
        return super().parse_args(ctx, [*own, "--", *program] if program else own)


def _split(args: List[str]) -> Tuple[List[str], List[str]]:
    """Return the options, of which `-m MODULE` is the last, and what follows."""
    position = 0
    while position < len(args) and args[position].startswith("-"):
        option = args[position]
        if option == "--":
            return args[:position], args[position + 1 :]
        names_module = option.startswith("-m")
        is_whole = "=" in option or option in _WITHOUT_VALUE or (names_module and option != "-m")
        position += 1 if is_whole else 2
        if names_module:
            break
    return args[:position], args[position:]


@click.command(
    "run",
    cls=_Command,
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
    options_metavar="[OPTIONS]",
)
@click.option("-m", "module", metavar="MODULE", help="Run this module, as `python -m` does.")
@click.option("--json", metavar="FILE", help="Write the report to FILE, as JSON.")
@click.option("--sarif", metavar="FILE", help="Write the findings to FILE, as SARIF 2.1.0.")
@click.option("--html", metavar="FILE", help="Write the report to FILE, as a page with a picture.")
@click.option(
    "--logdir",
    metavar="DIR",
    help="Write to DIR, for TensorBoard, which step moved what, and when.",
)
@click.option("--select", metavar="CODE,...", multiple=True, help="Apply only these rules.")
@click.option("--ignore", metavar="CODE,...", multiple=True, help="Do not apply these rules.")
@click.option(
    "--stop", is_flag=True, help="End the program before an inference step with an error."
)
@click.option(
    "--for", "steps", metavar="N", type=click.IntRange(min=1), help="Watch only the first N steps."
)
@click.argument("arguments", metavar="PROGRAM.py [ARGS...]", nargs=-1, type=click.UNPROCESSED)
def run_command(
    module: Optional[str],
    json: Optional[str],
    sarif: Optional[str],
    html: Optional[str],
    logdir: Optional[str],
    select: Sequence[str],
    ignore: Sequence[str],
    stop: bool,
    steps: Optional[int],
    arguments: Sequence[str],
) -> None:
    """Run a program unchanged, and judge the steps of its sessions.

    The report follows on stderr when the program ends: its steps, and what the rules of the audit
    find in them, with the lines of the program. In the name of a FILE or DIR, %p stands for the
    rank of the process or its id. The exit status is the program's own if that is not 0; otherwise
    1 if an error was found, and 2 if a step could not be judged or the report not be written.
    """
    if module is None and not arguments:
        raise Mistake("no program to run; give the path of a Python program, or -m MODULE")
    name, *rest = [module, *arguments] if module is not None else arguments
    rules = choose(
        *(tuple(code for text in texts for code in text.split(",")) for texts in (select, ignore))
    )
    forms = {"json": json, "sarif": sarif, "html": html}
    files = {form: path for form, path in forms.items() if path}
    program = Program(str(name), [str(text) for text in rest], module is not None)
    watcher = Watcher(rules, stop, steps, keeps_calls=logdir is not None)
    sys.exit(run_watched(program, watcher, files, logdir))
