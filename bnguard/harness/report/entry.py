"""One case of a run of the whole catalogue, as reports render it."""

from __future__ import annotations

from typing import NamedTuple, Optional, Sequence, Tuple

from bnguard.harness.cases.case_file import CaseFile
from bnguard.harness.claims import Verdict
from bnguard.harness.results.record import Record
from bnguard.harness.results.terms import Comparison

Judged = Tuple[Record, Verdict]
"""A record and the verdict of its case's claim."""


class Entry(NamedTuple):
    """One case of a run of the whole catalogue.

    Attributes:
      file: the file of its buggy side, for the docstring.
      sides: both sides' records and verdicts; empty if the case cannot run here.
      skipped: the reason why it cannot run; None if it can.
    """

    file: CaseFile
    sides: Sequence[Judged] = ()
    skipped: Optional[str] = None

    @property
    def comparison(self) -> Comparison:
        """Return whether both sides showed what they claim."""
        if self.skipped:
            return Comparison.SKIPPED
        shown = all(verdict.shown for _, verdict in self.sides)
        return Comparison.SHOWN if shown else Comparison.NOT_SHOWN
