"""Small networks with one defect each, and their healthy twins.

A builder works in a fresh default graph; it may return what to tell the audit beyond the graph.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
import tempfile

import tensorflow.compat.v1 as tf

from bnguard import batch_norm, create_train_op
from support.graphs import build_with


@contextmanager
def fresh_graph(variables="ref", control_flow="v1"):
    """A default graph, built with these variables and this control flow; yields the graph."""
    with build_with(variables, control_flow), tf.Graph().as_default() as graph:
        yield graph


def inputs(name="x"):
    return tf.placeholder(tf.float32, [None, 4], name=name)


def flag():
    return tf.placeholder(tf.bool, [], name="is_training")


def dense(x, name="dense"):
    weights = tf.get_variable(f"{name}/weights", [x.shape[-1], 4])
    return tf.matmul(x, weights, name=name)


def layer(x, is_training, **options):
    return batch_norm(x, is_training=is_training, **{"scale": True, "scope": "bn", **options})


def loss_of(y, name="label"):
    return tf.reduce_mean(tf.square(y - inputs(name)))


def optimizer():
    return tf.train.MomentumOptimizer(0.1, 0.9)


def train_with_updates(y, **options):
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        return optimizer().minimize(loss_of(y), **options)


# BN101, BN102


def two_branch():
    x, training = inputs(), flag()
    trained = layer(dense(x), True, updates_collections=None)
    with tf.variable_scope(tf.get_variable_scope(), reuse=True):
        inferred = layer(dense(x), False, reuse=True)
    y = tf.cond(training, lambda: trained, lambda: inferred)
    optimizer().minimize(loss_of(tf.nn.relu(y, name="output")))


def one_layer():
    y = layer(dense(inputs()), flag(), updates_collections=None)
    optimizer().minimize(loss_of(tf.nn.relu(y, name="output")))


def one_layer_with_update_ops():
    create_train_op(loss_of(tf.nn.relu(layer(dense(inputs()), flag()), name="output")), optimizer())


def chooses_moments(updates_in_the_branch):
    """Averages by tf.train.ExponentialMovingAverage, and a tf.cond that chooses the moments.

    A control edge out of a branch does not make what it leads to a part of the branch.
    """

    def build():
        x, training = dense(inputs()), flag()
        moments = tf.nn.moments(x, [0])
        averages = tf.train.ExponentialMovingAverage(0.9)
        update = None if updates_in_the_branch else averages.apply(moments)

        def of_the_batch():
            with tf.control_dependencies([update or averages.apply(moments)]):
                return [tf.identity(moment) for moment in moments]

        used = tf.cond(
            training, of_the_batch, lambda: [averages.average(moment) for moment in moments]
        )
        y = tf.nn.batch_normalization(x, *used, tf.Variable(tf.zeros([4])), None, 1e-3)
        optimizer().minimize(loss_of(tf.nn.relu(y, name="output")))

    return build


# BN103, BN104


def trains_at_inference():
    tf.nn.relu(layer(dense(inputs()), True), name="output")


def infers_at_inference():
    tf.nn.relu(layer(dense(inputs()), False), name="output")


def trains_in_the_evaluation_network():
    train_with_updates(layer(dense(inputs()), True))
    with tf.variable_scope(tf.get_variable_scope(), reuse=True):
        tf.nn.relu(layer(dense(inputs("x_test")), True, reuse=True), name="output")


def infers_in_the_evaluation_network():
    train_with_updates(layer(dense(inputs()), True))
    with tf.variable_scope(tf.get_variable_scope(), reuse=True):
        tf.nn.relu(layer(dense(inputs("x_test")), False, reuse=True), name="output")


def defaults_to(value):
    def build():
        training = tf.placeholder_with_default(value, [], name="is_training")
        create_train_op(loss_of(layer(dense(inputs()), training)), optimizer())

    return build


# BN105


def siamese(collection):
    """A layer on two inputs; `collection` is that of the second call's updates."""

    def build():
        training, outputs = flag(), []
        for name, updates in (("left", tf.GraphKeys.UPDATE_OPS), ("right", collection)):
            x = dense(inputs(name), name)
            options = {"reuse": tf.AUTO_REUSE, "updates_collections": updates}
            outputs.append(layer(x, training, **options))
        train_with_updates(tf.concat(outputs, 0, name="output"))

    return build


