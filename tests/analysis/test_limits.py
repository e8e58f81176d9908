"""Limits: each one that an audit reaches is recorded, with what follows."""

import json
import os

import numpy as np
import pytest
from support.analysis import costly_graphs, networks
from support.analysis.graph_defs import message_of, read
from support.analysis.networks import fresh_graph
from support.analysis.small_limits import small_limit
from support.checkpoints import handmade_checkpoints as handmade
import tensorflow.compat.v1 as tf

import bnguard
from bnguard import checkpoint_reader
from bnguard.analysis import limits
from bnguard.analysis.checkpoints.stored_checkpoint import read_checkpoint
from bnguard.analysis.errors import AuditError
from bnguard.analysis.ir.tensor_values import short_list
from bnguard.errors import BnguardError


def reached(source):
    return bnguard.audit(source).limits


def nested_branches():
    """An output behind two branches that nothing decides."""
    x, inner, outer = networks.inputs(), networks.flag(), tf.placeholder(tf.bool, [], name="outer")
    y = networks.layer(x, inner, updates_collections=None)
    tf.cond(outer, lambda: tf.nn.relu(y), lambda: tf.identity(y))


def two_networks():
    for name in ("a", "b"):
        training = tf.placeholder(tf.bool, [], name=f"{name}_training")
        tf.nn.relu(networks.layer(networks.inputs(f"{name}_x"), training, scope=name))


def deep():
    y = networks.layer(networks.inputs(), True, updates_collections=None)
    for _ in range(8):
        y = tf.nn.relu(y)


def two_towers():
    x, towers = networks.inputs(), []
    for name, share in zip("ab", (x[::2], x[1::2])):
        h = networks.layer(
            share * 2.0, True, reuse=tf.AUTO_REUSE, updates_collections=[name], fused=False
        )
        towers.append(networks.dense(h, name))
    with tf.control_dependencies(tf.get_collection("a")):
        networks.optimizer().minimize(networks.loss_of(tf.concat(towers, 0)))


def trains_with_the_updates_of_two_others():
    losses = []
    for name in ("a", "b", "c"):
        y = networks.layer(networks.dense(networks.inputs(f"{name}_x"), name), True, scope=name)
        losses.append(networks.loss_of(y, f"{name}_label"))
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        networks.optimizer().minimize(losses[0])


def written_out():
    """A layer of single ops, which is recognized by walks over them."""
    x = networks.inputs()
    y = networks.layer(x, True, updates_collections=None, fused=False)
    tf.nn.relu(y, name="output")
    tf.train.Saver()


def generator_in_training_mode():
    h = networks.layer(networks.dense(networks.inputs()), True)
    y = networks.dense(tf.tanh(h, name="image"), "next")
    y = networks.dense(networks.layer(y, True, scope="next_bn"), "score")
    for name, scope in (("train_generator", "dense"), ("train_critic", "next")):
        networks.optimizer().minimize(
            networks.loss_of(y), var_list=tf.trainable_variables(scope), name=name
        )


def flag_that_decides_no_normalization():
    """Its branch leads to the one Merge that could tell what training is, and does not."""
    statistics = [
        tf.get_variable(name, initializer=value, trainable=False)
        for name, value in (("bn/moving_mean", [0.0] * 4), ("bn/moving_variance", [1.0] * 4))
    ]
    x, training = networks.inputs(), networks.flag()
    for _ in range(2):
        x = tf.cond(training, lambda x=x: tf.nn.relu(x), lambda x=x: tf.identity(x))
    tf.nn.batch_normalization(x, *statistics, None, None, 1e-3)


@pytest.mark.parametrize(
    ("name", "value", "build"),
    [
        ("PREDICATE_TERMS", 0, nested_branches),
        ("EFFECT_TENSORS", 1, networks.two_branch),
        ("FLAG_CANDIDATES", 1, two_networks),
        ("FLAG_NODES", 1, networks.one_layer),
        ("STEPS", 1, two_networks),
        ("PATH_OPS", 8, deep),
        ("TOWER_SOURCES", 0, two_towers),
        ("FOREIGN_PLACEHOLDERS", 1, trains_with_the_updates_of_two_others),
        ("PROVENANCE_TENSORS", 1, networks.chooses_moments(updates_in_the_branch=True)),
        ("MOMENT_NODES", 1, written_out),
        ("AVERAGE_TENSORS", 1, written_out),
        ("REPLICA_TENSORS", 0, written_out),
        ("ACTIVATIONS", 0, generator_in_training_mode),
        ("FLAG_MERGES", 1, flag_that_decides_no_normalization),
    ],
)
def test_a_limit_that_is_reached_is_reported(name, value, build):
    with fresh_graph() as graph:
        build()
    assert reached(graph) == ()
    with small_limit(name, value):
        assert getattr(limits, name).text in reached(graph)


