"""Find the pairs in `repro/` and `fixed/`, what their docstrings say, and what they build."""

from __future__ import annotations

import ast
import difflib
import hashlib
from importlib.machinery import SourceFileLoader
import os
import re
import traceback
import types
from typing import TYPE_CHECKING, Any, Callable, Dict, List, NamedTuple, Optional

from bnguard.errors import BnguardError, first_line

if TYPE_CHECKING:  # at run time this imports TensorFlow, which `bnguard list` does without
    from bnguard.harness.cases.case import Case, Model

SIDES = ("repro", "fixed")
_UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError)  # ValueError: NUL in 3.11
_HEADINGS = ("Title", "Symptom")  # what is listed of a case


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

        Raises:
          BrokenCaseError: the file cannot be read, or is not a case's.
        """
        return {heading: " ".join(lines) for heading, lines in self._lines.items()}

    @property
    def reports(self) -> List[str]:
        """The public reports behind the case, one line each."""
        return self._lines["Reports"]

    def summary(self, section: str) -> str:
        """The first sentence of a section."""
        return re.split(r"(?<=[.:]) ", self.sections[section], maxsplit=1)[0].rstrip(".:")

    @property
    def _lines(self) -> Dict[str, List[str]]:
        try:
            tree = ast.parse(_text(self.path), self.path)
        except _UNPARSABLE as error:
            raise broken(self, "cannot be read", error) from error
        sections = _sections(ast.get_docstring(tree) or "")
        missing = [heading for heading in _HEADINGS if heading not in sections]
        if missing:
            raise BrokenCaseError(
                f"{self.label}: its docstring lacks {' and '.join(missing)}; expected a title, and "
                "Symptom at the margin with its text indented below. Write both."
            )
        return sections


class UnavailableError(BnguardError):
    """A case cannot run here, or not in the way asked for."""


class BrokenCaseError(BnguardError):
    """A case's file is wrong; other cases are none the worse for it."""


class LoadedCase(NamedTuple):
    """A case file, imported.

    Attributes:
      file: where it came from.
      digest: the SHA-256 of its text.
      case: what both sides share.
      build: makes the graph, from the layer's `fused`: None, True or False.
      serve: makes the graph of the program that restores a checkpoint, from `fused` and the
        checkpoint's prefix; where the file has none, `build` does.
    """

    file: CaseFile
    digest: str
    case: Case
    build: Callable[[Optional[bool]], Model]
    serve: Callable[[Optional[bool], str], Model]


def names(home: Optional[str] = None) -> List[str]:
    """The name of every case, sorted.

    Args:
      home: the folder that holds `repro/` and `fixed/`. By default the current folder or,
        where it holds none, the checkout that the package is installed from.

    Raises:
      BnguardError: there are no such folders, or they cannot be read.
    """
    folder = os.path.join(_home(home), SIDES[0])
    try:
        entries = os.listdir(folder)
    except OSError as error:
        raise _unreadable(folder, error) from error
    return sorted(
        entry[: -len(".py")]
        for entry in entries
        if entry.endswith(".py")
        and not entry.startswith(("_", "."))
        and not os.path.isdir(os.path.join(folder, entry))
    )


def find(name: str, side: str, home: Optional[str] = None) -> CaseFile:
    """One side of a case by its name.

    Args:
      name: the case.
      side: `repro` or `fixed`.
      home: as for `names`.

    Raises:
      BnguardError: there is no such case.
      BrokenCaseError: it has no such side, or that is a link to elsewhere.
    """
    known = names(home)
    if name not in known:
        raise BnguardError(f"unknown case {name!r}; the known cases are: {', '.join(known)}")
    file = CaseFile(name, side, os.path.join(_home(home), side, f"{name}.py"))
    if not os.path.isfile(file.path):
        raise BrokenCaseError(f"{file.label}: there is no such file; a case needs both sides")
    target = os.path.realpath(file.path)
    if os.path.dirname(target) != os.path.realpath(os.path.dirname(file.path)):
        raise BrokenCaseError(
            f"{file.label}: it links to {target}; a case's file is expected in {side}/ itself. "
            "Copy it there."
        )
    return file


