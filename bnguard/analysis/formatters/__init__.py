"""Formatters: reports as text, JSON, SARIF, Mermaid, Markdown and HTML, made of reports alone."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Sequence

if TYPE_CHECKING:
    from bnguard.analysis.report import Report

FORMATS = ("text", "json", "sarif", "mermaid", "markdown", "html")
"""The formats. Each is a module here with a function `render(reports, color, errors)`."""


def format_reports(
    reports: Sequence[Report], form: str, color: bool = False, errors: Sequence[str] = ()
) -> str:
    """Return reports as text.

    Args:
      reports: the reports; may be empty.
      form: one of FORMATS.
      color: whether to use ANSI colors; only "text" has any.
      errors: a line for each file that could not be read. In "text" and "mermaid" they are left
        out.
    """
    formatter = import_module(f"{__name__}.{form}")
    text: str = formatter.render(reports, color, errors)
    return text
