"""Scopes: the names in them, and the message when there are none."""

import pytest
from support.programs import tf1_programs as programs

from bnguard.statistics.scopes import NoStatisticsError, within

NAMES = dict.fromkeys(["net/one/moving_mean", "net/one_more/moving_mean", "moving_mean"])


class VariableScope:
    name = "net/one"


@pytest.mark.parametrize(
    ("scope", "inside"),
    [
        (None, ["moving_mean", "net/one/moving_mean", "net/one_more/moving_mean"]),
        ("", ["moving_mean", "net/one/moving_mean", "net/one_more/moving_mean"]),
        ("net/one", ["net/one/moving_mean"]),
        ("net/one/", ["net/one/moving_mean"]),
        ("net", ["net/one/moving_mean", "net/one_more/moving_mean"]),
        ("moving_mean", ["moving_mean"]),
        (VariableScope(), ["net/one/moving_mean"]),
    ],
)
def test_a_scope_contains_the_names_below_it(scope, inside):
    assert list(within(scope, NAMES, "here")) == inside


def test_a_scope_without_names_lists_the_scopes_that_have_some():
    with pytest.raises(NoStatisticsError) as caught:
        within("net/on", NAMES, "here")
    assert str(caught.value) == (
        "here: no running statistics found in scope 'net/on'; these scopes have some: moving_mean, "
        "net/one, net/one_more. Give one of them, or an enclosing scope."
    )


def test_a_long_list_of_scopes_is_cut_and_counted():
    names = dict.fromkeys(f"bn_{number:02}/moving_mean" for number in range(20))
    with programs.fails_with("bn_06, bn_07 and 12 more"):
        within("nosuch", names, "here")


def test_no_statistics_at_all_are_reported():
    with programs.fails_with("here: no running statistics found; expected"):
        within(None, {}, "here")


def test_a_scope_that_is_not_a_name_is_refused():
    with programs.fails_with("got 3; expected a variable scope or its name"):
        within(3, NAMES, "here")
