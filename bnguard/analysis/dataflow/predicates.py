"""Predicates: when a node runs, as a conjunction of the outcomes of undecided branches.

A predicate is a frozenset of outcomes, each "this selector takes this output of its Switch". The
empty conjunction is ALWAYS. None is NEVER: the node is dead. The algebra errs on one side. A
predicate may be weaker or less definite than the truth, but it is ALWAYS only for what certainly
runs, and NEVER only for what certainly does not.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Dict, FrozenSet, Hashable, Iterable, NamedTuple, Optional, Set, Tuple, cast

from bnguard.analysis import limits


class BranchOutcome(NamedTuple):
    """One outcome of a branch.

    Attributes:
      selector: the tensor that decides the branch.
      port: the output of the Switch that it selects.
      ports: the number of outputs.
    """

    selector: Hashable
    port: int
    ports: int


Predicate = Optional[FrozenSet[BranchOutcome]]

ALWAYS: FrozenSet[BranchOutcome] = frozenset()
NEVER: Predicate = None

_VISITS = 8  # to nodes, which take as long as one term of an alternative

UNDECIDED = frozenset([BranchOutcome("undecided", 0, 0)])


def conjunction(predicates: Iterable[Predicate]) -> Predicate:
    """Return the predicate that holds when all of `predicates` hold."""
    distinct = set(predicates)
    if NEVER in distinct:
        return NEVER
    distinct.discard(ALWAYS)
    known = cast(Set[FrozenSet[BranchOutcome]], distinct)
    union = known.pop() if len(known) == 1 else ALWAYS.union(*known)
    if len({outcome.selector for outcome in union}) < len(union):
        return NEVER  # two outcomes of one selector
    if len(union) > limits.PREDICATE_TERMS:
        limits.PREDICATE_TERMS.reach()
        return UNDECIDED
    return union


def disjunction(predicates: Iterable[Predicate], place: Hashable) -> Predicate:
    """Return the predicate that holds when any of `predicates` holds.

    Args:
      predicates: the alternatives; without any, the result is NEVER.
      place: tells this disjunction from others if it has no simpler form.
    """
    alternatives = {predicate for predicate in predicates if predicate is not None}
    if not alternatives:
        return NEVER
    if ALWAYS in alternatives:
        return ALWAYS
    if len(alternatives) > limits.PREDICATE_TERMS:
        limits.PREDICATE_TERMS.reach()
        return frozenset([BranchOutcome(("any", place), 0, 0)])
    terms = sum(map(len, alternatives))
    while True:
        limits.spend(_VISITS * terms + len(alternatives) ** 2)
        alternatives = {
            predicate
            for predicate in alternatives
            if not any(other < predicate for other in alternatives)
        }
        merged = _merge_complements(alternatives)
        if merged is None:
            break
        alternatives = merged
    if len(alternatives) == 1:
        return next(iter(alternatives))
    common = frozenset.intersection(*alternatives)
    return common | {BranchOutcome(("any", place), 0, 0)}


def _merge_complements(
    alternatives: Set[FrozenSet[BranchOutcome]],
) -> Optional[Set[FrozenSet[BranchOutcome]]]:
    """Replace the alternatives that are all outcomes of one selector by what they share."""
    families: Dict[Tuple[Predicate, Hashable], Set[FrozenSet[BranchOutcome]]] = defaultdict(set)
    for predicate in alternatives:
        for outcome in predicate:
            if 1 < outcome.ports <= len(alternatives):
                rest = predicate - {outcome}
                family = families[rest, (outcome.selector, outcome.ports)]
                family.add(predicate)
                if len(family) == outcome.ports:
                    return (alternatives - family) | {rest}
    return None