def ranked(text: str, home: Optional[str] = None) -> List[CaseFile]:
    """The cases whose title or symptom shares words with `text`, the likeliest first.

    A word that few symptoms have says more than one that many have.

    Raises:
      BnguardError: no case shares a word with it.
      BrokenCaseError: a case's file is wrong.
    """
    files = [find(name, "repro", home) for name in names(home)]
    told = {
        file: f"{file.name} {file.sections['Title']} {file.sections['Symptom']}".lower()
        for file in files
    }
    scores = dict.fromkeys(files, 0.0)
    for word in [text.lower(), *re.findall(r"\w{3,}", text.lower())]:
        having = [file for file in files if word in told[file]]
        for file in having:
            scores[file] += len(word) / len(having)
    found = [file for file in files if scores[file]]
    if not found:
        raise BnguardError(
            f"--symptom {text!r}: no case's symptom has any of these words; `bnguard list` shows "
            "all of them. Try the words of an error message, or of what moved."
        )
    return sorted(found, key=lambda file: -scores[file])


def load(file: CaseFile) -> LoadedCase:
    """Import a case file.

    Raises:
      UnavailableError: it needs something that is not installed here.
      BrokenCaseError: it cannot be read, or is no case.
    """
    from bnguard.harness.cases.case import Case  # not above: it imports TensorFlow

    digest = hashlib.sha256(_text(file.path).encode()).hexdigest()
    loader = SourceFileLoader(f"{file.side}.{file.name}", file.path)
    module: Any = types.ModuleType(loader.name)
    try:
        loader.exec_module(module)
    except ImportError as error:
        if (error.name or "").split(".")[0] == "bnguard":
            raise broken(file, "cannot be loaded", error) from error
        raise UnavailableError(
            f"{file.label} cannot run here: {error} Its docstring says what to install."
        ) from error
    except (Exception, SystemExit) as error:  # whatever a file of anybody's raises
        raise broken(file, "cannot be loaded", error) from error
    build = getattr(module, "build", None)
    serve = getattr(module, "serve", lambda fused, checkpoint: module.build(fused))
    is_case = isinstance(getattr(module, "CASE", None), Case)
    if not (is_case and callable(build) and callable(serve)):
        raise BrokenCaseError(
            f"{file.label}: it defines {', '.join(_defined(module)) or 'nothing'}; expected a Case "
            "called CASE and a function build(fused). CONTRIBUTING.md says how to write a case."
        )
    return LoadedCase(file, digest, module.CASE, build, serve)


def diff(name: str, home: Optional[str] = None) -> str:
    """The unified diff from the buggy file of a case to the fixed one."""
    repro, fixed = (find(name, side, home) for side in SIDES)
    before, after = (_text(file.path).splitlines(keepends=True) for file in (repro, fixed))
    return "".join(difflib.unified_diff(before, after, repro.label, fixed.label))


def broken(file: CaseFile, what: str, error: BaseException) -> BrokenCaseError:
    """The error to raise where something cannot be done with a file for an error that came up.

    Args:
      file: the file.
      what: what cannot be done, in words.
      error: what came up; the line of the file in which it did is told.
    """
    if isinstance(error, SyntaxError) and error.filename == file.path:
        lines = [error.lineno]
    else:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == file.path]
    where = f", line {lines[-1]}" if lines else ""
    return BrokenCaseError(
        f"{file.label}{where}: {what} ({type(error).__name__}: {first_line(error)}). Mend the "
        "file; CONTRIBUTING.md says how to write a case."
    )


def _home(given: Optional[str]) -> str:
    checkout = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 3))
    folders = [os.curdir, checkout] if given is None else [given]
    for folder in folders:
        if all(os.path.isdir(os.path.join(folder, side)) for side in SIDES):
            return folder
    raise BnguardError(
        f"{given or 'the current folder'}: no repro/ and fixed/ here; the cases are not installed "
        "with the package. Run bnguard from a checkout of its repository, or name one with --cases."
    )


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: Exception) -> BrokenCaseError:
    what = getattr(error, "strerror", None) or first_line(error)
    return BrokenCaseError(
        f"{path}: cannot be read ({what}); expected repro/ and fixed/ with a case's two files in "
        "UTF-8. Mend it, or name another folder with --cases."
    )


def _defined(module: types.ModuleType) -> List[str]:
    return [name for name in vars(module) if not name.startswith("_")]


def _sections(docstring: str) -> Dict[str, List[str]]:
    sections: Dict[str, List[str]] = {}
    heading = "Title"
    for line in docstring.splitlines():
        if line and not line.startswith(" "):
            heading = line.strip() if sections else "Title"
            sections[heading] = [] if heading != "Title" else [line]
        elif line.strip():
            sections.setdefault(heading, []).append(line.strip())
    return sections
