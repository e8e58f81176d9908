"""The base of all claims: how a claim judges a record."""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Tuple

import numpy as np

from bnguard.harness.results import invariants, narrative
from bnguard.harness.results.record import Record
from bnguard.harness.results.terms import Outcome, Phase, Side


class Verdict(NamedTuple):
    """A claim's judgement of a record.

    Attributes:
      outcome: what the record shows; UNCLEAR if it shows neither health nor exactly the defect.
      word: the claim's word for the outcome.
      shown: whether the record's side claims this outcome.
      reasons: sentences with the numbers.
      measures: the meaning of the figure.
      figure: the number, as text, that distinguishes the two sides.
    """

    outcome: Outcome
    word: str
    shown: bool
    reasons: Tuple[str, ...]
    measures: str = ""
    figure: str = ""


class Claim:
    """A property of a case's graph: the fixed side has it, the buggy side lacks it.

    Every claim also checks the common invariants, so a fix that breaks something else is rejected.
    The defect is defined as strictly: apart from it, nothing may be wrong.

    Attributes:
      healthy: the word for a record that meets every invariant.
      defective: the word for a record that shows the defect.
      measures: the meaning of `figure`.
      concerns: the invariants that the defect violates; it must meet the others.
      fails_in: the phase in which the defect raises an error; None: it raises none.
    """

    healthy: str
    defective: str
    measures: str
    concerns: Tuple[invariants.Invariant, ...]
    fails_in: Optional[Phase] = None

    def judge(self, record: Record) -> Verdict:
        """Judge whether the record shows the defect, and whether its side claims that."""
        missing = self.missing(record)
        violations = self.violations(record)
        doubts = missing or (self._all_doubts(record) if violations else [])
        outcome = Outcome.HEALTHY
        if violations or doubts:
            outcome = Outcome.UNCLEAR if doubts else Outcome.DEFECTIVE
        claimed = Outcome.DEFECTIVE if record.side == Side.REPRO else Outcome.HEALTHY
        reasons = narrative.sentences(record) + (violations + doubts if doubts else [])
        figure = "" if missing else self.figure(record)
        word = self._word(outcome)
        return Verdict(outcome, word, outcome is claimed, tuple(reasons), self.measures, figure)

    def violations(self, record: Record) -> List[str]:
        """Return a sentence for each way in which the record is not healthy."""
        return invariants.violations(record)

    def missing(self, record: Record) -> List[str]:
        """Return what did not happen, although the claim needs it; one sentence each."""
        raise NotImplementedError

    def doubts(self, record: Record) -> List[str]:
        """Return the reasons why the record does not show exactly this defect."""
        raise NotImplementedError

    def figure(self, record: Record) -> str:
        """Return the record's value of what `measures` names."""
        raise NotImplementedError

    def _all_doubts(self, record: Record) -> List[str]:
        return self.doubts(record) + invariants.violations(record, but=self.concerns)

    def _word(self, outcome: Outcome) -> str:
        words = {Outcome.HEALTHY: self.healthy, Outcome.DEFECTIVE: self.defective}
        return words.get(outcome, str(outcome))


def no_training(record: Record) -> List[str]:
    """Return a sentence if no training ran."""
    return [] if record.training else ["No training step ran."]


def trained_mean(record: Record) -> str:
    """Return the layer's moving_mean after training, and its closed form."""
    last = record.training[-1].layers[record.layer]
    return f"{channels(last.statistics.mean)} ({channels(last.expected.mean)})"


def channels(values: np.ndarray) -> str:
    """Return the values of the first four channels, to three digits."""
    shown = [f"{value:.3g}" for value in values[:4]]
    return " ".join(shown + ["..."] * (len(values) > 4))


def no_restored_session(record: Record) -> List[str]:
    """Return a sentence if no session restored the variables of another."""
    return (
        [] if len(record.passes) > 1 else ["No session restored the variables of another session."]
    )
