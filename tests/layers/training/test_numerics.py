"""Test check_numerics: a loss that is not finite changes no variable."""

from conftest import COMBINATIONS
import numpy as np
import pytest
from support.graphs import build_with
from support.programs.training_program import Training, optimizer, weight
from support.samples import combinations
import tensorflow.compat.v1 as tf

from bnguard import batch_norm, create_train_op

pytestmark = [pytest.mark.usefixtures("graph"), pytest.mark.slow]

UPDATE_OPS = tf.GraphKeys.UPDATE_OPS


def normalized_regression(mode, **options):
    """Build a regression behind a batch_norm; return x, a term to add to the loss, and the loss."""
    x, term = tf.placeholder(tf.float32, [4, 2]), tf.placeholder(tf.float32, [])
    is_training = tf.placeholder_with_default(True, []) if mode == "tensor" else True
    y = batch_norm(x, is_training=is_training, decay=0.9, **options)
    # The gradient of the weights is finite whatever is added to the loss.
    return x, term, tf.reduce_mean(tf.square(y + 1.0) * weight("w", [1.0, 2.0])) + term


LAYERS = {
    "fused": {},
    "not fused": {"fused": False},
    "debiased": {"zero_debias_moving_mean": True},
    "renorm": {"renorm": True},
}

BATCH = np.array([[1, 2], [3, 5], [2, 2], [9, 4]], np.float32)


@pytest.mark.parametrize(
    ("build", "mode", "layer"), combinations(COMBINATIONS, ["tensor", "known"], LAYERS)
)
def test_a_loss_that_is_not_finite_changes_nothing(build, mode, layer):
    with build_with(*build):
        x, term, loss = normalized_regression(mode, **LAYERS[layer])
        training = Training(create_train_op(loss, optimizer()))
    before = training.values()
    for bad in (np.nan, np.inf):
        for _ in range(5):
            with pytest.raises(tf.errors.InvalidArgumentError, match="LossTensor is inf or nan"):
                training.step({x: BATCH, term: bad})
    for name, value in training.values().items():
        assert value.tobytes() == before[name].tobytes(), name
    training.step({x: BATCH, term: 0.0})
    after = training.values()
    assert all(after[name].tobytes() != value.tobytes() for name, value in before.items())


def test_without_check_numerics_a_nan_loss_is_applied():
    x, term, loss = normalized_regression("known")
    training = Training(create_train_op(loss, optimizer(), check_numerics=False))
    assert np.isnan(training.step({x: BATCH, term: np.nan}))
    assert training.values()["global_step"] == 1
    assert (training.values()["BatchNorm/moving_mean"] != 0).all()


def average(of):
    """Return the update of tf.train.ExponentialMovingAverage: a group, without output."""
    return tf.train.ExponentialMovingAverage(0.9).apply([of])


def conditional(of):
    """Return an update in a tf.cond, as tf.contrib's layers build it."""
    counter = tf.get_variable("counter", initializer=0.0, trainable=False)
    return tf.cond(of > 0, lambda: counter.assign_add(1.0) + 0.0, lambda: counter + 0.0)


# TensorFlow refuses to build a write of a ref variable in a branch of control flow v2.
OTHERS = [(average, *combination) for combination in COMBINATIONS]
OTHERS += [
    (conditional, *combination) for combination in COMBINATIONS if combination != ("ref", "v2")
]


@pytest.mark.parametrize(("update", "variables", "control_flow"), OTHERS)
def test_updates_of_other_layers_wait_for_the_loss_too(update, variables, control_flow):
    with build_with(variables, control_flow):
        term, w = tf.placeholder(tf.float32, []), weight("w", 2.0)
        tf.add_to_collection(UPDATE_OPS, update(w * 3.0 if update is average else w))
        training = Training(create_train_op(tf.square(w) + term, optimizer()))
    before = training.values()
    for _ in range(5):
        with pytest.raises(tf.errors.InvalidArgumentError, match="LossTensor"):
            training.step({term: np.nan})
    assert training.values() == before
    training.step({term: 0.0})
    assert all(training.values()[name] != value for name, value in before.items())


def elements():
    """Return the next element of the data set 0, 1, 2, ..."""
    return tf.data.make_one_shot_iterator(tf.data.Dataset.range(9)).get_next()


def queued():
    """Return the next element of a queue of 0, 1, 2, ..., which the collection `fill` fills."""
    queue = tf.queue.FIFOQueue(9, tf.int64, shapes=[])
    tf.add_to_collection("fill", queue.enqueue_many(np.arange(9)))
    return queue.dequeue()


def queued_by_ref():
    """Return the next element of a queue as in older graphs: its handle is a string ref."""
    raw = tf.raw_ops
    queue = raw.FIFOQueue(component_types=[tf.int64], shapes=[[]], capacity=9)
    values = [tf.constant(np.arange(9))]
    tf.add_to_collection("fill", raw.QueueEnqueueMany(handle=queue, components=values))
    (element,) = raw.QueueDequeue(handle=queue, component_types=[tf.int64])
    return element


@pytest.mark.parametrize("source", [elements, queued, queued_by_ref])
@pytest.mark.parametrize(("variables", "control_flow"), COMBINATIONS)
def test_a_step_takes_one_element_and_every_reader_sees_it(variables, control_flow, source):
    """The element feeds an update that waits for a loss that does not depend on it."""
    with build_with(variables, control_flow):
        element = tf.cast(source(), tf.float32)
        seen = tf.get_variable("seen", initializer=-1.0, trainable=False)
        tf.add_to_collection(UPDATE_OPS, seen.assign(element))
        term, w = tf.placeholder(tf.float32, []), weight("w")
        training = Training(create_train_op(tf.square(w) + term, optimizer()))
    training.session.run(tf.get_collection("fill"))
    for step in range(3):
        _, fetched = training.session.run([training.train_op, element], {term: 0.0})
        assert (fetched, training.values()["seen"]) == (step, step)
    with pytest.raises(tf.errors.InvalidArgumentError, match="LossTensor"):
        training.step({term: np.nan})
    assert training.values()["seen"] == 2  # the failed step may consume the fourth element


@pytest.mark.parametrize(("variables", "control_flow"), COMBINATIONS)
def test_the_update_sees_the_random_numbers_of_the_loss(variables, control_flow):
    with build_with(variables, control_flow):
        drawn, also = tf.random_uniform([]), tf.random_uniform([])
        seen = tf.get_variable("seen", initializer=[0.0, 0.0], trainable=False)
        tf.add_to_collection(UPDATE_OPS, seen.assign(tf.stack([drawn, also])))
        training = Training(create_train_op(tf.square(weight("w")) * drawn, optimizer()))
    for _ in range(3):
        _, *fetched = training.session.run([training.train_op, drawn, also])
        assert training.values()["seen"].tolist() == fetched