def test_every_form_of_a_report_names_the_limits():
    with fresh_graph() as graph:
        two_networks()
    with small_limit("STEPS", 1):
        report = bnguard.audit(graph)
        text = limits.STEPS.text
    assert f"limit reached: {text}" in str(report).splitlines()
    (shown,) = json.loads(report.to_json())["reports"]
    assert shown["limits"] == [text]
    (run,) = json.loads(report.to_sarif())["runs"]
    (notification,) = run["invocations"][0]["toolExecutionNotifications"]
    assert notification["message"]["text"] == f"tf.Graph: limit reached: {text}"


def test_outputs_of_a_switch_beyond_the_limit_are_undecided():
    with fresh_graph("resource", "v2") as graph:
        x, index = networks.inputs(), tf.placeholder(tf.int32, [], name="index")
        statistic = tf.get_variable("bn/moving_mean", initializer=[1.0])

        def write():
            with tf.control_dependencies([statistic.assign_add([1.0])]):
                return tf.identity(x)

        y = tf.switch_case(index, [lambda: tf.identity(x), lambda: tf.identity(x), write])
    with small_limit("SWITCH_OUTPUTS", 2):
        report = bnguard.audit(graph, y, {"x": None, "index": None}, select=["BN101"])
        assert limits.SWITCH_OUTPUTS.text in report.limits
    assert [finding.certain for finding in report.findings] == [False]


def test_signatures_beyond_the_limit_are_ignored(tmp_path):
    with fresh_graph(), tf.Session() as session:
        x = networks.inputs()
        y = networks.layer(x, False)
        session.run(tf.global_variables_initializer())
        builder = tf.saved_model.Builder(str(tmp_path / "model"))
        signature = tf.saved_model.predict_signature_def({"x": x}, {"y": y})
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"first": signature, "second": signature}
        )
        builder.save()
    with small_limit("SIGNATURES", 1):
        assert limits.SIGNATURES.text in reached(str(tmp_path / "model"))


def written(path, binary):
    """A graph of one function call in a file, whose function calls another, of two nodes."""
    message = message_of([("call", "outer")])
    for name, ops in (("outer", ["inner"]), ("inner", ["NoOp", "NoOp"])):
        function = message.library.function.add()
        function.signature.name = name
        for number, op_type in enumerate(ops):
            function.node_def.add(name=f"{name}_{number}", op=op_type)
            function.control_ret[f"{name}_{number}"] = f"{name}_{number}"
    data = message.SerializeToString() if binary else str(message).encode()
    path.write_bytes(data)
    return str(path), len(data)


@pytest.mark.parametrize(
    ("name", "is_binary", "least", "refusal"),
    [
        ("FILE_BYTES", True, None, "more than 2 GiB"),
        ("TEXT_BYTES", False, None, "text of more than"),
        ("FUNCTION_DEPTH", True, 2, "functions are nested more than 1 deep"),
        ("LOWERED_NODES", True, 5, "its functions expand to more than 4 nodes"),
        ("LOWERED_EDGES", True, 13, "nodes with more than 12 inputs"),
        ("LOWERED_NAME_BYTES", True, 80, "names of more than 79 bytes"),
        ("NAME_BYTES", True, 4, "has 4 bytes; expected at most 3"),
    ],
)
def test_a_graph_beyond_the_limit_is_refused(name, is_binary, least, refusal, tmp_path):
    path, size = written(tmp_path / "graph.pb", is_binary)
    largest = size if least is None else least
    with small_limit(name, largest):
        assert reached(path) == ()
    with small_limit(name, largest - 1), pytest.raises(AuditError, match=refusal):
        bnguard.audit(path)


def test_work_beyond_the_limit_is_refused_in_one_line(tmp_path):
    path = tmp_path / "graph.pb"
    path.write_bytes(costly_graphs.switches(100))
    with small_limit("WORK", 100), pytest.raises(AuditError) as refusal:
        bnguard.audit(path)
    assert str(refusal.value) == (
        f"{path}: the audit of this graph takes more than 100 visits to nodes, for each 5 MB of "
        "its file, the limit: a small file can ask for more work than a large network"
    )


