"""Read texts of a command line or a configuration file as values of AuditOptions."""

from __future__ import annotations

from typing import Dict, Optional, Sequence, Tuple

from bnguard.analysis.dataflow.constant_folding import StaticValue


def feeds(texts: Sequence[str]) -> Optional[Dict[str, StaticValue]]:
    """Return the feeds of texts such as `is_training=false`; None for no text."""
    return dict(map(_feed, texts)) or None


def tags(text: Optional[str]) -> Optional[Tuple[str, ...]]:
    """Return the tags of a text such as `serve,gpu`; None for None."""
    return None if text is None else tuple(filter(None, text.split(",")))


def codes(texts: Sequence[str]) -> Tuple[str, ...]:
    """Return the codes of texts such as `BN1,BN301`."""
    return tuple(code.strip() for text in texts for code in text.split(","))


def _feed(text: str) -> Tuple[str, StaticValue]:
    name, has_value, value = text.partition("=")
    return name, _static_value(value) if has_value else None


def _static_value(text: str) -> StaticValue:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text.encode()
