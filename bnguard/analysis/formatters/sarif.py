"""SARIF 2.1.0, for code scanning services.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Optional, Sequence
from urllib.parse import quote

from bnguard._version import __version__
from bnguard.analysis.findings import Finding, Location, shown_path
from bnguard.analysis.rules import RULES
from bnguard.analysis.rules.rule import Rule

if TYPE_CHECKING:
    from bnguard.analysis.report import Report

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_INDEX = {rule.code: index for index, rule in enumerate(RULES)}


def render(reports: Sequence[Report], color: bool = False) -> str:
    """Return one run with a result for each finding."""
    results = [_result(report, finding) for report in reports for finding in report.findings]
    driver = {
        "name": "bnguard",
        "version": __version__,
        "rules": list(map(_rule, RULES)),
    }
    notifications = [
        {"level": "warning", "message": {"text": f"{report.source}: limit reached: {limit}"}}
        for report in reports
        for limit in report.limits
    ]
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": notifications}],
        "results": results,
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _rule(rule: Rule) -> Dict[str, Any]:
    documentation = (rule.documentation or "").strip()
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": rule.name.replace("-", " ")},
        "help": {"text": documentation, "markdown": documentation},
    }


def _result(report: Report, finding: Finding) -> Dict[str, Any]:
    result: Dict[str, Any] = {
        "ruleId": finding.rule,
        "ruleIndex": _INDEX[finding.rule],
        "level": finding.severity,
        "message": {"text": finding.message},
        "locations": [_location(report, finding.op, finding.location)],
        "properties": {
            "certain": finding.certain,
            "variable": finding.variable,
            "fetch": finding.fetch,
        },
    }
    if finding.path:
        steps = [{"location": _location(report, op.name)} for op in finding.path]
        result["codeFlows"] = [{"threadFlows": [{"locations": steps}]}]
    return result


def _location(report: Report, op: str, built_at: Optional[Location] = None) -> Dict[str, Any]:
    """Return the op's place: the user's source line if it is known, otherwise the graph file."""
    if built_at is None:
        return {
            "physicalLocation": {"artifactLocation": {"uri": quote(report.source)}},
            "logicalLocations": [{"fullyQualifiedName": op, "kind": "object"}],
        }
    region: Dict[str, Any] = {"startLine": max(1, built_at.line)}
    if built_at.text:
        region["snippet"] = {"text": built_at.text}
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": _source_uri(built_at.file)},
            "region": region,
        },
        "logicalLocations": [
            {"fullyQualifiedName": report.source, "kind": "module"},
            {"fullyQualifiedName": op, "kind": "object"},
        ],
    }


def _source_uri(file: str) -> str:
    """Return a path in the current folder, such as a checkout, relative to it."""
    path = shown_path(file)
    return Path(path).as_uri() if os.path.isabs(path) else quote(path.replace(os.sep, "/"))