def test_work_is_counted_for_each_graph_alone(tmp_path):
    with limits.work(0, 1) as left:
        limits.spend(int(limits.WORK))
        assert left.left == 0
    limits.spend(10**12)  # in no audit
    with limits.work(0, 1):
        limits.spend(1)


def test_a_large_file_may_take_more_work():
    with limits.work(100000000, 1) as left:
        assert left.left == 20 * limits.WORK
    assert limits.seconds(0) == limits.SECONDS == limits.seconds(5000000)
    assert limits.seconds(100000000) == 20 * limits.SECONDS
    with limits.work(0, 80) as left:  # a visit to a node with many inputs costs more
        assert left.left == limits.WORK // 10


def test_a_checkpoint_beyond_the_limits_is_refused(tmp_path):
    with fresh_graph(), tf.Session() as session:
        saver = tf.train.Checkpoint(one=tf.get_variable("moving_mean", [2]))
        session.run(tf.global_variables_initializer())
        prefix = saver.save(str(tmp_path / "model"), session=session)
    objects = tf.train.load_checkpoint(prefix).get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH")
    size = len(objects) + (1 if len(objects) < 128 else 2) + 4  # its length, and a checksum
    with small_limit("OBJECT_GRAPH_BYTES", size):
        assert "moving_mean" in read_checkpoint(prefix).names
    with small_limit("OBJECT_GRAPH_BYTES", size - 1), pytest.raises(AuditError, match=str(size)):
        read_checkpoint(prefix)
    with small_limit("CHECKPOINT_KEY_RATIO", 0), pytest.raises(AuditError, match="than 0 times"):
        read_checkpoint(prefix)


@pytest.mark.parametrize(
    ("name", "largest"), [("CHECKPOINT_ENTRIES", 4), ("CHECKPOINT_KEY_BYTES", 3 * 15)]
)
def test_an_index_beyond_the_limits_is_refused(name, largest, tmp_path):
    entries = {b"%d/moving_mean" % n + b"/": handmade.entry(bytes(16)) for n in range(10, 13)}
    prefix = handmade.write(tmp_path / "model", entries, bytes(16))
    with small_limit(name, largest):
        assert len(read_checkpoint(prefix).names) == 3
    with small_limit(name, largest - 1), pytest.raises(AuditError, match=f"{largest - 1}.*limit"):
        read_checkpoint(prefix)


@pytest.mark.parametrize(
    ("name", "ending"), [("INDEX_BYTES", ".index"), ("FIRST_FORMAT_BYTES", "")]
)
def test_a_file_of_a_checkpoint_beyond_its_limit_is_refused(name, ending, tmp_path):
    handmade.write(tmp_path / "model", {b"v": handmade.entry(bytes(16))}, bytes(16))
    first_format = handmade.table_of([(b"", b"")])
    (tmp_path / "first").write_bytes(first_format)
    prefix = str(tmp_path / ("model" if ending else "first"))
    size = os.path.getsize(f"{prefix}{ending}")
    with small_limit(name, size):
        checkpoint_reader.names(prefix)
    with small_limit(name, size - 1), pytest.raises(BnguardError, match=f"more than {size - 1} b"):
        checkpoint_reader.names(prefix)


def test_values_beyond_the_limit_are_refused(tmp_path):
    entries = {b"a": handmade.entry(bytes(16)), b"b": handmade.entry(bytes(16), offset=16)}
    prefix = handmade.write(tmp_path / "model", entries, bytes(32))
    with small_limit("VALUE_BYTES", 32):
        assert len(checkpoint_reader.read(prefix)) == 2
    with small_limit("VALUE_BYTES", 31):
        assert len(checkpoint_reader.read(prefix, ["a"])) == 1
        with pytest.raises(BnguardError, match="32 bytes, more than 31, the limit"):
            checkpoint_reader.read(prefix)


def test_a_list_of_checkpoints_beyond_the_limit_is_refused(tmp_path):
    prefix = handmade.write(tmp_path / "model", {b"v": handmade.entry(bytes(16))}, bytes(16))
    state = 'model_checkpoint_path: "model"'
    (tmp_path / "checkpoint").write_text(state)
    with small_limit("STATE_BYTES", len(state)):
        assert checkpoint_reader.resolve(str(tmp_path)) == prefix
    with small_limit("STATE_BYTES", len(state) - 1), pytest.raises(BnguardError, match="limit"):
        checkpoint_reader.resolve(str(tmp_path))


