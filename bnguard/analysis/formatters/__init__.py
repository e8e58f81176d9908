"""Formatters: reports as text, JSON, SARIF and Mermaid. They take reports and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Dict, Sequence

from bnguard.analysis.formatters import json, mermaid, sarif, text

if TYPE_CHECKING:
    from bnguard.analysis.report import Report

_FORMATTERS: Dict[str, Callable[[Sequence[Report], bool], str]] = {
    "text": text.format_text,
    "json": json.format_json,
    "sarif": sarif.format_sarif,
    "mermaid": mermaid.format_mermaid,
}
FORMATS = tuple(_FORMATTERS)


def format_reports(reports: Sequence[Report], form: str, color: bool = False) -> str:
    """Return `reports` in one of FORMATS; only text is colored."""
    return _FORMATTERS[form](reports, color)
