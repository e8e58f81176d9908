"""BN301: statistics that a Saver leaves out, or that a checkpoint lacks; real checkpoints."""

import pytest
from support.analysis.graph_defs import message_of
from support.analysis.networks import dense, fresh_graph, inputs, layer
import tensorflow.compat.v1 as tf

import bnguard
from bnguard.analysis.ir import protos


def two_networks(**options):
    for name in ("generator", "critic"):
        with tf.variable_scope(name):
            tf.nn.relu(layer(dense(inputs(f"{name}_x")), False, **options))


def within(scope):
    return tf.global_variables(f"{scope}/")


def audit(folder, saved, checkpoint=None, build=two_networks):
    """The variables of the findings for a graph whose Saver saves `saved()`.

    The Saver's own checkpoint is called `model`.
    """
    with fresh_graph(), tf.Session() as session:
        build()
        session.run(tf.global_variables_initializer())
        prefix = tf.train.Saver(saved()).save(session, str(folder / "model"))
    report = bnguard.audit(f"{prefix}.meta", checkpoint=checkpoint, select=["BN301"])
    return [finding.variable for finding in report.findings]


@pytest.mark.parametrize(
    "options", [{}, {"center": False, "scale": False}], ids=["affine", "plain"]
)
class TestSaver:
    def test_a_network_that_is_left_out_as_a_whole_is_no_finding(self, tmp_path, options):
        build = lambda: two_networks(**options)  # noqa: E731
        assert audit(tmp_path, lambda: within("generator"), build=build) == []

    def test_a_layer_that_is_left_out_in_part_is_found(self, tmp_path, options):
        def saved():
            return [v for v in tf.global_variables() if v.op.name != "critic/bn/moving_variance"]

        build = lambda: two_networks(**options)  # noqa: E731
        assert audit(tmp_path, saved, build=build) == ["critic/bn/moving_variance"]

    def test_a_saver_of_what_is_trained_is_found(self, tmp_path, options):
        build = lambda: two_networks(**options)  # noqa: E731
        assert audit(tmp_path, tf.trainable_variables, build=build) == [
            f"{name}/bn/moving_{role}"
            for name in ("generator", "critic")
            for role in ("mean", "variance")
        ]


def test_variables_outside_of_all_scopes_tell_too(tmp_path):
    def build():
        layer(dense(inputs()), False, center=False, scale=False, scope="bn/inner")

    def saved(kept):
        return lambda: [v for v in tf.global_variables() if v.op.name in kept]

    everything = {"dense/weights", "bn/inner/moving_mean"}
    assert audit(tmp_path, saved(everything), build=build) == ["bn/inner/moving_variance"]


def averaged():
    """An evaluator that restores the averages of its variables under their names."""
    with tf.variable_scope("net"):
        tf.nn.relu(layer(dense(inputs()), False))


def asked():
    average = tf.train.ExponentialMovingAverage(0.9)
    return average.variables_to_restore(tf.global_variables())


class TestCheckpoint:
    @pytest.fixture
    def without_averages(self, tmp_path):
        with fresh_graph(), tf.Session() as session:
            averaged()
            session.run(tf.global_variables_initializer())
            return tf.train.Saver().save(session, str(tmp_path / "plain"), write_meta_graph=False)

    def test_a_missing_key_is_named_as_it_is_asked_for(self, without_averages, tmp_path):
        (tmp_path / "eval").mkdir()
        keys = audit(tmp_path / "eval", asked, without_averages, averaged)
        assert keys == [
            "net/bn/moving_mean/ExponentialMovingAverage",
            "net/bn/moving_variance/ExponentialMovingAverage",
        ]
        with fresh_graph(), tf.Session() as session:
            averaged()
            saver = tf.train.Saver(asked())
            with pytest.raises(tf.errors.NotFoundError, match="ExponentialMovingAverage not found"):
                saver.restore(session, without_averages)
        own = str(tmp_path / "eval" / "model")
        assert audit(tmp_path / "eval", asked, own, averaged) == []

    def test_the_remedy_names_the_names_that_the_checkpoint_has(self, without_averages, tmp_path):
        (tmp_path / "eval").mkdir()
        audit(tmp_path / "eval", asked, None, averaged)
        meta = str(tmp_path / "eval" / "model.meta")
        (first, _) = bnguard.audit(meta, checkpoint=without_averages, select=["BN301"]).findings
        assert "under the variable's own name" in first.remedy
        assert first.layer == "net/bn"

    def test_without_a_saver_the_ops_that_restore_tell_the_names(self, without_averages):
        nodes = [
            ("prefix", "Const"),
            ("names", "Const"),
            ("slices", "Const"),
            ("x", "Placeholder"),
            ("m", "VariableV2"),
            ("v", "VariableV2"),
            ("layer", "FusedBatchNormV3", "x", "x", "x", "m", "v"),
            ("restore", "RestoreV2", "prefix", "names", "slices"),
            ("load_m", "Assign", "m", "restore"),
            ("load_v", "Assign", "v", "restore:1"),
        ]
        for names, missing in (
            ([b"net/bn/moving_mean", b"net/bn/moving_variance"], []),
            ([b"net/bn/moving_mean", b"other"], ["other"]),
        ):
            message = protos.message("GraphDef")()
            message.CopyFrom(message_of(nodes))
            message.node[1].attr["value"].tensor.string_val.extend(names)
            message.node[1].attr["value"].tensor.dtype = tf.string.as_datatype_enum
            report = bnguard.audit(message, checkpoint=without_averages, select=["BN301"])
            assert [finding.variable for finding in report.findings] == missing

    def test_a_checkpoint_of_one_network_is_no_finding_for_the_other(self, tmp_path):
        (tmp_path / "part").mkdir()
        audit(tmp_path / "part", lambda: within("generator"))
        part = str(tmp_path / "part" / "model")
        with fresh_graph() as graph:
            two_networks()
        assert bnguard.audit(graph, checkpoint=part, select=["BN301"]).findings == ()
        # But a Saver that asks for all of them fails.
        assert audit(tmp_path, tf.global_variables, part) == [
            "critic/bn/moving_mean",
            "critic/bn/moving_variance",
        ]

    def test_a_checkpoint_of_another_model_is_found(self, without_averages):
        with fresh_graph() as graph:
            two_networks()
        report = bnguard.audit(graph, checkpoint=without_averages, select=["BN301"])
        assert len(report.findings) == 4
