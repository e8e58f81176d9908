"""SARIF 2.1.0, for code scanning services.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html, and what GitHub requires beyond:
https://docs.github.com/en/code-security/reference/code-scanning/sarif-files/sarif-support
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, Optional, Sequence
from urllib.parse import quote

from bnguard._version import __version__
from bnguard.analysis.findings import (
    ERROR,
    NOTE,
    WARNING,
    Finding,
    Frame,
    Location,
    Op,
    group,
    group_fingerprint,
    group_statement,
)
from bnguard.analysis.rules import RULES
from bnguard.analysis.rules.rule import Rule
from bnguard.runtime.streams import printable

if TYPE_CHECKING:
    from bnguard.analysis.report import Report

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_PAGES = "https://bnguard.github.io/bnguard/rules/"
_INDEX = {rule.code: index for index, rule in enumerate(RULES)}
_ABOUT = {rule.code: rule.about for rule in RULES}
_URGENCY = {ERROR: "error", WARNING: "warning", NOTE: "recommendation"}  # GitHub's words
# GitHub refuses a run with more results, and shows no more of the others.
_MOST_RESULTS = 25_000
_MOST_LOCATIONS = 100
_MOST_STEPS = 1_000
_TOO_MANY = "a service that takes this file accepts no more. Audit fewer files at once"
_LINKED = 10  # variables that the message names


def render(reports: Sequence[Report], color: bool = False, errors: Sequence[str] = ()) -> str:
    """Return one run with a result for each cause; where nothing could be read, without results."""
    causes = [(report, members) for report in reports for members in group(report.findings)]
    numbers = _occurrences([group_fingerprint(members) for _, members in causes])
    results = [_result(*cause, number) for cause, number in zip(causes[:_MOST_RESULTS], numbers)]
    limits = [
        f"{report.source}: limit reached: {one}" for report in reports for one in report.limits
    ]
    if len(causes) > _MOST_RESULTS:
        limits.append(f"{_MOST_RESULTS:,} of {len(causes):,} results are here: {_TOO_MANY}")
    notifications = [
        *(_notification(WARNING, text) for text in limits),
        *(_notification(ERROR, error) for error in errors),
    ]
    driver = {
        "name": "bnguard",
        "version": __version__,
        "semanticVersion": __version__,
        "informationUri": _PAGES,
        "rules": list(map(_rule, RULES)),
    }
    invocation = {
        "executionSuccessful": not errors,
        "toolExecutionNotifications": notifications,
        "workingDirectory": {"uri": f"{Path(os.path.realpath(os.curdir)).as_uri()}/"},
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [invocation],
        "results": results,
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def rule_page(code: str) -> str:
    """Return the address of the page about a rule."""
    return f"{_PAGES}{code}/"


def _occurrences(fingerprints: Sequence[str]) -> Iterator[int]:
    """Yield of each fingerprint how often it has occurred so far: 1 for the first."""
    seen: Dict[str, int] = {}
    for fingerprint in fingerprints:
        seen[fingerprint] = seen.get(fingerprint, 0) + 1
        yield seen[fingerprint]


def _notification(level: str, text: str) -> Dict[str, Any]:
    return {"level": level, "message": {"text": _plain(text)}}


def _rule(rule: Rule) -> Dict[str, Any]:
    documentation = (rule.documentation or "").strip()
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": rule.name.replace("-", " ")},
        "fullDescription": {"text": rule.summary},
        "help": {"text": documentation, "markdown": documentation},
        "helpUri": rule_page(rule.code),
        "defaultConfiguration": {"level": rule.severity},
        "properties": {
            "tags": ["batch-normalization", "tensorflow"],
            "precision": "high",
            "problem.severity": _URGENCY[rule.severity],
        },
    }


def _result(report: Report, members: Sequence[Finding], occurrence: int) -> Dict[str, Any]:
    """Return the result of a group; `occurrence` numbers those with one fingerprint."""
    first = members[0]
    shown = next((finding for finding in members if finding.location), first)
    subjects = list({finding.subject: finding for finding in members}.values())
    fingerprint = group_fingerprint(members)
    result: Dict[str, Any] = {
        "ruleId": first.rule,
        "ruleIndex": _INDEX[first.rule],
        "level": first.severity,
        "message": {"text": _message(members, subjects)},
        "locations": [_location(report, shown.op, shown.location)],
        "partialFingerprints": {
            "primaryLocationLineHash": f"{fingerprint}:{occurrence}",
            "bnguard/v1": fingerprint,
        },
        "relatedLocations": [
            _related(report, number, finding)
            for number, finding in enumerate(subjects[:_MOST_LOCATIONS], start=1)
        ],
        "properties": {
            "certain": first.certain,
            "variables": [finding.variable for finding in members if finding.variable],
            "fetch": first.fetch,
            "copies": list(map(printable, report.copies)),
        },
    }
    path = min(members, key=lambda finding: len(finding.path)).path
    if path:
        steps = [{"location": _location(report, op.name)} for op in _ends(path)]
        result["codeFlows"] = [{"threadFlows": [{"locations": steps}]}]
    return result


def _ends(path: Sequence[Op]) -> Sequence[Op]:
    """Return a path, or the two ends of a long one."""
    half = _MOST_STEPS // 2
    return path if len(path) <= _MOST_STEPS else [*path[:half], *path[-half:]]


def _message(members: Sequence[Finding], subjects: Sequence[Finding]) -> str:
    """Return the problem, the remedy, and links to the related locations of the first subjects."""
    first = members[0]
    text = _plain(f"{group_statement(members, _ABOUT[first.rule])}. {first.remedy}.")
    if len(subjects) == 1:
        return text
    links = [
        f"[{_plain(finding.subject)}]({number})"
        for number, finding in enumerate(subjects[:_LINKED], start=1)
    ]
    more = len(subjects) - len(links)
    return f"{text} Concerned: {', '.join(links)}{f' and {more} more' if more else ''}."


def _plain(text: str) -> str:
    """Return text of a message as one line in which nothing is a link."""
    text = printable(text)
    for letter in "\\[]":
        text = text.replace(letter, f"\\{letter}")
    return text


def _related(report: Report, number: int, finding: Finding) -> Dict[str, Any]:
    location = _location(report, finding.subject, finding.location)
    return {"id": number, "message": {"text": _plain(finding.subject)}, **location}


def _location(report: Report, name: str, built_at: Optional[Location] = None) -> Dict[str, Any]:
    """Return the place of an op or variable: the user's source line if that is known, or the file.

    The line is that of the innermost frame in a file: nothing is shown at a notebook's cell. A
    graph file has no lines; the region is its start, as services require one.
    """
    frames = () if built_at is None else (*built_at.stack, Frame(*built_at[:4]))
    line = next((frame for frame in reversed(frames) if frame.is_in_file), None)
    if line is None:
        return {
            "physicalLocation": {
                "artifactLocation": {"uri": _uri(report.path or report.source)},
                "region": _region(1, 0),
            },
            "logicalLocations": [{"fullyQualifiedName": name, "kind": "object"}],
        }
    region = _region(max(1, line.line), len(line.text))
    if line.text:
        region["snippet"] = {"text": line.text}
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": _uri(line.file)},
            "region": region,
        },
        "logicalLocations": [
            {"fullyQualifiedName": printable(report.source), "kind": "module"},
            {"fullyQualifiedName": name, "kind": "object"},
        ],
    }


def _region(line: int, length: int) -> Dict[str, Any]:
    """Return the region of the first `length` characters of a line."""
    return {"startLine": line, "startColumn": 1, "endLine": line, "endColumn": length + 1}


def _uri(file: str) -> str:
    """Return the URI of a path: relative in the current folder, such as a checkout.

    Links are resolved, as code scanning shows nothing at a link.
    """
    path, folder = os.path.realpath(file), os.path.join(os.path.realpath(os.curdir), "")
    if not path.startswith(folder):
        return Path(path).as_uri()
    return quote(os.fsencode(path[len(folder) :].replace(os.sep, "/")))
