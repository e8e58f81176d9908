"""Errors of case files."""

from __future__ import annotations

import traceback

from bnguard.errors import BnguardError, first_line
from bnguard.harness.cases.case_file import CaseFile


class UnavailableError(BnguardError):
    """A case cannot run here, or not with these options."""


class BrokenCaseError(BnguardError):
    """A case's file is wrong; other cases still run."""


def broken(file: CaseFile, problem: str, error: BaseException) -> BrokenCaseError:
    """Return the error that reports an exception in a case file, with its line.

    Args:
      file: the file.
      problem: the failed action, such as `cannot be loaded`.
      error: the exception.
    """
    if isinstance(error, SyntaxError) and error.filename == file.path:
        lines = [error.lineno]
    else:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == file.path]
    where = f", line {lines[-1]}" if lines else ""
    return BrokenCaseError(
        f"{file.label}{where}: {problem} ({type(error).__name__}: {first_line(error)}). Fix the "
        "file; CONTRIBUTING.md explains how to write a case."
    )


def unreadable(path: str, error: Exception) -> BrokenCaseError:
    """Return the error that reports a file or folder of the catalogue that cannot be read."""
    reason = getattr(error, "strerror", None) or first_line(error)
    return BrokenCaseError(
        f"{path}: cannot be read ({reason}); expected the folders repro/ and fixed/ with one UTF-8 "
        "file for each case. Fix it, or give a different folder with --cases."
    )
