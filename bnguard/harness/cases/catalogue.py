"""The cases in `repro/` and `fixed/`: their names, their files, and the diff of the two sides."""

from __future__ import annotations

import difflib
import os
from typing import List, Optional

from bnguard.errors import BnguardError
from bnguard.harness.cases.case_file import CaseFile
from bnguard.harness.cases.docstring import read_text
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


def diff(name: str, folder: Optional[str] = None) -> str:
    """Return the unified diff from the buggy file of a case to the fixed one."""
    repro, fixed = (find(name, side, folder) for side in SIDES)
    before, after = (read_text(file.path).splitlines(keepends=True) for file in (repro, fixed))
    return "".join(difflib.unified_diff(before, after, repro.label, fixed.label))
