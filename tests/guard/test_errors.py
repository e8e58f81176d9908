"""The messages of the exceptions that the guards raise."""

from dataclasses import replace

from bnguard.analysis.findings import Finding, Op
from bnguard.guard.errors import Moved, StatisticsChanged, StatisticsDidNotMove, Unmoved

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
    remedy="fix it",
)


def test_each_variable_is_shown_with_change_fetch_op_and_path():
    error = StatisticsChanged("the guard", [Moved("bn/moving_mean", 0.25, (FINDING,))])
    assert str(error).splitlines()[:4] == [
        "the guard",
        "  bn/moving_mean changed by up to 0.25",
        "    written by bn/Assign when y:0 with is_training:0=False is fetched",
        "    path: y (Identity) <- bn/Assign (AssignSub)",
    ]


def test_a_step_not_run_would_change_and_an_uncertain_one_may_write():
    moved = Moved("bn/moving_mean", None, (replace(FINDING, certain=False),))
    text = str(StatisticsChanged("the guard", [moved]))
    assert "bn/moving_mean would change" in text
    assert "may be written by bn/Assign" in text


def test_a_change_of_bits_only_and_a_change_of_shape_are_described():
    moved = [Moved("a", 0.0), Moved("b", float("inf"), (), "float32 [2] became float32 [3]")]
    assert str(StatisticsChanged("the guard", moved)).splitlines()[1:3] == [
        "  a changed in its bits only",
        "  b changed: float32 [2] became float32 [3]",
    ]


def test_with_many_variables_ten_are_explained_and_all_are_named():
    names = [f"bn_{number}/moving_mean" for number in range(106)]
    text = str(StatisticsChanged("the guard", [Moved(name, 1.0, (FINDING,)) for name in names]))
    assert text.count("path: ") == 10
    assert "and 96 more: bn_10/moving_mean, " in text
    assert all(name in text for name in names)


def test_unmoved_variables_are_grouped_by_reason():
    unmoved = [Unmoved("a", "no step ran"), Unmoved("b", "dead"), Unmoved("c", "no step ran")]
    assert str(StatisticsDidNotMove("the guard", unmoved)).splitlines() == [
        "the guard",
        "  a, c: no step ran",
        "  b: dead",
    ]


def test_both_exceptions_are_assertion_errors():
    assert issubclass(StatisticsChanged, AssertionError)
    assert issubclass(StatisticsDidNotMove, AssertionError)
