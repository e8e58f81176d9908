"""Formatters: reports as text, JSON, SARIF, Mermaid and HTML, made of reports and nothing else."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Sequence

if TYPE_CHECKING:
    from bnguard.analysis.report import Report

FORMATS = ("text", "json", "sarif", "mermaid", "html")
"""The formats. Each is a module here with a function `render(reports, color)`."""


def format_reports(reports: Sequence[Report], form: str, color: bool = False) -> str:
    """Return `reports` in one of FORMATS; only text is colored."""
    formatter = import_module(f"{__name__}.{form}")
    text: str = formatter.render(reports, color)
    return text
