"""The sections of a case file's docstring, read without importing the file."""

from __future__ import annotations

import ast
import io
import re
from typing import Dict, List, Tuple

from bnguard.harness.cases.case_file import CaseFile
from bnguard.harness.cases.errors import BrokenCaseError, broken, unreadable
from bnguard.runtime.files import open_regular

TITLE, SYMPTOM, ALSO_SAID_AS = "Title", "Symptom", "Also said as"
ALREADY_TRAINED = "Already trained"
_UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError)  # ValueError: NUL in 3.11


class Docstring:
    """A case file's docstring, by section.

    The first line is the section `Title`. Every other section is a heading at the margin with its
    text indented below it: `Symptom`, `Cause`, `Fix`, ...

    Args:
      file: the file.

    Raises:
      BrokenCaseError: the file cannot be read, or lacks a title or a symptom.
    """

    def __init__(self, file: CaseFile) -> None:
        try:
            tree = ast.parse(read_text(file.path), file.path)
        except _UNPARSABLE as error:
            raise broken(file, "cannot be read", error) from error
        self._lines = _lines_by_section(ast.get_docstring(tree) or "")
        missing = [heading for heading in (TITLE, SYMPTOM) if heading not in self._lines]
        if missing:
            raise BrokenCaseError(
                f"{file.label}: its docstring lacks {' and '.join(missing)}; expected a title, and "
                "the heading Symptom at the margin with its text indented below. Write both."
            )

    @property
    def sections(self) -> Dict[str, str]:
        """Return each section's text in one line, by heading, in the order of the file."""
        return {heading: " ".join(lines) for heading, lines in self._lines.items()}

    @property
    def reports(self) -> List[str]:
        """Return the public reports of the defect, one for each line of `Reports`."""
        return self._lines["Reports"]

    @property
    def rescue(self) -> Tuple[str, str]:
        """Return whether a checkpoint can be rescued, in a word or two, and how, or why not."""
        verdict, _, how = self.sections[ALREADY_TRAINED].partition(". ")
        return verdict, how

    def summary(self, section: str) -> str:
        """Return the first sentence of a section, without its full stop."""
        return re.split(r"(?<=[.:]) ", self.sections[section], maxsplit=1)[0].rstrip(".:")


def read_text(path: str) -> str:
    """Return a case file's text.

    Raises:
      BrokenCaseError: it cannot be read, or is not UTF-8.
    """
    try:
        with io.TextIOWrapper(open_regular(path), encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from error


def _lines_by_section(docstring: str) -> Dict[str, List[str]]:
    sections: Dict[str, List[str]] = {}
    heading = TITLE
    for line in docstring.splitlines():
        if line and not line.startswith(" "):
            heading = line.strip() if sections else TITLE
            sections[heading] = [] if heading != TITLE else [line]
        elif line.strip():
            sections.setdefault(heading, []).append(line.strip())
    return sections
