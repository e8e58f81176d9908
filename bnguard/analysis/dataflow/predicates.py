"""When a node runs, as a conjunction of undecided branches.

A condition is a frozenset of choices, each "this predicate selects this port of its Switch".
The empty one holds always; None, dead, never. The algebra errs on one side: a condition may
be weaker or less definite than the truth, but it is empty only for what surely runs and None
only for what surely does not.
"""

from __future__ import annotations

from typing import FrozenSet, Hashable, Iterable, NamedTuple, Optional, Set

from bnguard.analysis import limits


class BranchOutcome(NamedTuple):
    """One outcome of a predicate.

    Attributes:
      predicate: the tensor that it comes from.
      port: the output of the Switch that it selects.
      ports: how many there are.
    """

    selector: Hashable
    port: int
    ports: int


Predicate = Optional[FrozenSet[BranchOutcome]]

ALWAYS: FrozenSet[BranchOutcome] = frozenset()
NEVER: Predicate = None

UNDECIDED = frozenset([BranchOutcome("undecided", 0, 0)])

# With more choices or alternatives than this we only remember that it is undecided.


def conjunction(predicates: Iterable[Predicate]) -> Predicate:
    """What holds when all of `predicates` hold."""
    union = ALWAYS
    for predicate in predicates:
        if predicate is None:
            return NEVER
        if predicate and not predicate <= union:
            union |= predicate
    if len({choice.selector for choice in union}) < len(union):
        return NEVER  # two outcomes of one predicate
    return union if len(union) <= limits.PREDICATE_TERMS else UNDECIDED


def disjunction(predicates: Iterable[Predicate], place: Hashable) -> Predicate:
    """What holds when any of `predicates` holds.

    Args:
      conditions: at least one.
      place: tells this disjunction from others, should it have no simpler form.
    """
    alternatives = {predicate for predicate in predicates if predicate is not None}
    if not alternatives:
        return NEVER
    if ALWAYS in alternatives:
        return ALWAYS
    if len(alternatives) > limits.PREDICATE_TERMS:
        return frozenset([BranchOutcome(("any", place), 0, 0)])
    while True:
        alternatives = {
            one for one in alternatives if not any(other < one for other in alternatives)
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
    """Replace alternatives that are all outcomes of one predicate by what they share."""
    for one in alternatives:
        for choice in one:
            rest = one - {choice}
            family = [rest | {choice._replace(port=port)} for port in range(choice.ports)]
            if len(family) > 1 and all(member in alternatives for member in family):
                return (alternatives - set(family)) | {rest}
    return None
