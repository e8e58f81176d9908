"""Reports as text, JSON, SARIF and Mermaid. A renderer sees reports and rules, nothing else."""

from __future__ import annotations

import importlib
from typing import Sequence

from bnguard.analysis.findings import Report

FORMATS = ("text", "json", "sarif", "mermaid")


def render(reports: Sequence[Report], form: str, color: bool = False) -> str:
    """`reports` in one of FORMATS; `color` only matters to text."""
    module = importlib.import_module(f"bnguard.analysis.formatters.{form}")
    return module.render(reports, color) if form == "text" else module.render(reports)
