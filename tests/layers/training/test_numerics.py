"""create_train_op(check_numerics=True): a loss that is not finite changes nothing."""

from conftest import COMBINATIONS
import numpy as np
import pytest
from support.graphs import build_with
from support.programs.training_program import Training, optimizer, weight
import tensorflow.compat.v1 as tf

from bnguard import batch_norm, create_train_op

pytestmark = pytest.mark.usefixtures("graph")

UPDATE_OPS = tf.GraphKeys.UPDATE_OPS


def normalized_regression(mode, **options):
    """A regression behind a batch_norm: x, the placeholder to spoil the loss with, the loss."""
    x, spoil = tf.placeholder(tf.float32, [4, 2]), tf.placeholder(tf.float32, [])
    is_training = tf.placeholder_with_default(True, []) if mode == "tensor" else True
    y = batch_norm(x, is_training=is_training, decay=0.9, **options)
    # The gradient of the weights is finite whatever is added to the loss.
    return x, spoil, tf.reduce_mean(tf.square(y + 1.0) * weight("w", [1.0, 2.0])) + spoil


LAYERS = {
    "fused": {},
    "not fused": {"fused": False},
    "debiased": {"zero_debias_moving_mean": True},
    "renorm": {"renorm": True},
}

BATCH = np.array([[1, 2], [3, 5], [2, 2], [9, 4]], np.float32)


@pytest.mark.parametrize("layer", list(LAYERS))
@pytest.mark.parametrize("mode", ["tensor", "known"])
@pytest.mark.parametrize(("variables", "control_flow"), COMBINATIONS)
def test_a_loss_that_is_not_finite_changes_nothing(variables, control_flow, mode, layer):
    with build_with(variables, control_flow):
        x, spoil, loss = normalized_regression(mode, **LAYERS[layer])
        training = Training(create_train_op(loss, optimizer()))
    before = training.values()
    for bad in (np.nan, np.inf):
        for _ in range(5):
            with pytest.raises(tf.errors.InvalidArgumentError, match="LossTensor is inf or nan"):
                training.step({x: BATCH, spoil: bad})
    for name, value in training.values().items():
        assert value.tobytes() == before[name].tobytes(), name
    training.step({x: BATCH, spoil: 0.0})
    after = training.values()
    assert all(after[name].tobytes() != value.tobytes() for name, value in before.items())


def test_without_check_numerics_a_bad_loss_goes_through():
    x, spoil, loss = normalized_regression("known")
    training = Training(create_train_op(loss, optimizer(), check_numerics=False))
    assert np.isnan(training.step({x: BATCH, spoil: np.nan}))
    assert training.values()["global_step"] == 1
    assert (training.values()["BatchNorm/moving_mean"] != 0).all()


def average(of):
    """The update op of tf.train.ExponentialMovingAverage: a group, with no output."""
    return tf.train.ExponentialMovingAverage(0.9).apply([of])


def conditional(of):
    """An update in a tf.cond, as tf.contrib's layers have it."""
    counter = tf.get_variable("counter", initializer=0.0, trainable=False)
    return tf.cond(of > 0, lambda: counter.assign_add(1.0) + 0.0, lambda: counter + 0.0)


# TensorFlow refuses to build a write of a ref variable in a branch of control flow v2.
OTHERS = [(average, *one) for one in COMBINATIONS]
OTHERS += [(conditional, *one) for one in COMBINATIONS if one != ("ref", "v2")]


@pytest.mark.parametrize(("update", "variables", "control_flow"), OTHERS)
def test_other_peoples_updates_wait_for_the_loss_too(update, variables, control_flow):
    with build_with(variables, control_flow):
        spoil, w = tf.placeholder(tf.float32, []), weight("w", 2.0)
        tf.add_to_collection(UPDATE_OPS, update(w * 3.0 if update is average else w))
        training = Training(create_train_op(tf.square(w) + spoil, optimizer()))
    before = training.values()
    for _ in range(5):
        with pytest.raises(tf.errors.InvalidArgumentError, match="LossTensor"):
            training.step({spoil: np.nan})
    assert training.values() == before
    training.step({spoil: 0.0})
    assert all(training.values()[name] != value for name, value in before.items())


def elements():
    """The next of 0.0, 1.0, 2.0, ... of a data set."""
    return tf.data.make_one_shot_iterator(tf.data.Dataset.range(9)).get_next()


def queued():
    """The same of a queue; None runs what fills it."""
    queue = tf.queue.FIFOQueue(9, tf.int64, shapes=[])
    tf.add_to_collection("fill", queue.enqueue_many(np.arange(9)))
    return queue.dequeue()


def queued_by_ref():
    """The same of a queue as older graphs have them: its handle is a ref of text."""
    raw = tf.raw_ops
    queue = raw.FIFOQueue(component_types=[tf.int64], shapes=[[]], capacity=9)
    values = [tf.constant(np.arange(9))]
    tf.add_to_collection("fill", raw.QueueEnqueueMany(handle=queue, components=values))
    (element,) = raw.QueueDequeue(handle=queue, component_types=[tf.int64])
    return element


@pytest.mark.parametrize("source", [elements, queued, queued_by_ref])
@pytest.mark.parametrize(("variables", "control_flow"), COMBINATIONS)
def test_a_step_takes_one_element_and_all_see_the_same(variables, control_flow, source):
    """Though the update that it feeds waits for a loss that does without it."""
    with build_with(variables, control_flow):
        element = tf.cast(source(), tf.float32)
        seen = tf.get_variable("seen", initializer=-1.0, trainable=False)
        tf.add_to_collection(UPDATE_OPS, seen.assign(element))
        spoil, w = tf.placeholder(tf.float32, []), weight("w")
        training = Training(create_train_op(tf.square(w) + spoil, optimizer()))
    training.session.run(tf.get_collection("fill"))
    for step in range(3):
        _, fetched = training.session.run([training.train_op, element], {spoil: 0.0})
        assert (fetched, training.values()["seen"]) == (step, step)
    with pytest.raises(tf.errors.InvalidArgumentError, match="LossTensor"):
        training.step({spoil: np.nan})
    assert training.values()["seen"] == 2  # the fourth may be lost with the step, unseen


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
