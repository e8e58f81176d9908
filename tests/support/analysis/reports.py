"""Findings and reports, made by hand."""

from bnguard.analysis.findings import Assumptions, Finding, Op
from bnguard.analysis.report import Report

HOSTILE = 'a"b]\n<c>#1;`d`/%~| --> end'
PATH = (Op("y", "Relu"), Op(HOSTILE, "AssignSub"))


def finding(**fields):
    defaults = {
        "rule": "BN101",
        "severity": "error",
        "certain": True,
        "variable": "bn/moving_mean",
        "layer": "bn",
        "op": "bn/AssignSub",
        "path": PATH,
        "fetch": "y:0",
        "problem": "is written by AssignSub",
        "remedy": "Do not",
    }
    return Finding(**{**defaults, **fields})


def report(*findings, source="runs/model 1%.meta"):
    return Report(source, 3, ("bn/moving_mean",), Assumptions(), findings)


REPORTS = [
    report(
        finding(),
        finding(variable="bn/moving_variance"),
        finding(rule="BN205", severity="warning", path=(), fetch=""),
        finding(rule="BN302", variable="", layer="", op=HOSTILE, certain=False),
    ),
    report(source="clean.pb"),
]
