"""Baselines: files with the fingerprints of known findings, which an audit lets pass."""

from __future__ import annotations

from dataclasses import dataclass, replace
import json
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from bnguard.analysis.report import Report
from bnguard.repository.errors import RepositoryError, reason

_VERSION = 1
_SHOWN = ("rule", "layer", "variable", "op", "problem")  # of a finding, for people


@dataclass(frozen=True)
class Baseline:
    """Known findings.

    Attributes:
      file: the path of the file.
      entries: by fingerprint, what a person needs to know a finding by.
    """

    file: str
    entries: Mapping[str, Mapping[str, str]]

    def without_known(self, report: Report) -> Report:
        """Return a report without the known findings, which it only counts."""
        new = tuple(one for one in report.findings if one.fingerprint not in self.entries)
        return replace(report, findings=new, known=len(report.findings) - len(new))

    def stale(self, reports: Sequence[Report], rules: Sequence[str]) -> Tuple[str, ...]:
        """Return the entries that none of the reports has, in words.

        Args:
          reports: reports with all findings.
          rules: the codes of the rules that were applied; the entries of others are not stale.
        """
        found = {finding.fingerprint for report in reports for finding in report.findings}
        return tuple(
            f"{entry['rule']} {entry['variable'] or entry['layer'] or entry['op']}"
            for fingerprint, entry in self.entries.items()
            if fingerprint not in found and entry["rule"] in rules
        )


def read_baseline(path: str) -> Baseline:
    """Read a baseline.

    Raises:
      RepositoryError: it cannot be read, or is no baseline.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:  # an editor may have added the mark
            document = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise RepositoryError(
            f"{path}: the baseline cannot be read ({reason(error)}); make one with --write-baseline"
        ) from error
    try:
        version, findings = document["version"], document["findings"]
        if type(version) is not int or not isinstance(findings, list):
            raise TypeError
        if version != _VERSION:
            raise RepositoryError(
                f"{path}: a baseline of version {version}; expected {_VERSION}. "
                "Make a new one with --write-baseline"
            )
        entries = {str(entry["fingerprint"]): _entry(entry) for entry in findings}
    except (AttributeError, KeyError, TypeError) as error:
        raise RepositoryError(
            f"{path}: not a baseline; expected what --write-baseline writes"
        ) from error
    return Baseline(path, entries)


def _entry(values: Mapping[str, Any]) -> Dict[str, str]:
    return {key: str(values[key]) for key in _SHOWN}


def write_baseline(path: str, reports: Sequence[Report]) -> int:
    """Write the findings of reports as a baseline, sorted; return their number.

    Findings with one fingerprint are one entry.

    Raises:
      RepositoryError: the file cannot be written.
    """
    findings = {one.fingerprint: one for report in reports for one in report.findings}
    entries: List[Dict[str, str]] = [
        {**{key: str(getattr(one, key)) for key in _SHOWN}, "fingerprint": fingerprint}
        for fingerprint, one in findings.items()
    ]
    entries.sort(key=lambda entry: [*entry.values()])
    text = json.dumps({"version": _VERSION, "findings": entries}, indent=2)
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"{text}\n")
    except (OSError, ValueError) as error:
        raise RepositoryError(
            f"{path}: the baseline cannot be written ({reason(error)})"
        ) from error
    return len(entries)
