"""Search the catalogue for a symptom in the words of its reporter.

The texts of each case and answer are ranked by BM25 (Robertson and Zaragoza, 2009) over stems, with
a weight for each field, as in BM25F: a term in a title counts as three in a cause. The few lines
that this takes need no array library, so that `bnguard list` needs none.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
import math
import re
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from snowballstemmer import stemmer

from bnguard.errors import BnguardError
from bnguard.harness.cases import catalogue
from bnguard.harness.cases.answers import ANSWERS
from bnguard.harness.cases.docstring import ALSO_SAID_AS, SYMPTOM, TITLE, Docstring
from bnguard.harness.results.terms import Side

FIELD_WEIGHTS = {"name": 2.0, TITLE: 3.0, SYMPTOM: 3.0, ALSO_SAID_AS: 3.0, "Cause": 1.0, "Fix": 0.5}
DOUBTFUL = 0.25
"""The share of a query's weight below which the best match may not fit."""

_SATURATION, _LENGTH = 1.2, 0.6  # k1 and b
_IDENTIFIER = re.compile(r"[A-Za-z]+(?:_[A-Za-z]+)+")
_WORD = re.compile(r"[A-Z]{2,}(?![a-z])|[A-Z]?[a-z]+|\d+")
_STOP_WORDS = frozenset(
    """
    a about after all also am an and any are as at be been but by can could did do does each even
    for from get gets had has have how i if in into is it its just me my no not of on only or our
    out should so than that the their them then there these they this to use used using very was
    we well were what when where which while who why will with without would you your
    bug error help issue please problem question strange wrong
    batch batch_norm batch_normalization bn batchnorm contrib layer layers norm normalization
    normalisation tensorflow tf
    """.split()  # noqa: SIM905 - a list literal would be long
)
_SYNONYMS = {
    "stats": "statistics",
    "running": "moving",
    "avg": "average",
    "averages": "average",
    "mean": "average",
    "means": "average",
    "var": "variance",
    "eval": "evaluation",
    "validation": "evaluation",
    "val": "evaluation",
    "test": "evaluation",
    "testing": "evaluation",
    "predict": "inference",
    "prediction": "inference",
    "predictions": "inference",
    "serving": "inference",
    "infer": "inference",
    "ckpt": "checkpoint",
    "gpu": "device",
    "gpus": "device",
    "multigpu": "device",
    "finetune": "finetuning",
    "phase": "mode",
    "optimiser": "optimizer",
}
_stem = lru_cache(maxsize=None)(stemmer("english").stemWord)


@dataclass(frozen=True)
class Match:
    """A case or an answer that a search found.

    Attributes:
      name: the name of the case, or of the answer.
      text: the symptom of the case, or the answer.
      score: the BM25 score.
      coverage: the share of the query's weight that its texts contain, from 0 to 1.
      is_case: whether it is a case.
    """

    name: str
    text: str
    score: float
    coverage: float
    is_case: bool


def search(query: str, folder: Optional[str] = None) -> List[Match]:
    """Return the cases and answers that share a term with `query`, best match first.

    Args:
      query: the words of a symptom.
      folder: the folder with the cases, as for `catalogue.names`.

    Raises:
      BnguardError: nothing shares a term with it.
      BrokenCaseError: a case's file is wrong.
    """
    index, shown, cases = _catalogue_index(folder)
    scores = index.scores(query)
    if not scores:
        raise BnguardError(
            f"--symptom {query!r}: no symptom contains any of these words; `bnguard list` shows "
            "all symptoms. Try the words of an error message, or the name of what moved."
        )
    return [
        Match(name, shown[name], score, index.coverage(query, name), name in cases)
        for name, score in scores.items()
    ]


@lru_cache(maxsize=1)
def _catalogue_index(folder: Optional[str]) -> Tuple[Index, Mapping[str, str], Sequence[str]]:
    """Return the index of all cases and answers, what is shown of each, and which are cases."""
    texts: Dict[str, Mapping[str, str]] = {}
    shown: Dict[str, str] = {}
    cases = catalogue.names(folder)
    for name in cases:
        docstring = Docstring(catalogue.find(name, Side.REPRO, folder))
        texts[name] = {"name": name, **docstring.sections}
        shown[name] = docstring.summary(SYMPTOM)
    for answer in ANSWERS:
        texts[answer.name] = {TITLE: answer.question, ALSO_SAID_AS: " ".join(answer.also_said_as)}
        shown[answer.name] = answer.text
    return Index(texts), shown, cases


class Index:
    """The terms of some documents.

    Args:
      documents: the texts of each document, by field; fields without a weight do not count.
    """

    def __init__(self, documents: Mapping[str, Mapping[str, str]]) -> None:
        self._frequencies: Dict[str, Dict[str, float]] = {}
        for name, fields in documents.items():
            weighted: Dict[str, float] = {}
            for field, text in fields.items():
                for term, count in Counter(terms(text)).items():
                    weighted[term] = weighted.get(term, 0.0) + FIELD_WEIGHTS.get(field, 0.0) * count
            self._frequencies[name] = {term: weight for term, weight in weighted.items() if weight}
        lengths = {name: sum(weights.values()) for name, weights in self._frequencies.items()}
        mean = sum(lengths.values()) / max(1, len(lengths)) or 1.0
        self._norms = {
            name: _SATURATION * (1 - _LENGTH + _LENGTH * length / mean)
            for name, length in lengths.items()
        }
        self._documents = Counter(
            term for weights in self._frequencies.values() for term in weights
        )

    def scores(self, query: str) -> Dict[str, float]:
        """Return the score of each document that shares a term with `query`, best first."""
        found = {name: self._score(terms(query), name) for name in self._frequencies}
        ordered = sorted(found.items(), key=lambda item: -item[1])
        return {name: score for name, score in ordered if score > 0}

    def coverage(self, query: str, name: str) -> float:
        """Return the share of a query's weight that a document contains."""
        wanted = {term: self._rarity(term) for term in terms(query)}
        known = sum(rarity for term, rarity in wanted.items() if term in self._frequencies[name])
        return known / sum(wanted.values()) if wanted else 0.0

    def _score(self, query: Sequence[str], name: str) -> float:
        frequencies, norm = self._frequencies[name], self._norms[name]
        return sum(
            self._rarity(term) * frequencies[term] * (_SATURATION + 1) / (frequencies[term] + norm)
            for term in dict.fromkeys(query)
            if term in frequencies
        )

    def _rarity(self, term: str) -> float:
        """Return the inverse document frequency of a term."""
        count = self._documents[term]
        return math.log(1 + (len(self._frequencies) - count + 0.5) / (count + 0.5))


def terms(text: str) -> List[str]:
    """Return the stems of a text's words, and its identifiers, in lower case."""
    # Not by case: the plural of an acronym, and NaN.
    text = re.sub(r"\b(NaN|[A-Z]{2,}(?=s\b))", lambda found: found.group().lower(), text)
    words, identifiers = (
        [found.lower() for found in pattern.findall(text) if found.lower() not in _STOP_WORDS]
        for pattern in (_WORD, _IDENTIFIER)
    )
    return [*(_stem(_SYNONYMS.get(word, word)) for word in words), *identifiers]
