"""Graphs of TensorFlow 1.x load, and what cannot be loaded is one line of error."""

from glob import glob
import lzma
import os
import warnings

import numpy as np
import pytest
from support.paths import TESTS
import tensorflow.compat.v1 as tf

from bnguard import BnguardError, import_meta_graph
from bnguard.analysis.frontend.loader import load
from bnguard.analysis.recognition.recognized_graph import recognize
from bnguard.analysis.scenario.scenario import build_scenario

pytestmark = pytest.mark.slow

NETWORKS = sorted(glob(os.path.join(TESTS, "data", "networks", "*.meta.xz")))
# The default run loads the smallest; BNGUARD_CASES=all loads all, which takes minutes.
if os.environ.get("BNGUARD_CASES") != "all":
    NETWORKS = [path for path in NETWORKS if "resnet_v2_50-trainable_saver" in path]


@pytest.fixture(params=NETWORKS, ids=os.path.basename)
def meta(request, tmp_path):
    path = str(tmp_path / "network.meta")
    with lzma.open(request.param) as compressed, open(path, "wb") as file:
        file.write(compressed.read())
    return path


def read(path):
    message = tf.MetaGraphDef()
    with open(path, "rb") as file:
        message.ParseFromString(file.read())
    return message


def test_a_network_of_tensorflow_1_loads_initializes_and_infers(meta):
    (loaded,) = load(meta)
    scenario = build_scenario(recognize(loaded))
    fetch = scenario.inference[0].fetch if scenario.inference else scenario.possible[0].fetch
    with tf.Graph().as_default() as graph, tf.Session() as session:
        saver = import_meta_graph(meta)
        assert saver.saver_def.save_tensor_name == read(meta).saver_def.save_tensor_name
        session.run(tf.global_variables_initializer())
        image = np.random.RandomState(0).rand(1, 299, 299, 3)
        output = session.run(fetch, {"x:0": image, "is_training:0": False})
        assert output.shape[-1] == 1000
        assert np.isfinite(output).all()
        contexts = read(meta).collection_def["cond_context"].bytes_list.value
        assert len(graph.get_collection("cond_context")) == len(contexts)
        assert {v.op.type for v in tf.global_variables()} <= {"VariableV2", "VarHandleOp"}


def test_tensorflow_2_refuses_a_network_with_the_gradient_of_a_fused_layer(meta):
    """Its shapes contradict what TensorFlow 1.15 stored; Inception's layers are not fused."""
    with open(meta, "rb") as file:
        is_fused = b"FusedBatchNormGradV3" in file.read()
    with tf.Graph().as_default():
        if is_fused and tf.__version__ >= "2":
            with pytest.raises(ValueError, match="_output_shapes"):
                tf.train.import_meta_graph(meta)
        else:
            tf.train.import_meta_graph(meta)


def small(change=None):
    """A MetaGraphDef with a ref variable v = 3 in a tf.cond, and what `change` makes of it."""
    with tf.Graph().as_default():
        v = tf.get_variable("v", initializer=3.0, use_resource=False)
        flag = tf.placeholder(tf.bool, [], name="flag")
        tf.cond(flag, lambda: v * 2, lambda: v + 0.5)
        tf.nn.relu(v, name="y")
        message = tf.train.export_meta_graph(saver_def=tf.train.Saver().as_saver_def())
    if change is not None:
        change(message)
    return message


def value_of(name, message, **options):
    with tf.Graph().as_default(), tf.Session() as session, warnings.catch_warnings():
        warnings.simplefilter("error")
        saver = import_meta_graph(message, **options)
        session.run(tf.global_variables_initializer())
        return session.run(name), saver


def test_it_does_what_tensorflows_own_import_does(tmp_path):
    message, before = small(), tf.MetaGraphDef()
    before.CopyFrom(message)
    value, saver = value_of("y:0", message)
    assert value == 3
    assert saver is not None
    value, _ = value_of("net/y:0", message, import_scope="net")
    assert value == 3
    assert message == before
    for as_text in (False, True):
        path = str(tmp_path / f"graph-{as_text}.meta")
        with open(path, "wb") as file:
            file.write(str(message).encode() if as_text else message.SerializeToString())
        assert value_of("y:0", path)[0] == 3


def test_devices_are_cleared_on_request():
    def on_a_worker(message):
        for node in message.graph_def.node:
            node.device = "/job:worker/task:7"

    assert value_of("y:0", small(on_a_worker), clear_devices=True)[0] == 3


def with_attribute(value, default=None):
    """Add an attribute to the Relu that no TensorFlow knows, and to the ops of its writer."""

    def change(message):
        for node in message.graph_def.node:
            if node.op == "Relu":
                node.attr["from_the_future"].b = value
        if default is not None:
            for op in message.meta_info_def.stripped_op_list.op:
                if op.name == "Relu":
                    attribute = op.attr.add(name="from_the_future", type="bool")
                    attribute.default_value.b = default

    return change


@pytest.mark.parametrize("options", [{}, {"import_scope": "net"}])
def test_an_unknown_attribute_at_its_default_is_dropped(options):
    name = f"{options.get('import_scope', '')}/y:0".strip("/")
    assert value_of(name, small(with_attribute(False)), **options)[0] == 3
    assert value_of(name, small(with_attribute(True, default=True)), **options)[0] == 3


def test_an_unknown_attribute_with_another_value_is_refused():
    message = small(with_attribute(True))
    try:
        with tf.Graph().as_default():
            tf.import_graph_def(message.graph_def)
    except ValueError:
        pass
    else:
        pytest.skip("this TensorFlow ignores unknown attributes")
    with pytest.raises(BnguardError, match=r"node y \(Relu\) has the attribute from_the_future"):
        value_of("y:0", message)


def test_an_op_that_does_not_exist_is_named_with_its_nodes():
    def change(message):
        for number in range(5):
            message.graph_def.node.add(name=f"old_{number}", op="NoSuchOp")

    expected = r"has no op NoSuchOp, and the graph needs it in old_0, old_1, old_2 and 2 more;"
    with pytest.raises(BnguardError, match=expected) as raised:
        value_of("y:0", small(change))
    assert "\n" not in str(raised.value)


def test_lost_collection_entries_are_skipped_with_a_warning():
    def change(message):
        contrib = message.collection_def["contrib"].any_list.value.add()
        contrib.type_url = "type.googleapis.com/tensorflow.contrib.Thing"
        message.collection_def["pickled"].bytes_list.value.append(b"\x80\x03\xff")
        message.collection_def["labels"].bytes_list.value.append(b"cat")
        message.collection_def["ends"].node_list.value.extend(["y:0", "gone:0"])

    message = small(change)
    with tf.Graph().as_default() as graph:
        with pytest.warns(RuntimeWarning, match=r"contrib \(1\), ends \(1\), pickled \(1\)"):
            import_meta_graph(message, import_scope="net")
        assert [tensor.name for tensor in graph.get_collection("ends")] == ["net/y:0"]
        assert graph.get_collection("labels")
        assert not graph.get_collection("pickled")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"", "not a graph with its collections"),
        (b"\x00\x01garbage", "not a graph with its collections"),
        (b"node { name: 'x' op: 'NoOp' }", "not a graph with its collections"),
    ],
)
def test_a_file_that_is_no_meta_file_is_one_line(content, message, tmp_path):
    path = tmp_path / "x.meta"
    if content is not None:
        path.write_bytes(content)
    with tf.Graph().as_default(), pytest.raises(BnguardError, match=message) as raised:
        import_meta_graph(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)
