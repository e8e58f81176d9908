"""What every claim has: two words, a figure, and how a record is judged."""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Tuple

from bnguard.harness.claims import invariants, narrative
from bnguard.harness.results.record import Record
import numpy as np


class Verdict(NamedTuple):
    """What a claim found in a record.

    Attributes:
      word: the claim's `healthy` or `defective` word, or `unclear` where the record shows
        neither as strictly as the claim asks.
      shown: whether that is what the record's side claims.
      reasons: sentences with the numbers.
      measures: what the figure is.
      figure: the one number, in words, that tells the two sides apart.
    """

    word: str
    shown: bool
    reasons: Tuple[str, ...]
    measures: str = ""
    figure: str = ""


class Claim:
    """A property of a program: the fixed side has it, the buggy side lacks it.

    All claims share one idea of health, for a fix that breaks something else is none. Each has
    its own idea of the defect, as strict: that nothing else is wrong.

    Attributes:
      healthy: the word for a record without any departure from health.
      defective: the word for one that shows the defect.
      measures: what `figure` is.
      concerns: the aspects of health that the defect is about; in the others it is healthy.
      fails_in: the phase in which the defect is an error; None: it is silent.
    """

    healthy: str
    defective: str
    measures: str
    concerns: Tuple[invariants.Invariant, ...]
    fails_in: Optional[str] = None

    def judge(self, record: Record) -> Verdict:
        """Say which of the two the record shows, and whether its side claims that."""
        missing = self.missing(record)
        departures = invariants.departures(record)
        doubts = missing or (self._doubts(record) if departures else [])
        word = "unclear" if doubts else self.defective if departures else self.healthy
        claimed = self.defective if record.side == "repro" else self.healthy
        reasons = narrative.sentences(record) + (departures + doubts if doubts else [])
        figure = "" if missing else self.figure(record)
        return Verdict(word, word == claimed, tuple(reasons), self.measures, figure)

    def missing(self, record: Record) -> List[str]:
        """What did not happen, so that the record cannot show the claim."""
        raise NotImplementedError

    def doubts(self, record: Record) -> List[str]:
        """What speaks against the record's showing this defect, in what it concerns."""
        raise NotImplementedError

    def figure(self, record: Record) -> str:
        """What `measures` says, in this record."""
        raise NotImplementedError

    def _doubts(self, record: Record) -> List[str]:
        return self.doubts(record) + invariants.departures(record, but=self.concerns)


def no_training(record: Record) -> List[str]:
    """What is missing for a claim about training."""
    return [] if record.training else ["No training step ran."]


def trained_mean(record: Record) -> str:
    """The layer's moving_mean after training, and its closed form."""
    last = record.training[-1].layers[record.layer]
    return f"{channels(last.statistics.mean)} ({channels(last.expected.mean)})"


def channels(values: np.ndarray) -> str:
    """A figure of every channel, to three digits; the first four of them."""
    shown = [f"{value:.3g}" for value in values[:4]]
    return " ".join(shown + ["..."] * (len(values) > 4))


def no_restored_session(record: Record) -> List[str]:
    """What is missing for a claim about a session that trained and the one that restored it."""
    return [] if len(record.passes) > 1 else ["No session restored what another had trained."]
