"""The table of `bnguard list`; it needs neither TensorFlow nor NumPy."""

from __future__ import annotations

from typing import Sequence

from rich.table import Column, Table

from bnguard.harness.cases.case_file import CaseFile
from bnguard.harness.cases.docstring import SYMPTOM, Docstring
from bnguard.harness.report.terminal import console
from bnguard.runtime.streams import printable


def print_catalogue(files: Sequence[CaseFile]) -> None:
    """Print every case's name and symptom.

    Raises:
      BrokenCaseError: a case's file is wrong.
    """
    table = Table(Column("case", no_wrap=True), "symptom", show_lines=True)
    for file in files:
        table.add_row(printable(file.name), printable(Docstring(file).sections[SYMPTOM]))
    console().print(table)
