"""What the guards raise, as it reads."""

from dataclasses import replace

from bnguard.analysis.findings import Finding, Op
from bnguard.guard.errors import Moved, StatisticsChanged, StatisticsDidNotMove, Still

FINDING = Finding(
    rule="BN101",
    severity="error",
    certain=True,
    variable="bn/moving_mean",
    layer="bn",
    op="bn/Assign",
    path=(Op("y", "Identity"), Op("bn/Assign", "AssignSub")),
    fetch="y:0 with is_training:0=False",
    problem="is written",
    remedy="mend it",
)


def test_every_variable_is_named_with_change_fetch_op_and_path():
    error = StatisticsChanged("the guard", [Moved("bn/moving_mean", 0.25, (FINDING,))])
    assert str(error).splitlines()[:4] == [
        "the guard",
        "  bn/moving_mean changed by up to 0.25",
        "    written by bn/Assign when y:0 with is_training:0=False is fetched",
        "    path: y (Identity) <- bn/Assign (AssignSub)",
    ]


def test_what_did_not_run_yet_would_change_and_what_is_not_certain_is_perhaps():
    moved = Moved("bn/moving_mean", None, (replace(FINDING, certain=False),))
    text = str(StatisticsChanged("the guard", [moved]))
    assert "bn/moving_mean would change" in text
    assert "perhaps written by bn/Assign" in text


def test_a_change_of_bits_and_one_of_the_shape_are_said():
    moved = [Moved("a", 0.0), Moved("b", float("inf"), (), "float32 [2] became float32 [3]")]
    assert str(StatisticsChanged("the guard", moved)).splitlines()[1:3] == [
        "  a changed in its bits only",
        "  b changed: float32 [2] became float32 [3]",
    ]


def test_of_many_variables_the_first_are_explained_and_all_are_named():
    names = [f"bn_{number}/moving_mean" for number in range(106)]
    text = str(StatisticsChanged("the guard", [Moved(name, 1.0, (FINDING,)) for name in names]))
    assert text.count("path: ") == 10
    assert "and 96 more: bn_10/moving_mean, " in text
    assert all(name in text for name in names)


def test_variables_that_stood_still_for_one_reason_are_named_together():
    still = [Still("a", "no step ran"), Still("b", "dead"), Still("c", "no step ran")]
    assert str(StatisticsDidNotMove("the guard", still)).splitlines() == [
        "the guard",
        "  a, c: no step ran",
        "  b: dead",
    ]


def test_both_count_as_failures_not_errors_of_a_test():
    assert issubclass(StatisticsChanged, AssertionError)
    assert issubclass(StatisticsDidNotMove, AssertionError)
