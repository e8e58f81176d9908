"""Statistics of name-based and object-based checkpoints; only the needed tensors are read."""

import numpy as np
from support.programs import tf1_programs as programs
import tensorflow.compat.v1 as tf

from bnguard import checkpoint_reader
from bnguard.analysis.ir.protos import message
from bnguard.statistics import checkpoint_values


def save_objects(folder, **variables):
    """Save an object-based checkpoint, given the variable name of each object."""
    with tf.Graph().as_default(), tf.Session() as session:
        objects = {}
        for number, (name, variable) in enumerate(variables.items(), start=1):
            with tf.variable_scope("", reuse=tf.AUTO_REUSE):
                initializer = tf.constant_initializer(float(number))
                objects[name] = tf.get_variable(variable, [2], initializer=initializer)
        session.run(tf.global_variables_initializer())
        return tf.train.Checkpoint(**objects).save(str(folder / "model"), session=session)


def test_variables_of_an_object_based_checkpoint_have_their_own_names(tmp_path):
    path = save_objects(tmp_path, a="net/moving_mean", b="net/moving_variance", c="net/gamma")
    assert sorted(checkpoint_reader.names(path))[0] == "_CHECKPOINTABLE_OBJECT_GRAPH"
    values = checkpoint_values.read(path)
    assert list(values) == ["net/moving_mean", "net/moving_variance"]
    np.testing.assert_array_equal(values["net/moving_variance"], [2, 2])


def test_a_folder_stands_for_its_latest_object_based_checkpoint(tmp_path):
    save_objects(tmp_path, a="net/moving_mean")
    assert list(checkpoint_values.read(str(tmp_path), scope="net")) == ["net/moving_mean"]


def test_a_variable_without_a_unique_name_has_its_object_path_as_name(tmp_path):
    paths = {"first/moving_mean": "moving_mean", "second/moving_mean": "moving_mean"}
    paths.update({"third/moving_mean": "", "fourth/v": "bn/moving_mean"})
    values = checkpoint_values.read(save_described(tmp_path, paths))
    assert {name: float(value) for name, value in values.items()} == {
        "first/moving_mean": 1,
        "second/moving_mean": 2,
        "third/moving_mean": 3,
        "bn/moving_mean": 4,
    }


def test_a_damaged_object_graph_is_reported(tmp_path):
    path = save_described(tmp_path, {"a/moving_mean": "moving_mean"}, garbage=b"\xff")
    with programs.fails_with("object graph cannot be decoded", "expected an object-based"):
        checkpoint_values.read(path)


def save_described(folder, paths, garbage=b""):
    """Save what eager TF 2.x would save: values 1, 2, ... at the paths, and the names."""
    graph = message("TrackableObjectGraph")()
    described = {}
    with tf.Graph().as_default(), tf.Session() as session:
        for number, (path, name) in enumerate(paths.items(), start=1):
            key = path + "/.ATTRIBUTES/VARIABLE_VALUE"
            described[key] = tf.get_variable(f"v{number}", initializer=float(number))
            graph.nodes.add().attributes.add(full_name=name, checkpoint_key=key)
        content = graph.SerializeToString() + garbage
        described["_CHECKPOINTABLE_OBJECT_GRAPH"] = tf.get_variable("objects", initializer=content)
        session.run(tf.global_variables_initializer())
        return tf.train.Saver(described).save(session, str(folder / "model"))


def test_variables_with_other_names_are_read_on_request(tmp_path):
    path = save_objects(tmp_path, a="net/mu", b="net/moving_variance")
    assert list(checkpoint_values.read(path)) == ["net/moving_variance"]
    assert list(checkpoint_values.read(path, also=["net/mu"])) == ["net/moving_variance", "net/mu"]


def test_other_variables_are_not_read(tmp_path):
    with tf.Graph().as_default(), tf.Session() as session:
        tf.get_variable("a/kernel", [64], initializer=tf.ones_initializer())
        tf.get_variable("b/moving_mean", [4], initializer=tf.ones_initializer())
        session.run(tf.global_variables_initializer())
        path = tf.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    with open(path + ".data-00000-of-00001", "r+b") as file:
        file.write(b"\xff")  # damages the kernel, which comes first
    np.testing.assert_array_equal(checkpoint_values.read(path)["b/moving_mean"], [1, 1, 1, 1])
    with programs.fails_with("cannot be read"):
        checkpoint_reader.read(path)
