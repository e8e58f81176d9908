"""Load a case file: the one place where bnguard runs code of a file that it is given."""

from __future__ import annotations

from importlib.machinery import SourceFileLoader
import types
from typing import Any, Callable, NamedTuple, Optional

from bnguard.harness.cases.case import Case, Model
from bnguard.harness.cases.case_file import CaseFile
from bnguard.harness.cases.docstring import read_text
from bnguard.harness.cases.errors import BrokenCaseError, UnavailableError, broken


class LoadedCase(NamedTuple):
    """A case file, imported.

    Attributes:
      file: the file.
      case: the properties that both sides share.
      build: builds the graph, from the layer's `fused`: None, True or False.
      serve: builds the graph of the program that restores a checkpoint, from `fused` and the
        checkpoint's prefix. If the file has no `serve`, this is `build`.
    """

    file: CaseFile
    case: Case
    build: Callable[[Optional[bool]], Model]
    serve: Callable[[Optional[bool], str], Model]


def load(file: CaseFile) -> LoadedCase:
    """Import a case file.

    Raises:
      UnavailableError: it needs a package that is not installed here.
      BrokenCaseError: it cannot be read, or does not define a case.
    """
    read_text(file.path)  # raises if it cannot be read
    loader = SourceFileLoader(f"{file.side}.{file.name}", file.path)
    module: Any = types.ModuleType(loader.name)
    try:
        loader.exec_module(module)
    except ImportError as error:
        if (error.name or "").split(".")[0] == "bnguard":
            raise broken(file, "cannot be loaded", error) from error
        raise UnavailableError(
            f"{file.label} cannot run here: {error} Its docstring names the packages to install."
        ) from error
    except (Exception, SystemExit) as error:  # a case file may raise anything
        raise broken(file, "cannot be loaded", error) from error
    build = getattr(module, "build", None)
    serve = getattr(module, "serve", lambda fused, checkpoint: module.build(fused))
    is_case = isinstance(getattr(module, "CASE", None), Case)
    if not (is_case and callable(build) and callable(serve)):
        defined = [name for name in vars(module) if not name.startswith("_")]
        raise BrokenCaseError(
            f"{file.label}: it defines {', '.join(defined) or 'nothing'}; expected a Case called "
            "CASE and a function build(fused). CONTRIBUTING.md explains how to write a case."
        )
    return LoadedCase(file, module.CASE, build, serve)
