"""What `bnguard list` prints; it needs neither TensorFlow nor NumPy."""

from __future__ import annotations

from typing import Sequence

import click
from rich.table import Column, Table

from bnguard.harness.cases.case_file import CaseFile
from bnguard.harness.cases.docstring import SYMPTOM, Docstring
from bnguard.harness.cases.symptom_search import DOUBTFUL, Match
from bnguard.harness.report.terminal import console
from bnguard.runtime.streams import printable

_SHOWN_MATCHES = 8


def print_catalogue(files: Sequence[CaseFile]) -> None:
    """Print every case's name and symptom.

    Raises:
      BrokenCaseError: a case's file is wrong.
    """
    table = Table(Column("case", no_wrap=True), "symptom", show_lines=True)
    for file in files:
        table.add_row(printable(file.name), printable(Docstring(file).sections[SYMPTOM]))
    console().print(table)


def print_matches(matches: Sequence[Match]) -> None:
    """Print the best matches of a search for a symptom, one a line, best first.

    Args:
      matches: at least one, best first.
    """
    shown = matches[:_SHOWN_MATCHES]
    width = max(len(match.name) for match in shown)
    for match in shown:
        click.echo(f"{match.name:{width}}  {printable(match.text)}")
    if matches[0].coverage < DOUBTFUL:
        click.echo("None of these may fit: few of the words occur in the best match.")
    if any(match.is_case for match in shown):
        click.echo("`bnguard compare NAME` runs a case, whose name has underscores.")
