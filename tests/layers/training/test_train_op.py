"""Test the arguments of create_train_op, its result, and what a step counts and trains."""

import inspect

import numpy as np
import pytest
from support.programs.training_program import RATE, Training, optimizer, weight
import tensorflow.compat.v1 as tf

from bnguard import create_train_op

pytestmark = pytest.mark.usefixtures("graph")


def test_order_and_defaults_of_the_arguments_are_slims():
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(create_train_op).parameters.items()
    }
    assert repr(defaults.pop("global_step")) == "<get or create>"
    empty = inspect.Parameter.empty
    assert defaults == {
        "total_loss": empty,
        "optimizer": empty,
        "update_ops": None,
        "variables_to_train": None,
        "clip_gradient_norm": 0,
        "summarize_gradients": False,
        "gate_gradients": tf.train.Optimizer.GATE_OP,
        "aggregation_method": None,
        "colocate_gradients_with_ops": False,
        "gradient_multipliers": None,
        "check_numerics": True,
    }
    order = list(inspect.signature(create_train_op).parameters)
    assert order[:5] == [
        "total_loss",
        "optimizer",
        "global_step",
        "update_ops",
        "variables_to_train",
    ]
    assert order[5:] == list(defaults)[4:]


def test_a_step_returns_the_loss_and_descends():
    w = weight("w", 3.0)
    training = Training(create_train_op(tf.square(w), optimizer()))
    assert training.step() == 9.0
    assert training.values()["w"] == 3.0 - RATE * 6.0


def test_the_train_op_is_added_to_its_collection():
    train_op = create_train_op(tf.square(weight("w")), optimizer())
    assert tf.get_collection(tf.GraphKeys.TRAIN_OP)[-1] is train_op  # after the optimizer's own
    assert train_op.name == "train_op/control_dependency:0"


def test_operations_that_the_optimizer_runs_alone_need_no_batch():
    """The chief fills its queue of tokens from a different thread, which feeds no batch."""
    x = tf.placeholder(tf.float32, [None])
    replicas = tf.train.SyncReplicasOptimizer(optimizer(), 1, total_num_replicas=1)
    training_op = create_train_op(tf.reduce_sum(weight("w") * x), replicas)
    replicas.ready_for_local_init_op.mark_used()  # otherwise TensorFlow logs an error
    enqueue = replicas.get_chief_queue_runner().enqueue_ops
    assert x.op in needed_by(training_op.op)
    assert x.op not in needed_by(*enqueue, replicas.chief_init_op)


def needed_by(*operations):
    needed, waiting = set(), list(operations)
    while waiting:
        op = waiting.pop()
        if op not in needed:
            needed.add(op)
            waiting += [tensor.op for tensor in op.inputs] + list(op.control_inputs)
    return needed


def test_names_are_refused_where_tensors_or_variables_are_expected():
    loss = tf.square(weight("w"))
    with pytest.raises(ValueError, match="update_ops is update_ops; a list of tensors"):
        create_train_op(loss, optimizer(), update_ops="update_ops")
    with pytest.raises(ValueError, match="variables_to_train has 'w'; variables are expected"):
        create_train_op(loss, optimizer(), variables_to_train=["w"])


def test_the_global_step_is_created_and_incremented():
    training = Training(create_train_op(tf.square(weight("w")), optimizer()))
    training.step(), training.step()
    assert training.values()["global_step"] == 2


def test_a_given_global_step_is_incremented_instead():
    mine = tf.get_variable("mine", initializer=np.int64(5), trainable=False)
    training = Training(create_train_op(tf.square(weight("w")), optimizer(), global_step=mine))
    training.step()
    assert training.values()["mine"] == 6
    assert tf.train.get_global_step() is None


def test_global_step_none_counts_nothing():
    training = Training(create_train_op(tf.square(weight("w")), optimizer(), global_step=None))
    training.step()
    assert set(training.values()) == {"w"}


def test_only_variables_to_train_are_trained():
    first, second = weight("first"), weight("second")
    loss = tf.square(first) + tf.square(second)
    training = Training(create_train_op(loss, optimizer(), variables_to_train=[second]))
    training.step()
    assert training.values()["first"] == 1.0
    assert training.values()["second"] == 1.0 - RATE * 2.0


def test_no_variable_to_train_is_refused():
    frozen = weight("frozen", trainable=False)
    for variables_to_train in (None, []):
        with pytest.raises(ValueError, match="no variable to train; pass variables_to_train"):
            create_train_op(tf.square(frozen), optimizer(), variables_to_train=variables_to_train)


def test_a_variable_that_is_not_trainable_is_refused():
    frozen = weight("frozen", trainable=False)
    with pytest.raises(ValueError, match="has frozen, which is not trainable; drop it"):
        create_train_op(tf.square(frozen), optimizer(), variables_to_train=[frozen])


FORWARDED = {"gate_gradients": 2, "aggregation_method": 1, "colocate_gradients_with_ops": True}


@pytest.mark.parametrize("argument", list(FORWARDED))
def test_the_optimizer_receives_the_argument(argument):
    seen = {}

    class Spy(tf.train.GradientDescentOptimizer):
        def compute_gradients(self, *arguments, **options):
            seen.update(options)
            return super().compute_gradients(*arguments, **options)

    create_train_op(tf.square(weight("w")), Spy(RATE), **{argument: FORWARDED[argument]})
    assert seen[argument] == FORWARDED[argument]
