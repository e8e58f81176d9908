"""Records and verdicts as JSON documents."""

from __future__ import annotations

from collections import Counter
import math
from typing import Any, Dict

import numpy as np

from bnguard.harness.cases.docstring import SYMPTOM, Docstring
from bnguard.harness.claims import Verdict
from bnguard.harness.report.entry import Entry
from bnguard.harness.results.record import InferencePass, Record


def as_json(record: Record, verdict: Verdict) -> Dict[str, Any]:
    """Return a record and its verdict as a JSON document.

    Arrays become nested lists, and numbers that are not finite become strings.
    """
    document: Dict[str, Any] = {
        "case": record.case,
        "side": record.side,
        "tensorflow": record.tensorflow,
        "variables": record.variables,
        "control_flow": record.control_flow,
        "fused": record.fused,
        "verdict": verdict.word,
        "shown": verdict.shown,
        "figure": verdict.figure,
        "reasons": verdict.reasons,
        "training": {scope: _layer(record, scope) for scope in record.initial},
        "passes": [_pass(inferred) for inferred in record.passes],
        "checkpoints": record.checkpoints and vars(record.checkpoints),
        "failure": record.failure and vars(record.failure),
    }
    return {name: _plain(value) for name, value in document.items()}


def entry_json(entry: Entry) -> Dict[str, Any]:
    """Return one case of a run of the whole catalogue as a JSON document."""
    return {
        "case": entry.file.name,
        "symptom": Docstring(entry.file).sections[SYMPTOM],
        "measures": entry.sides[0][1].measures if entry.sides else None,
        "verdict": entry.comparison.value,
        "skipped": entry.skipped,
        **{str(record.side): as_json(record, verdict) for record, verdict in entry.sides},
    }


def _pass(inferred: InferencePass) -> Dict[str, Any]:
    return {
        "session": inferred.session,
        "before": inferred.before,
        "after": inferred.after,
        "drift": inferred.drift,
        "earlier_runs": inferred.earlier_runs,
        "steps": [vars(step) for step in inferred.steps],
        "together": inferred.together and vars(inferred.together),
    }


def _layer(record: Record, scope: str) -> Dict[str, Any]:
    runs = [run.layers[scope] for run in record.training]
    return {
        "runs": len(runs),
        "due": Counter(run.due for run in runs),
        "absorbed": Counter(run.absorbed for run in runs),
        "statistics": [list(run.statistics) for run in runs[-1:]],
        "expected": [list(run.expected) for run in runs[-1:]],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str):
        return str(value)  # a Term becomes its value
    return value
