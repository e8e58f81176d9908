"""Find the pairs in `repro/` and `fixed/`, what their docstrings say, and what they build."""

from __future__ import annotations

import ast
import difflib
from importlib.machinery import SourceFileLoader
import os
import types
from typing import TYPE_CHECKING, Any, Callable, Dict, List, NamedTuple, Optional

from bnguard.errors import BnguardError

if TYPE_CHECKING:  # at run time this imports TensorFlow, which `bnguard list` does without
    from bnguard.harness.case import Case, Model

SIDES = ("repro", "fixed")


class CaseFile(NamedTuple):
    """One side of a case: `repro/NAME.py` or `fixed/NAME.py`."""

    name: str
    side: str
    path: str

    @property
    def label(self) -> str:
        """The file as people name it, relative to the checkout."""
        return f"{self.side}/{self.name}.py"

    @property
    def sections(self) -> Dict[str, str]:
        """The docstring by section: `Title` (its first line), `Symptom`, `Cause`, `Fix`, ...

        A section is a heading at the margin with its text indented below it.
        """
        return _sections(ast.get_docstring(ast.parse(_text(self.path))) or "")


class LoadedCase(NamedTuple):
    """A case file, imported.

    Attributes:
      file: where it came from.
      case: what both sides share.
      build: makes the graph, from the layer's `fused`: None, True or False.
    """

    file: CaseFile
    case: Case
    build: Callable[[Optional[bool]], Model]


def names() -> List[str]:
    """The name of every case, sorted."""
    return sorted(
        entry[: -len(".py")]
        for entry in os.listdir(os.path.join(_home(), "repro"))
        if entry.endswith(".py") and not entry.startswith("_")
    )


def find(name: str, side: str) -> CaseFile:
    """One side of a case by its name.

    Raises:
      BnguardError: there is no such case.
    """
    known = names()
    if name not in known:
        raise BnguardError(f"unknown case {name!r}; the known cases are: {', '.join(known)}")
    return CaseFile(name, side, os.path.join(_home(), side, f"{name}.py"))


def load(file: CaseFile) -> LoadedCase:
    """Import a case file."""
    loader = SourceFileLoader(f"{file.side}.{file.name}", file.path)
    module: Any = types.ModuleType(loader.name)
    loader.exec_module(module)
    return LoadedCase(file, module.CASE, module.build)


def diff(name: str) -> str:
    """The unified diff from the buggy file of a case to the fixed one."""
    repro, fixed = (find(name, side) for side in SIDES)
    before, after = (_text(file.path).splitlines(keepends=True) for file in (repro, fixed))
    return "".join(difflib.unified_diff(before, after, repro.label, fixed.label))


def _home() -> str:
    """The checkout's folder: where `repro/` and `fixed/` are, for they are not installed."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    for folder in (os.getcwd(), package):
        if all(os.path.isdir(os.path.join(folder, side)) for side in SIDES):
            return folder
    raise BnguardError(
        f"{os.getcwd()}: no repro/ and fixed/ here; the cases are not installed with the "
        "package. Run bnguard from a checkout of its repository."
    )


def _text(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _sections(docstring: str) -> Dict[str, str]:
    sections: Dict[str, List[str]] = {}
    heading = "Title"
    for line in docstring.splitlines():
        if line and not line.startswith(" "):
            heading = line.strip() if sections else "Title"
            sections[heading] = [] if heading != "Title" else [line]
        elif line.strip():
            sections[heading].append(line.strip())
    return {heading: " ".join(lines) for heading, lines in sections.items()}