def test_an_engine_is_not_analysed():
    engine = message_of([("engine", "TRTEngineOp"), ("bn/moving_mean", "VariableV2")])
    assert reached(engine) == (limits.ENGINES.text,)
    assert reached(message_of([("engine", "NoOp"), ("bn/moving_mean", "VariableV2")])) == ()


def test_how_cold_a_deep_average_is_stays_open(tmp_path):
    with fresh_graph(), tf.Session() as session:
        y = networks.layer(networks.inputs(), True, updates_collections=None, decay=0.99)
        step = tf.train.get_or_create_global_step()
        networks.optimizer().minimize(networks.loss_of(y), global_step=step)
        session.run([tf.global_variables_initializer()])
        session.run(step.assign_add(10))
        prefix = tf.train.Saver().save(session, str(tmp_path / "model"))

    def audit():
        return bnguard.audit(f"{prefix}.meta", checkpoint=prefix, select=["BN304"])

    with small_limit("AVERAGE_DEPTH", 8) as seen:
        assert len(audit().findings) == 2
    assert seen == []
    with small_limit("AVERAGE_DEPTH", 0):
        assert audit().findings == ()
        assert limits.AVERAGE_DEPTH.text in audit().limits


def test_a_stored_tensor_of_too_many_bytes_has_no_value(tmp_path):
    with fresh_graph(), tf.Session() as session:
        tf.get_variable("steps", initializer=[7] * 5)
        session.run(tf.global_variables_initializer())
        prefix = tf.train.Saver().save(session, str(tmp_path / "model"), write_meta_graph=False)
    for limit, value in ((20, 7), (19, None)):
        with small_limit("STORED_BYTES", limit):
            assert read_checkpoint(prefix).value("steps") == value


@pytest.mark.parametrize(("elements", "certain"), [(64, [True]), (65, [False])])
def test_a_fed_array_of_more_than_64_elements_is_unknown(elements, certain):
    assert limits.FED_ELEMENTS == 64
    with fresh_graph() as graph:
        y = networks.layer(networks.inputs(), networks.flag(), updates_collections=None)
    feeds = {"x": None, "is_training": np.full([elements], True)}
    report = bnguard.audit(graph, y, feeds, select=["BN101"])
    assert [finding.certain for finding in report.findings] == certain * 2


def test_a_constant_of_more_than_16_different_elements_is_unknown():
    assert limits.CONSTANT_ELEMENTS == 16
    assert short_list(tf.make_tensor_proto(list(range(16)))) == list(range(16))
    assert short_list(tf.make_tensor_proto(list(range(17)))) is None


def test_a_constant_of_too_many_bytes_is_unknown():
    message = message_of([("c", "Const")])
    message.node[0].attr["value"].tensor.float_val.extend([1.0] * 100)
    size = message.node[0].ByteSize()
    with small_limit("CONSTANT_BYTES", size):
        assert read(message).constant(0) is not None
    with small_limit("CONSTANT_BYTES", size - 1):
        assert read(message).constant(0) is None


def test_weights_too_far_before_a_layer_are_not_found():
    """The layer for the test has statistics of its own; its trained weights are before a Relu."""
    with fresh_graph() as graph:
        y = networks.layer(networks.dense(networks.inputs(), "w"), True)
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            networks.optimizer().minimize(networks.loss_of(y))
        with tf.variable_scope(tf.get_variable_scope(), reuse=True):
            x = tf.nn.relu(networks.dense(networks.inputs("test"), "w"))
        tf.nn.softmax(networks.layer(x, False, scope="own"), name="prediction")
    assert len(bnguard.audit(graph, select=["BN202"]).findings) == 2
    with small_limit("WEIGHT_NODES", 0):
        assert bnguard.audit(graph, select=["BN202"]).findings == ()


def test_every_limit_has_a_test():
    with open(__file__, encoding="utf-8") as file:
        here = file.read()
    names = [name for name, value in vars(limits).items() if isinstance(value, limits.Limit)]
    assert len(names) > 20
    assert [name for name in names if name not in here] == []


def test_no_limit_is_recorded_outside_of_a_block():
    limits.STEPS.reach()
    with limits.collect() as found:
        pass
    assert found == {}


def test_blocks_nest():
    with limits.collect() as outer:
        with limits.collect() as inner:
            limits.STEPS.reach()
        limits.SIGNATURES.reach()
    assert list(inner) == [limits.STEPS.text]
    assert list(outer) == [limits.SIGNATURES.text]
