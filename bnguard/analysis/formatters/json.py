"""JSON, for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Sequence

if TYPE_CHECKING:
    from bnguard.analysis.report import Report


def render(reports: Sequence[Report], color: bool = False) -> str:
    """Return one report as an object, several as an object with the list `reports`."""
    documents = [report.to_dict() for report in reports]
    return json.dumps(documents[0] if len(documents) == 1 else {"reports": documents}, indent=2)
