"""How far a measurement is: for a function of the caller, or as a line on a terminal."""

from __future__ import annotations

import sys
from typing import Callable, NamedTuple, Optional, Union

from bnguard.errors import BnguardError


class Progress(NamedTuple):
    """How far a measurement is.

    Attributes:
      number: the pass over the data, from 0.
      passes: the number of passes.
      step: the batch of this pass, from 0.
      steps: the number of batches of a pass; None if it is not known.
    """

    number: int
    passes: int
    step: int
    steps: Optional[int]

    def __str__(self) -> str:
        batch = f"batch {self.step + 1}" + (f" of {self.steps}" if self.steps else "")
        return f"pass {self.number + 1} of {self.passes}, {batch}" if self.passes > 1 else batch


Report = Callable[[Progress], None]
"""A function that is called before each batch."""


def reporter(progress: Union[Report, bool, None]) -> Report:
    """Return the function to call before each batch.

    Raises:
      BnguardError: it is neither a function nor a bool.
    """
    if callable(progress):
        return progress
    if progress is not None and not isinstance(progress, bool):
        raise BnguardError(f"progress: got {progress!r}; expected a function, a bool or None.")
    return _nothing if progress is False or not sys.stderr.isatty() else _line


def _nothing(progress: Progress) -> None:
    """Report nothing."""


def _line(progress: Progress) -> None:
    """Write one line over the last; the last batch ends it."""
    is_last = progress.step + 1 == progress.steps and progress.number + 1 == progress.passes
    sys.stderr.write(f"\r\x1b[Kmeasuring {progress}" + ("\n" if is_last else ""))
    sys.stderr.flush()
