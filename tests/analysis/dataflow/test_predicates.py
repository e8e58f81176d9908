"""The algebra of predicates, against every assignment of outcomes to a few branches."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest
from support.analysis.small_limits import small_limit

from bnguard.analysis.dataflow.predicates import (
    ALWAYS,
    NEVER,
    UNDECIDED,
    BranchOutcome,
    conjunction,
    disjunction,
)

PORTS = {"a": 2, "b": 2, "c": 3}
WORLDS = [dict(zip(PORTS, ports)) for ports in itertools.product(*map(range, PORTS.values()))]


def outcome(selector, port):
    return BranchOutcome(selector, port, PORTS[selector])


def predicate(**ports):
    return frozenset(outcome(selector, port) for selector, port in ports.items())


def worlds_of(found):
    """The worlds in which a predicate of known branches holds."""
    if found is NEVER:
        return set()
    return {
        number
        for number, world in enumerate(WORLDS)
        if all(world[branch.selector] == branch.port for branch in found)
    }


PREDICATES = st.one_of(
    st.just(NEVER),
    st.fixed_dictionaries(
        {},
        optional={name: st.integers(0, count - 1) for name, count in PORTS.items()},
    ).map(lambda ports: predicate(**ports)),
)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.lists(PREDICATES, max_size=4))
def test_a_conjunction_holds_where_all_hold(predicates):
    expected = set(range(len(WORLDS))).intersection(*map(worlds_of, predicates))
    found = conjunction(predicates)
    assert worlds_of(found) == expected
    assert (found is NEVER) is (not expected)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.lists(PREDICATES, max_size=6))
def test_a_disjunction_holds_where_any_holds(predicates):
    """Where it has no simpler form it is weaker, but never ALWAYS, and names the place."""
    found = disjunction(predicates, "here")
    expected = set().union(*map(worlds_of, predicates))
    assert (found is NEVER) is (not expected)
    place = BranchOutcome(("any", "here"), 0, 0)
    if found is not NEVER and place in found:
        assert expected <= worlds_of(found - {place})
    else:
        assert worlds_of(found) == expected


@pytest.mark.parametrize("name", list(PORTS))
def test_all_outcomes_of_a_branch_are_always(name):
    outcomes = [frozenset([outcome(name, port)]) for port in range(PORTS[name])]
    assert disjunction(outcomes, "here") == ALWAYS
    assert disjunction(outcomes[1:], "here") != ALWAYS


def test_places_distinguish_disjunctions():
    alternatives = [predicate(a=0), predicate(b=0)]
    here, there = (disjunction(alternatives, place) for place in ("here", "there"))
    assert here == disjunction(alternatives, "here")
    assert here != there


def test_beyond_the_limit_nothing_is_certain():
    many = [predicate(a=0), predicate(b=0), predicate(c=0)]
    with small_limit("PREDICATE_TERMS", 2) as reached:
        assert conjunction(many) == UNDECIDED
        assert conjunction(many[:2]) == predicate(a=0, b=0)
        assert disjunction(many, "here") not in (ALWAYS, NEVER)
    assert reached
