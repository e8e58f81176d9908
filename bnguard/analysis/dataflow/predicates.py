"""When a node runs, as a conjunction of undecided branches.

A condition is a frozenset of choices, each "this predicate selects this port of its Switch".
The empty one holds always; None, dead, never. The algebra errs on one side: a condition may
be weaker or less definite than the truth, but it is empty only for what surely runs and None
only for what surely does not.
"""

from __future__ import annotations

from typing import FrozenSet, Hashable, Iterable, NamedTuple, Optional, Set


class Choice(NamedTuple):
    """One outcome of a predicate.

    Attributes:
      predicate: the tensor that it comes from.
      port: the output of the Switch that it selects.
      ports: how many there are.
    """

    predicate: Hashable
    port: int
    ports: int


Condition = Optional[FrozenSet[Choice]]

ALWAYS: FrozenSet[Choice] = frozenset()
NEVER: Condition = None

UNDECIDED = frozenset([Choice("undecided", 0, 0)])

# With more choices or alternatives than this we only remember that it is undecided.
_MANY = 24


def all_of(conditions: Iterable[Condition]) -> Condition:
    """What holds when all of `conditions` hold."""
    union = ALWAYS
    for condition in conditions:
        if condition is None:
            return NEVER
        if condition and not condition <= union:
            union |= condition
    if len({choice.predicate for choice in union}) < len(union):
        return NEVER  # two outcomes of one predicate
    return union if len(union) <= _MANY else UNDECIDED


def any_of(conditions: Iterable[Condition], place: Hashable) -> Condition:
    """What holds when any of `conditions` holds.

    Args:
      conditions: at least one.
      place: tells this disjunction from others, should it have no simpler form.
    """
    alternatives = {condition for condition in conditions if condition is not None}
    if not alternatives:
        return NEVER
    if ALWAYS in alternatives:
        return ALWAYS
    if len(alternatives) > _MANY:
        return frozenset([Choice(("any", place), 0, 0)])
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
    return common | {Choice(("any", place), 0, 0)}


def _merge_complements(
    alternatives: Set[FrozenSet[Choice]],
) -> Optional[Set[FrozenSet[Choice]]]:
    """Replace alternatives that are all outcomes of one predicate by what they share."""
    for one in alternatives:
        for choice in one:
            rest = one - {choice}
            family = [rest | {choice._replace(port=port)} for port in range(choice.ports)]
            if len(family) > 1 and all(member in alternatives for member in family):
                return (alternatives - set(family)) | {rest}
    return None
