"""The cases in `repro/` and `fixed/`: their names, their files, and the diff of the two sides."""

from __future__ import annotations

import difflib
import os
import re
from typing import List, Optional

from bnguard.errors import BnguardError
from bnguard.harness.cases.case_file import CaseFile
from bnguard.harness.cases.docstring import SYMPTOM, TITLE, Docstring, read_text
from bnguard.harness.cases.errors import BrokenCaseError, unreadable
from bnguard.harness.cases.folders import cases_folder
from bnguard.harness.results.terms import SIDES, Side


def names(folder: Optional[str] = None) -> List[str]:
    """Return the name of every case, sorted.

    Args:
      folder: the folder that contains `repro/` and `fixed/`; None: as `cases_folder` finds it.

    Raises:
      BnguardError: there is no such folder, or it cannot be read.
    """
    repro = os.path.join(cases_folder(folder), Side.REPRO)
    try:
        entries = os.listdir(repro)
    except OSError as error:
        raise unreadable(repro, error) from error
    return sorted(
        entry[: -len(".py")]
        for entry in entries
        if entry.endswith(".py")
        and not entry.startswith(("_", "."))
        and not os.path.isdir(os.path.join(repro, entry))
    )


def find(name: str, side: str, folder: Optional[str] = None) -> CaseFile:
    """Return the file of one side of a case.

    Args:
      name: the case's name, which is compared with `names` before it becomes part of a path.
      side: `repro` or `fixed`.
      folder: as for `names`.

    Raises:
      BnguardError: there is no such case.
      BrokenCaseError: the case lacks this side, or the file is a link that leads elsewhere.
    """
    known = names(folder)
    if name not in known:
        raise BnguardError(f"unknown case {name!r}; the known cases are: {', '.join(known)}")
    path = os.path.join(cases_folder(folder), side, f"{name}.py")
    file = CaseFile(name, Side(side), path)
    if not os.path.isfile(path):
        raise BrokenCaseError(f"{file.label}: there is no such file; a case needs both sides")
    target = os.path.realpath(path)
    if os.path.dirname(target) != os.path.realpath(os.path.dirname(path)):
        raise BrokenCaseError(
            f"{file.label}: it links to {target}; a case's file is expected in {side}/ itself. "
            "Copy it there."
        )
    return file


def ranked(text: str, folder: Optional[str] = None) -> List[CaseFile]:
    """Return the cases whose title or symptom shares words with `text`, best match first.

    A word counts for more the fewer symptoms contain it.

    Args:
      text: the words of a symptom.
      folder: as for `names`.

    Raises:
      BnguardError: no case shares a word with it.
      BrokenCaseError: a case's file is wrong.
    """
    files = [find(name, Side.REPRO, folder) for name in names(folder)]
    scores = dict.fromkeys(files, 0.0)
    searched = {file: _searched_text(file) for file in files}
    for word in [text.lower(), *re.findall(r"\w{3,}", text.lower())]:
        matching = [file for file in files if word in searched[file]]
        for file in matching:
            scores[file] += len(word) / len(matching)
    found = [file for file in files if scores[file]]
    if not found:
        raise BnguardError(
            f"--symptom {text!r}: no case's symptom contains any of these words; `bnguard list` "
            "shows all symptoms. Try the words of an error message, or the name of what moved."
        )
    return sorted(found, key=lambda file: -scores[file])


def diff(name: str, folder: Optional[str] = None) -> str:
    """Return the unified diff from the buggy file of a case to the fixed one."""
    repro, fixed = (find(name, side, folder) for side in SIDES)
    before, after = (read_text(file.path).splitlines(keepends=True) for file in (repro, fixed))
    return "".join(difflib.unified_diff(before, after, repro.label, fixed.label))


def _searched_text(file: CaseFile) -> str:
    sections = Docstring(file).sections
    return f"{file.name} {sections[TITLE]} {sections[SYMPTOM]}".lower()
