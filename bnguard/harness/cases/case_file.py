"""One file of a case: its name, its side and its path."""

from __future__ import annotations

from typing import NamedTuple

from bnguard.harness.results.terms import Side


class CaseFile(NamedTuple):
    """One side of a case: `repro/NAME.py` or `fixed/NAME.py`."""

    name: str
    side: Side
    path: str

    @property
    def label(self) -> str:
        """Return the path below the folder of all cases, such as `repro/two_branch_cond.py`."""
        return f"{self.side}/{self.name}.py"
