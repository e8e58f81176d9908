"""JSON, for programs; docs/schema/report.json describes it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Sequence

if TYPE_CHECKING:
    from bnguard.analysis.report import Report

VERSION = 1
"""The version of the shape. It changes if a program that reads the shape has to change."""


def render(reports: Sequence[Report], color: bool = False, errors: Sequence[str] = ()) -> str:
    """Return an object with the version of its shape, the list of reports, and the errors."""
    document = {
        "version": VERSION,
        "reports": [report.to_dict() for report in reports],
        "errors": list(errors),
    }
    return json.dumps(document, indent=2)
