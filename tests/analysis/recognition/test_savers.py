"""Which variables a Saver saves, in graphs made by hand."""

from support.analysis.graph_defs import message_of
from support.analysis.small_limits import small_limit

import bnguard
from bnguard.analysis.frontend.loader import load
from bnguard.analysis.recognition.recognized_graph import recognize
from bnguard.analysis.recognition.savers import saved_names

MEAN = "bn/moving_mean"
REPLICAS = [f"{MEAN}/replica_{number}" for number in range(4)]
NODES = [
    ("prefix", "Const"),
    ("names", "Const"),
    ("x", "Placeholder"),
    (MEAN, "VariableV2"),
    ("reader", "FusedBatchNormV3", "x", "x", "x", MEAN, MEAN),
    *((name, "VariableV2") for name in REPLICAS),
    ("sum", "AddN", *REPLICAS, MEAN),
    ("mean", "Mul", "sum", "x"),
    ("save", "SaveV2", "prefix", "names", "x", "mean"),
]


def saved(nodes):
    (loaded,) = load(message_of(nodes))
    found = saved_names(recognize(loaded))
    return set(found.names.values()), found.is_complete


def test_all_replicas_in_a_saved_sum_are_saved():
    assert saved(NODES) == ({*REPLICAS, MEAN}, True)


def test_the_search_for_replicas_ends_at_its_limit_and_says_so():
    for limit, is_complete in ((8, True), (7, False)):
        with small_limit("REPLICA_TENSORS", limit) as reached:
            names, found_all = saved(NODES)
        assert found_all is is_complete
        assert (MEAN in names) is is_complete
        assert reached == ([] if is_complete else ["REPLICA_TENSORS"])


def test_a_variable_that_the_search_may_have_missed_is_not_reported_as_left_out():
    message = message_of(NODES)
    left_out = message_of([node for node in NODES if node[0] != "mean" and node[0] != "save"])
    left_out.node.add(name="save", op="SaveV2", input=["prefix", "names", "x", REPLICAS[0]])
    (finding,) = bnguard.audit(left_out, select=["BN301"]).findings
    assert finding.variable == MEAN
    for name in ("REPLICA_TENSORS", "PROVENANCE_TENSORS"):
        with small_limit(name, 1):
            assert not bnguard.audit(message, select=["BN301"]).findings


def test_an_incomplete_search_for_origins_makes_the_answer_incomplete():
    nodes = [*NODES[:-2], ("mean", "Pack", *REPLICAS), NODES[-1]]
    assert saved(nodes) == (set(REPLICAS), True)
    with small_limit("PROVENANCE_TENSORS", 3) as reached:
        assert saved(nodes)[1] is False
    assert reached == ["PROVENANCE_TENSORS"]
