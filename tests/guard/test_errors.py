"""The messages of the exceptions that the guards raise."""

from dataclasses import replace

from bnguard.analysis.findings import Finding, Location, Op
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
    assert str(error).splitlines()[:5] == [
        "the guard",
        "  bn/moving_mean changed by up to 0.25",
        "    written by bn/Assign when y:0 with is_training:0=False is fetched",
        "       y [Identity]",
        "    <- bn/Assign [AssignSub]",
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


def network(number):
    """The two statistics of one layer that all layers' function built."""
    layer = f"block_{number}/bn"
    path = [Op(f"block_{later}/{name}", "Relu") for later in range(49, number, -1) for name in "ab"]
    for variable in (f"{layer}/moving_mean", f"{layer}/moving_variance"):
        write = Op(f"{variable}/AssignSub", "AssignSub")
        finding = replace(
            FINDING,
            variable=variable,
            op=write.name,
            path=(Op("y", "Softmax"), *path, write),
            location=Location("net.py", 42, "block", "h = batch_norm(h)"),
        )
        yield Moved(variable, 1 / (number + 1), (finding,))


def test_variables_that_one_step_writes_are_one_entry_with_the_shortest_path():
    moved = [variable for number in range(49) for variable in network(number)]
    lines = str(StatisticsChanged("the guard", moved)).splitlines()
    assert lines[1:3] == [
        "  98 running statistics changed by up to 1",
        "    block_0/bn: moving_mean, moving_variance",
    ]
    assert lines[6:11] == [
        "    and 45 more layers (error.moved has all)",
        "    written by block_48/bn/moving_mean/AssignSub and 97 more ops when y:0 with "
        "is_training:0=False is fetched",
        "       y [Softmax]",
        "    <- block_49/a [Relu]",
        "    <- block_49/b [Relu]",
    ]
    assert lines[-2] == "    built at net.py:42 in block: h = batch_norm(h)"
    assert len(lines) == 14
    assert max(map(len, lines)) < 200


def test_variables_that_different_steps_write_are_different_entries():
    other = replace(FINDING, fetch="z:0")
    moved = [
        Moved("a", 1.0, (FINDING,)),
        Moved("b", 1.0, (FINDING, other)),
        Moved("c", 1.0, (other,)),
        Moved("d", 2.0, (other,)),
        Moved("e", 0.0, (other,)),
    ]
    text = str(StatisticsChanged("the guard", moved))
    assert text.count("when z:0 is fetched") == 3
    assert "  2 running statistics changed by up to 2\n    c, d\n    written by bn/Assign " in text


def test_ten_causes_are_shown_and_the_rest_is_counted():
    moved = [Moved(f"v{n}", 1.0, (replace(FINDING, fetch=f"y_{n}:0"),)) for n in range(13)]
    text = str(StatisticsChanged("the guard", moved))
    assert text.count("written by") == 10
    assert "  and 3 more running statistics (error.moved has all)\n" in text


def test_unmoved_variables_are_grouped_by_reason():
    at = Location("net.py", 4, "", "")
    unmoved = [
        Unmoved("a", "no step ran", ("a/Assign",), at),
        Unmoved("b", "dead"),
        Unmoved("c", "no step ran", ("c/Assign",), at),
    ]
    assert str(StatisticsDidNotMove("the guard", unmoved)).splitlines() == [
        "the guard",
        "  2 running statistics: no step ran",
        "    a, c",
        "    update op: a/Assign and 1 more op",
        "    built at net.py:4",
        "  b: dead",
        "For a checkpoint already trained, see `bnguard reestimate`.",
    ]


def test_both_exceptions_are_assertion_errors():
    assert issubclass(StatisticsChanged, AssertionError)
    assert issubclass(StatisticsDidNotMove, AssertionError)
