"""The fixed words of records and verdicts; the values are what JSON and text show."""

from __future__ import annotations

from enum import Enum


class Term(str, Enum):
    """A word that compares, hashes and prints like its value."""

    def __str__(self) -> str:
        return str(self.value)


class Side(Term):
    """A side of a case: the folder of its file."""

    REPRO = "repro"
    FIXED = "fixed"


class Phase(Term):
    """A phase of a case's run.

    `SERVE` builds the program that restores a checkpoint; `BUILD` builds any other.
    """

    BUILD = "build"
    TRAIN = "train"
    INFER = "infer"
    SERVE = "serve"


class Reads(Term):
    """The statistics that an output was computed from.

    `BEFORE` and `AFTER` are relative to the updates of the same step, `MIXED` is some of each,
    `BATCH` is the moments of the fed rows, and `OTHER` is none of these.
    """

    BEFORE = "before"
    AFTER = "after"
    MIXED = "mixed"
    BATCH = "batch"
    OTHER = "other"


class Outcome(Term):
    """What a record shows of a claim."""

    HEALTHY = "healthy"
    DEFECTIVE = "defective"
    UNCLEAR = "unclear"


class Comparison(Term):
    """The result of a case's two runs: whether both sides showed what they claim."""

    SHOWN = "shown"
    NOT_SHOWN = "not shown"
    SKIPPED = "skipped"


SIDES = tuple(Side)