# BN201, BN202, BN203


def only_minimizes(**options):
    optimizer().minimize(loss_of(layer(dense(inputs()), flag(), **options)))


def minimizes_after_updates(**options):
    train_with_updates(layer(dense(inputs()), flag(), **options))


def accumulates(waits_for_updates):
    """One step adds up gradients, and another applies their sum."""

    def build():
        loss = loss_of(layer(dense(inputs()), flag()))
        variables = tf.trainable_variables()
        update_ops = tf.get_collection(tf.GraphKeys.UPDATE_OPS) if waits_for_updates else []
        with tf.control_dependencies(update_ops):
            gradients = tf.gradients(loss, variables)
        sums = [
            tf.get_variable(f"sum_{number}", variable.shape, trainable=False)
            for number, variable in enumerate(variables)
        ]
        pairs = zip(sums, gradients)
        tf.group(*[tf.assign_add(total, gradient) for total, gradient in pairs], name="accumulate")
        optimizer().apply_gradients([(total.read_value(), v) for total, v in zip(sums, variables)])

    return build


def synchronizes(runs_updates):
    """The workers' step hands its gradients to accumulators; another step applies them."""

    def build():
        loss = loss_of(layer(dense(inputs()), flag()))
        replicas = tf.train.SyncReplicasOptimizer(optimizer(), replicas_to_aggregate=2)
        step = replicas.minimize(loss, tf.train.get_or_create_global_step())
        if runs_updates:
            tf.group(step, *tf.get_collection(tf.GraphKeys.UPDATE_OPS), name="train_op")

    return build


def never_trains_the_layer():
    optimizer().minimize(loss_of(layer(dense(inputs()), False)))


def waits_for_updates_in_a_branch():
    x, use_network = inputs(), tf.placeholder(tf.bool, [], name="use_network")
    hidden = dense(x)
    layer(hidden, False)  # creates the variables, outside of the branch
    y = tf.cond(use_network, lambda: layer(hidden, True, reuse=True), lambda: hidden)
    train_with_updates(y)


def updates_in_the_branch():
    x, use_network = inputs(), tf.placeholder(tf.bool, [], name="use_network")
    hidden = dense(x)
    y = tf.cond(
        use_network,
        lambda: layer(hidden, True, updates_collections=None),
        lambda: hidden,
    )
    train_with_updates(y)


def waits_for_updates_in_a_loop():
    train_with_updates(_loop(updates_collections=tf.GraphKeys.UPDATE_OPS))


def updates_in_the_loop():
    train_with_updates(_loop(updates_collections=None))


def _loop(**options):
    hidden = dense(inputs())
    layer(hidden, False)
    return tf.while_loop(
        lambda step, _: step < 2,
        lambda step, h: (step + 1, layer(h, True, reuse=True, **options)),
        (tf.constant(0), hidden),
    )[1]


# BN204, BN205, BN206


def evaluates_with(is_training):
    def build():
        y = layer(dense(inputs()), True)
        with tf.variable_scope(tf.get_variable_scope(), reuse=True):
            evaluated = layer(dense(inputs("x_test")), is_training, reuse=True)
            tf.summary.scalar("evaluation", loss_of(evaluated, "label_test"))
        train_with_updates(y)

    return build


def statistics_are(trainable):
    def build():
        x, training = dense(inputs()), flag()
        mean = tf.get_variable("bn/mean", [4], trainable=trainable)
        variance = tf.get_variable("bn/variance", [4], trainable=trainable)
        moments = tf.nn.moments(x, [0])
        used = tf.cond(
            training, lambda: moments, lambda: (tf.identity(mean), tf.identity(variance))
        )
        y = tf.nn.batch_normalization(x, *used, None, None, 1e-3)
        updates = [
            tf.assign(variable, variable * 0.9 + moment * 0.1)
            for variable, moment in zip((mean, variance), moments)
        ]
        with tf.control_dependencies(updates):
            optimizer().minimize(loss_of(y))

    return build


def transfer(is_training):
    def build():
        features = layer(dense(inputs()), is_training, updates_collections=None)
        y = dense(features, "head")
        optimizer().minimize(loss_of(y), var_list=tf.trainable_variables("head"))

    return build


def transfer_with_the_flag(**options):
    def build():
        y = dense(layer(dense(inputs()), flag(), **options), "head")
        optimizer().minimize(loss_of(y), var_list=tf.trainable_variables("head"))

    return build


