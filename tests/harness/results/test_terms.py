"""A term is its value: in text, in JSON, in comparisons and as a key."""

import json

import pytest

from bnguard.harness.results import terms

TERMS = [
    term
    for enumeration in (terms.Side, terms.Phase, terms.Reads, terms.Outcome, terms.Comparison)
    for term in enumeration
]


@pytest.mark.parametrize("term", TERMS, ids=str)
def test_a_term_is_its_value_everywhere(term):
    value = term.value
    assert (f"{term}", f"{term:>12}", "%s" % term, str(term)) == (  # noqa: UP031
        value,
        f"{value:>12}",
        value,
        value,
    )
    assert json.loads(json.dumps({term: [term]}, indent=1)) == {value: [value]}
    assert term == value
    assert {term: 1}[value] == 1
