"""Why an op writes a variable, in graphs made by hand."""

import pytest
from support.analysis.graph_defs import message_of
from support.analysis.small_limits import small_limit

import bnguard
from bnguard.analysis.frontend.loader import load
from bnguard.analysis.ir import protos
from bnguard.analysis.recognition.recognized_graph import recognize
from bnguard.analysis.recognition.writes import Purpose

MEAN = "bn/moving_mean"


def purposes(nodes):
    """The purposes of the writes of the variable MEAN."""
    (loaded,) = load(message_of(nodes))
    recognized = recognize(loaded)
    return [write.purpose for write in recognized.writes[loaded.graph.find(MEAN)]]


def assigned(op_type, count, source="Square"):
    """A layer with a mean that is assigned `count` tensors, put together by an op."""
    parts = [f"part{number}" for number in range(count)]
    axis = ["x"] if op_type == "ConcatV2" else []
    return [
        ("x", "Placeholder"),
        (MEAN, "VariableV2"),
        *((name, source, "x") for name in parts),
        ("value", op_type, *parts, *axis),
        ("write", "Assign", MEAN, "value"),
        ("read", "Identity", MEAN, "^write"),
    ]


class TestPurpose:
    def test_a_stored_value_is_loaded(self):
        for op_type in ("Const", "Placeholder", "RestoreV2", "VariableV2"):
            nodes = [(MEAN, "VariableV2"), ("value", op_type), ("w", "Assign", MEAN, "value")]
            assert purposes(nodes) == [Purpose.LOAD]

    def test_a_computed_value_is_an_update(self):
        assert purposes(assigned("Pack", 2)) == [Purpose.UPDATE]

    def test_a_value_from_nowhere_is_not_loaded(self):
        nodes = [
            (MEAN, "VariableV2"),
            ("merge", "Merge", "next"),
            ("next", "NextIteration", "merge"),
            ("write", "Assign", MEAN, "merge"),
        ]
        assert purposes(nodes) == [Purpose.UPDATE]

    @pytest.mark.parametrize("op_type", ["Pack", "ConcatV2", "Merge"])
    @pytest.mark.parametrize("count", [4000, 4095, 4096, 5000])
    def test_thousands_of_computed_values_are_an_update(self, op_type, count):
        assert purposes(assigned(op_type, count)) == [Purpose.UPDATE]

    def test_values_are_stored_only_if_all_their_origins_are_known(self):
        nodes = assigned("Pack", 6, source="RestoreV2")
        assert purposes(nodes) == [Purpose.LOAD]
        with small_limit("PROVENANCE_TENSORS", 6) as reached:
            assert purposes(nodes) == [Purpose.UPDATE]
        assert reached == ["PROVENANCE_TENSORS"]


@pytest.mark.parametrize("count", [4000, 4096, 5000])
class TestAnUpdateOfThousandsOfTensors:
    def test_is_found_at_inference(self, count):
        message = message_of(assigned("Pack", count))
        report = bnguard.audit(message, fetches=["read"], select=["BN101"])
        assert [(finding.variable, finding.op) for finding in report.findings] == [(MEAN, "write")]

    def test_is_found_to_race_with_a_read(self, count):
        layer = ("layer", "FusedBatchNormV3", "x", "x", "x", MEAN, MEAN)
        message = message_of([*assigned("Pack", count), layer])
        report = bnguard.audit(message, fetches=["read", "layer"], select=["BN102"])
        assert [finding.variable for finding in report.findings] == [MEAN]

    def test_is_missed_in_a_training_step_that_leaves_it_out(self, count):
        meta = protos.message("MetaGraphDef")()
        train = ("train", "ApplyGradientDescent", "weights", "x", "x")
        nodes = [*assigned("Pack", count), ("weights", "VariableV2"), train]
        meta.graph_def.CopyFrom(message_of(nodes))
        meta.collection_def["update_ops"].node_list.value.append("write")
        report = bnguard.audit(meta, train_op=["train"], select=["BN201"])
        assert [(finding.variable, finding.op) for finding in report.findings] == [(MEAN, "write")]


def test_a_write_to_a_loop_that_nothing_enters_is_no_finding():
    nodes = [
        ("merge", "Merge", "next"),
        ("next", "NextIteration", "merge"),
        ("x", "Placeholder"),
        ("write", "AssignSub", "merge", "x"),
    ]
    assert bnguard.audit(message_of(nodes)).findings == ()