# BN301, BN302


def saves(variables):
    def build():
        one_layer()
        tf.train.Saver(variables())

    return build


def freezes(is_training):
    """A frozen graph, imported nowhere: TensorFlow refuses to import the broken one."""

    def build():
        tf.nn.relu(layer(dense(inputs()), is_training, updates_collections=None), name="output")
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            graph = tf.get_default_graph().as_graph_def()
            frozen = tf.graph_util.convert_variables_to_constants(session, graph, ["output"])
        return {"graph_or_path": frozen}

    return build


# BN303


def constants_only(mode):
    """What freezing makes of a layer: its statistics, gamma and beta are constants."""

    def normalize(x, moments):
        return tf.nn.batch_normalization(x, *moments, tf.ones([4]), tf.ones([4]), 1e-3)

    def build():
        x, stored = inputs(), (tf.zeros([4]), tf.ones([4]))
        if mode == "left":
            branches = (lambda: normalize(x, tf.nn.moments(x, [0]))), (lambda: normalize(x, stored))
            y = tf.cond(flag(), *branches)
        else:
            y = normalize(x, stored)
        tf.nn.relu(y, name="output")

    return build


# BN304

_CHECKPOINTS = tempfile.TemporaryDirectory()


def stops_after(steps):
    """A layer with a decay of 0.9 whose step was counted so often, with its checkpoint."""

    def build():
        y = dense(layer(inputs(), flag(), decay=0.9))
        step = tf.train.get_or_create_global_step()
        train_with_updates(y, global_step=step)
        saver = tf.train.Saver()
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            step.load(steps, session)
            return {"checkpoint": saver.save(session, f"{_CHECKPOINTS.name}/model-{steps}")}

    return build


# The rules that find something in the broken twin; none finds anything in the healthy one.
PAIRS = {
    "two_branch": ({"BN101", "BN102"}, two_branch, one_layer),
    "two_branch_collected": ({"BN101", "BN102"}, two_branch, one_layer_with_update_ops),
    "training_at_inference": ({"BN103"}, trains_at_inference, infers_at_inference),
    "training_in_evaluation": (
        {"BN103"},
        trains_in_the_evaluation_network,
        infers_in_the_evaluation_network,
    ),
    "default": ({"BN104"}, defaults_to(True), defaults_to(False)),
    "updated_twice": ({"BN105"}, siamese(tf.GraphKeys.UPDATE_OPS), siamese("not_run")),
    "never_run": ({"BN201"}, only_minimizes, minimizes_after_updates),
    "never_run_without_parameters": (
        {"BN201"},
        partial(only_minimizes, center=False, scale=False),
        partial(minimizes_after_updates, center=False, scale=False),
    ),
    "accumulates_gradients": ({"BN201"}, accumulates(False), accumulates(True)),
    "synchronizes_replicas": ({"BN201"}, synchronizes(False), synchronizes(True)),
    "never_written": ({"BN202"}, never_trains_the_layer, minimizes_after_updates),
    "dead_in_a_branch": ({"BN203"}, waits_for_updates_in_a_branch, updates_in_the_branch),
    "dead_in_a_loop": ({"BN203"}, waits_for_updates_in_a_loop, updates_in_the_loop),
    "other_inputs": ({"BN105", "BN204"}, evaluates_with(True), evaluates_with(False)),
    "trainable": ({"BN205"}, statistics_are(True), statistics_are(False)),
    "frozen_layer": ({"BN206"}, transfer(True), transfer(False)),
    "frozen_layer_with_the_flag": (
        {"BN206"},
        transfer_with_the_flag(updates_collections=None),
        transfer(False),
    ),
    "frozen_layer_by_batch": (
        {"BN207"},
        transfer_with_the_flag(updates_collections=tf.GraphKeys.UPDATE_OPS),
        transfer(False),
    ),
    "not_saved": ({"BN301"}, saves(tf.trainable_variables), saves(tf.global_variables)),
    "still_cold": ({"BN304"}, stops_after(28), stops_after(29)),  # 0.9 ** 28.4 is 0.05
    "frozen_graph": ({"BN103", "BN302"}, freezes(True), freezes(False)),
    "mode_left": ({"BN303"}, constants_only("left"), constants_only("chosen")),
}
