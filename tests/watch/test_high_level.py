"""Estimator and Keras under a watcher: their steps, and the line of the user that runs each."""

import pytest
from support import forked
import tensorflow.compat.v1 as tf

pytestmark = pytest.mark.slow

KERAS = """import os
os.environ["TF_USE_LEGACY_KERAS"] = "1"
import numpy as np
import tensorflow.compat.v1 as tf
tf.disable_v2_behavior()
layers = tf.keras.layers
model = tf.keras.Sequential([layers.Dense(4, input_shape=(3,))])
model.add(layers.BatchNormalization(momentum=0.5))
model.compile("sgd", "mse")
x = np.random.rand(32, 3)
y = np.random.rand(32, 4)
model.fit(x, y, batch_size=8, epochs=2, verbose=0)
model.evaluate(x, y, verbose=0)
model.predict(x)
"""
"""A model without a defect, so that the learning phase, which Keras feeds, must be seen."""

ESTIMATOR = """import tensorflow as tf

def model(features, labels, mode):
    training = mode == tf.estimator.ModeKeys.TRAIN
    net = tf.contrib.layers.batch_norm(features, is_training=training, decay=0.5)
    net = tf.layers.batch_normalization(net, training={training}, momentum=0.5)
    loss = tf.losses.mean_squared_error(labels, net)
    optimizer = tf.train.GradientDescentOptimizer(0.1)
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        train_op = optimizer.minimize(loss, tf.train.get_global_step())
    return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)

def data():
    return tf.data.Dataset.from_tensors(([[1.0, 2.0]], [[3.0, 4.0]])).repeat(6)

estimator = tf.estimator.Estimator(model)
estimator.train(data)
estimator.evaluate(data)
"""
FOR_2 = {  # which has no contrib
    "import tensorflow as tf": "import tensorflow.compat.v1 as tf",
    "contrib.layers.batch_norm(": "layers.batch_normalization(",
    "is_training=training, decay": "training=training, momentum",
}
CALLS = ("estimator.train(", "estimator.evaluate(")


def watched(folder, text):
    path = folder / "program.py"
    path.write_text(text, encoding="utf-8")
    status, _, errors = forked.run(folder, "run", str(path))
    return status, errors.partition(f"bnguard: {path}\n")[2].replace(str(path), "program.py")


def test_the_functions_of_keras_are_steps_with_the_learning_phase(tmp_path):
    pytest.importorskip("tensorflow.keras" if tf.__version__ < "2" else "tf_keras")
    status, report = watched(tmp_path, KERAS)
    assert status == 0
    rows = [row.split() for row in report.splitlines()]
    trains, infers = ([row for row in rows if kind in row] for kind in ("trains;", "infers"))
    assert [(row[0], row[-5:]) for row in trains] == [
        ("8", ["program.py:12", "trains;", "writes", "2", "statistics"])
    ]
    assert [row[-2:] for row in infers] == [
        ["program.py:13", "infers"],
        ["program.py:14", "infers"],
    ]
    assert "keras_learning_phase=True  program.py:12" in report
    assert "2 running statistics: nothing found" in report


@pytest.mark.skipif(not hasattr(tf, "estimator"), reason="this TensorFlow has no Estimator")
@pytest.mark.parametrize("is_broken", [False, True])
def test_an_estimator_that_trains_and_evaluates(is_broken, tmp_path):
    training = "True" if is_broken else "training"
    program = ESTIMATOR.replace("{training}", training)
    if tf.__version__ >= "2":
        for old, new in FOR_2.items():
            program = program.replace(old, new)
    status, report = watched(tmp_path, program)
    assert status == int(is_broken)
    assert ("BN103 batch-statistics-at-inference (error)" in report) is is_broken
    line = "program.py:6 in model: net = tf.layers.batch_normalization(net, training="
    assert (f"built at {line}" in report) is is_broken
    train, evaluate = (ESTIMATOR[: ESTIMATOR.index(call)].count("\n") + 1 for call in CALLS)
    trains = [row for row in report.splitlines() if f"program.py:{train}  trains; writes 4" in row]
    assert sum(int(row.split()[0]) for row in trains) == 6 + 1  # the last finds no more data
    assert f"program.py:{evaluate}  infers" in report
