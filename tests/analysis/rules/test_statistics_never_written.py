"""BN202, in graphs made by hand."""

from support.analysis.graph_defs import message_of
from support.analysis.small_limits import small_limit

import bnguard

MEAN = "bn/moving_mean"


def findings(initial_value):
    """The findings for a layer that trains its gamma, with an initializer of its mean."""
    nodes = [
        ("x", "Placeholder"),
        ("zero", "Const"),
        ("one", "Const"),
        (MEAN, "VariableV2"),
        ("gamma", "VariableV2"),
        *initial_value,
        (f"{MEAN}/Assign", "Assign", MEAN, "value"),
        ("layer", "FusedBatchNormV3", "x", "gamma", "gamma", MEAN, MEAN),
        ("train", "ApplyGradientDescent", "gamma", "x", "layer"),
    ]
    message = message_of(nodes)
    message.node[2].attr["value"].tensor.float_val.append(1.0)
    for node in message.node:
        if node.name == "layer":
            node.attr["is_training"].b = False
    report = bnguard.audit(message, train_op=["train"], select=["BN202"])
    return [finding.variable for finding in report.findings]


def test_a_statistic_that_starts_at_zero_and_is_never_written_is_found():
    assert findings([("value", "Identity", "zero")]) == [MEAN]


def test_a_statistic_that_starts_from_a_checkpoint_is_not_found():
    assert findings([("value", "RestoreV2", "zero", "zero", "zero")]) == []


def test_a_statistic_of_unknown_initial_value_is_not_found():
    pack = [("value", "Pack", "zero", "one")]
    assert findings(pack) == [MEAN]
    with small_limit("PROVENANCE_TENSORS", 2) as reached:
        assert findings(pack) == []
    assert reached == ["PROVENANCE_TENSORS"]
