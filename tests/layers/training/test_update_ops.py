"""Test which update ops a step of create_train_op runs, in which order, and how often."""

import pytest
from support.programs.training_program import Training, optimizer, weight
import tensorflow.compat.v1 as tf

from bnguard import create_train_op

pytestmark = pytest.mark.usefixtures("graph")

UPDATE_OPS = tf.GraphKeys.UPDATE_OPS


def test_copies_of_updates_stay_on_their_device():
    with tf.device("/device:CPU:0"):
        update = tf.get_variable("statistic", initializer=0.0, trainable=False).assign_add(1.0)
    tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
    create_train_op(tf.square(weight("w")), optimizer(), global_step=None)
    writes = [op for op in update.graph.get_operations() if op.type == update.op.type]
    assert [op.device for op in writes] == ["/device:CPU:0"] * 2


def counters(number=3):
    """Create variables that the operations in UPDATE_OPS increment."""
    for index in range(number):
        counter = tf.get_variable(f"counter_{index}", initializer=0.0, trainable=False)
        tf.add_to_collection(UPDATE_OPS, counter.assign_add(1.0))
    return tf.get_collection(UPDATE_OPS)


def counted(training):
    return [int(value) for name, value in training.values().items() if "counter" in name]


@pytest.mark.parametrize("check_numerics", [True, False])
def test_all_update_ops_are_run_by_default(check_numerics):
    counters()
    loss = tf.square(weight("w"))
    training = Training(create_train_op(loss, optimizer(), check_numerics=check_numerics))
    training.step(), training.step()
    assert counted(training) == [2, 2, 2]


def test_a_partial_list_of_update_ops_is_run_with_a_warning(caplog):
    updates = counters()
    with caplog.at_level("WARNING", logger="tensorflow"):
        train_op = create_train_op(tf.square(weight("w")), optimizer(), update_ops=updates[:1])
    assert "does not contain all the update_ops" in caplog.text
    assert updates[1].name in caplog.text
    assert updates[0].name + "," not in caplog.text
    training = Training(train_op)
    training.step()
    assert counted(training) == [1, 0, 0]


def test_an_empty_list_runs_no_update_op():
    counters()
    training = Training(create_train_op(tf.square(weight("w")), optimizer(), update_ops=[]))
    training.step()
    assert counted(training) == [0, 0, 0]


def test_update_ops_outside_the_collection_run_without_a_warning(caplog):
    updates = counters()
    other = tf.get_variable("counter_other", initializer=0.0, trainable=False)
    with caplog.at_level("WARNING", logger="tensorflow"):
        train_op = create_train_op(
            tf.square(weight("w")), optimizer(), update_ops=[*updates, other.assign_add(1.0)]
        )
    assert not caplog.text
    training = Training(train_op)
    training.step()
    assert counted(training) == [1, 1, 1, 1]


def test_the_graph_is_the_same_on_every_run():
    def graph():
        with tf.Graph().as_default() as graph:
            counters(20)
            create_train_op(tf.square(weight("w")), optimizer())
            return graph.as_graph_def().SerializeToString(deterministic=True)

    assert len({graph() for _ in range(5)}) == 1


def test_update_ops_keep_the_order_of_the_collection():
    """The order of a set, as in slim, would change between runs."""
    updates = counters(20)
    train_op = create_train_op(tf.square(weight("w")), optimizer(), check_numerics=False)
    barrier = train_op.graph.get_operation_by_name("update_barrier")
    assert list(barrier.node_def.input) == ["^" + update.op.name for update in updates]


def test_an_update_that_the_loss_waits_for_is_run_once():
    counter = tf.get_variable("counter", initializer=0.0, trainable=False)
    update, w = counter.assign_add(1.0), weight("w")
    tf.add_to_collection(UPDATE_OPS, update)
    with tf.control_dependencies([update]):
        loss = tf.square(w)
    training = Training(create_train_op(loss, optimizer()))
    training.step()
    assert training.values()["counter"] == 1


def test_an_update_in_a_loop_is_run_with_a_warning(caplog):
    counter = tf.get_variable("counter", initializer=0.0, trainable=False)

    def body(index):
        with tf.control_dependencies([counter.assign_add(1.0)]):
            return index + 1

    tf.add_to_collection(UPDATE_OPS, tf.while_loop(lambda index: index < 3, body, [0]))
    with caplog.at_level("WARNING", logger="tensorflow"):
        train_op = create_train_op(tf.square(weight("w")), optimizer())
    assert "cannot wait until the loss is known to be finite" in caplog.text
    training = Training(train_op)
    training.step()
    assert training.values()["counter"] == 3


def test_two_train_ops_over_the_same_updates_are_independent():
    """Adversarial training with slim builds a train op for each of the two sides."""
    counters()
    fed = [tf.placeholder(tf.float32, []) for _ in range(2)]
    losses = [tf.square(weight(f"w_{index}")) * factor for index, factor in enumerate(fed)]
    train_ops = [create_train_op(loss, optimizer()) for loss in losses]
    training = Training(train_ops[0])
    training.session.run(train_ops[0], {fed[0]: 1.0})
    training.session.run(train_ops[1], {fed[1]: 1.0})
    assert counted(training) == [2, 2, 2]
    training.session.run(tf.get_collection(UPDATE_OPS))
    assert counted(training) == [3, 3, 3]


@pytest.mark.parametrize(("check_numerics", "times"), [(True, 2), (False, 1)])
def test_update_ops_fetched_with_the_train_op_run_again_if_deferred(check_numerics, times):
    """Updates that wait for the loss are copies, so a fetched original runs as well."""
    counters()
    train_op = create_train_op(tf.square(weight("w")), optimizer(), check_numerics=check_numerics)
    training = Training(train_op)
    training.session.run([train_op, tf.get_collection(UPDATE_OPS)])
    assert counted(training) == [times] * 3


def test_a_single_update_op_without_a_list_is_refused():
    counters()
    update, *_ = tf.get_collection(UPDATE_OPS)
    with pytest.raises(ValueError, match="a list of tensors or operations is expected"):
        create_train_op(tf.square(weight("w")), optimizer(), update_ops=update)
