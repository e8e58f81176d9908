"""Which variables are running statistics, in graphs made by hand."""

from support.analysis.graph_defs import message_of
from support.analysis.small_limits import small_limit

from bnguard.analysis.frontend.loader import load
from bnguard.analysis.recognition.recognized_graph import recognize

LAYER = [
    ("x", "Placeholder"),
    ("scale", "VariableV2"),
    ("average", "VariableV2"),
    ("layer", "FusedBatchNormV3", "x", "scale", "scale", "x", "x"),
]


def statistics(nodes):
    """The names of the statistics, with the number of the layers that each averages."""
    (loaded,) = load(message_of(nodes))
    return {found.name: len(found.sources) for found in recognize(loaded).statistics}


def averaged_after(count):
    """An average of a moment, with `count` ops between the two."""
    chain = [(f"n{number + 1}", "Neg", f"n{number}") for number in range(count)]
    return [*LAYER, ("n0", "Neg", "layer:1"), *chain, ("w", "AssignAdd", "average", f"n{count}")]


def test_a_variable_that_averages_moments_is_one_whatever_its_name():
    assert statistics(averaged_after(3)) == {"average": 1}


def test_the_search_for_moments_ends_at_its_limit_and_says_so():
    nodes = averaged_after(3)  # five tensors: those of the ops, and the moment
    for limit, expected in ((5, {"average": 1}), (3, {})):
        with small_limit("AVERAGE_TENSORS", limit) as reached:
            assert statistics(nodes) == expected
        assert reached == ([] if expected else ["AVERAGE_TENSORS"])


def test_a_moment_met_before_the_limit_counts():
    parts = [(f"part{number}", "Square", "x") for number in range(8)]
    names = [name for name, *_ in parts]
    nodes = [
        *LAYER,
        *parts,
        ("sum", "AddN", "layer:1", *names),
        ("w", "AssignAdd", "average", "sum"),
    ]
    with small_limit("AVERAGE_TENSORS", 4) as reached:
        assert statistics(nodes) == {"average": 1}
    assert reached == ["AVERAGE_TENSORS"]


def test_a_copy_of_an_average_is_derived_only_if_all_that_it_is_computed_from_is_known():
    """As zero debiasing writes it: the statistic is assigned another average, divided."""
    nodes = [
        *LAYER,
        ("biased", "VariableV2"),
        ("update", "AssignAdd", "biased", "layer:1"),
        ("divided", "RealDiv", "biased", "x"),
        ("w", "Assign", "average", "divided"),
    ]
    assert statistics(nodes) == {"average": 1}
    with small_limit("AVERAGE_TENSORS", 2) as reached:
        assert statistics(nodes) == {"biased": 1}
    assert reached == ["AVERAGE_TENSORS"]
