"""For programs: the reports' own JSON form."""

from __future__ import annotations

import json
from typing import Sequence

from bnguard.analysis.findings import Report


def render(reports: Sequence[Report]) -> str:
    """One report as an object; several as an object with the list `reports`."""
    documents = [report.as_json() for report in reports]
    return json.dumps(documents[0] if len(documents) == 1 else {"reports": documents}, indent=2)
