"""The properties that cases claim: each judges a record, and says in words what it saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Tuple

from bnguard.harness.record import Pass, Record
import numpy as np


class Verdict(NamedTuple):
    """What a claim found in a record.

    Attributes:
      word: the claim's `healthy` or `defective` word, or `unclear` where the record shows
        neither as strictly as the claim asks.
      shown: whether that is what the record's side claims.
      reasons: sentences with the numbers.
    """

    word: str
    shown: bool
    reasons: Tuple[str, ...]


class Claim:
    """A property of a graph: the fixed side has it, the buggy side lacks it."""

    healthy: str
    defective: str

    def judge(self, record: Record) -> Verdict:
        """Say which of the two the record shows, and whether its side claims that."""
        defects, doubts, facts = self.evidence(record)
        word = "unclear" if doubts else self.defective if defects else self.healthy
        claimed = self.defective if record.side == "repro" else self.healthy
        return Verdict(word, word == claimed, tuple(facts + doubts))

    def evidence(self, record: Record) -> Tuple[bool, List[str], List[str]]:
        """Whether the defect shows, what speaks against a clear verdict, and the facts."""
        raise NotImplementedError


@dataclass(frozen=True)
class StatisticsStillAtInference(Claim):
    """Inference leaves every variable bit-identical; its output depends on nothing else.

    Defective (`drift`): in every pass moving_mean and moving_variance, and nothing else,
    move as training on the inference rows would move them.
    """

    healthy = "still"
    defective = "drift"

    def evidence(self, record: Record) -> Tuple[bool, List[str], List[str]]:
        """Compare every pass with standing still and with the closed-form recurrence."""
        moved = [one for one in record.passes if any(one.drift.values())]
        doubts = [doubt for one in moved for doubt in _not_the_recurrence(one)]
        if moved and len(moved) < len(record.passes):
            doubts.append("Statistics moved in one session and stood still in the other.")
        if not moved:
            doubts += _not_deterministic(record.passes)
        facts = [fact for one in record.passes for fact in _pass_facts(one)]
        return bool(moved), doubts, facts + _checkpoint_facts(record)


def _not_the_recurrence(one: Pass) -> List[str]:
    doubts = []
    for name, change in one.drift.items():
        if change and name not in one.expected:
            doubts.append(f"{name} moved in the {one.session} session; only statistics should.")
    for name, expected in one.expected.items():
        if not np.allclose(one.after[name], expected, rtol=1e-5, atol=1e-5):
            doubts.append(
                f"{name} is {one.after[name]} after the {one.session} session's inference; the "
                f"recurrence over its rows gives {expected}."
            )
    if any(step.reads == "other" for step in one.steps):
        doubts.append("An output fits the statistics of neither before nor after its step.")
    return doubts


def _not_deterministic(passes: Tuple[Pass, ...]) -> List[str]:
    doubts = []
    if any(step.reads != "before" for one in passes for step in one.steps):
        doubts.append("An output does not follow from the statistics the session holds.")
    for one in passes[1:]:
        pairs = zip(passes[0].steps, one.steps)
        if any(first.y.tobytes() != second.y.tobytes() for first, second in pairs):
            doubts.append(
                f"The {passes[0].session} and the {one.session} session answer differently."
            )
    return doubts


def _pass_facts(one: Pass) -> List[str]:
    where = f"{len(one.steps)} inferences in the {one.session} session"
    facts = [f"{where}: {_changes(one.drift)}."]
    late = sum(step.reads != "before" for step in one.steps)
    facts.append(
        f"{late} of {len(one.steps)} outputs read statistics that the same step had updated."
    )
    return facts


def _checkpoint_facts(record: Record) -> List[str]:
    if record.checkpoints is None:
        return []
    changes = _changes(record.checkpoints.drift)
    return [f"The checkpoint saved after evaluation, against the one before it: {changes}."]


def _changes(drift: Dict[str, float]) -> str:
    moved = [f"{name} moved by {change:.6g}" for name, change in sorted(drift.items()) if change]
    return ", ".join(moved) or "every variable bit-identical"
