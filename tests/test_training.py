"""create_train_op: what a step runs, in which order, and what stops it."""

import inspect

from bnguard import batch_norm, create_train_op
from conftest import COMBINATIONS
from graphs import build_with
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

pytestmark = pytest.mark.usefixtures("graph")

UPDATE_OPS = tf.GraphKeys.UPDATE_OPS
RATE = 0.5


def optimizer():
    return tf.train.GradientDescentOptimizer(RATE)


def weight(name, value=1.0, **options):
    return tf.get_variable(name, initializer=tf.constant(value), **options)


class Training:
    """A session in which every variable is initialized; `step` runs the train op."""

    def __init__(self, train_op):
        self.train_op = train_op
        self.session = tf.Session()
        self.session.run(tf.global_variables_initializer())

    def step(self, feed=None):
        return self.session.run(self.train_op, feed)

    def values(self):
        return {
            variable.op.name: np.array(self.session.run(variable))
            for variable in tf.global_variables()
        }


def test_defaults_are_slims():
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


def test_returns_the_loss_and_descends():
    w = weight("w", 3.0)
    training = Training(create_train_op(tf.square(w), optimizer()))
    assert training.step() == 9.0
    assert training.values()["w"] == 3.0 - RATE * 6.0


def test_train_op_is_collected():
    train_op = create_train_op(tf.square(weight("w")), optimizer())
    assert tf.get_collection(tf.GraphKeys.TRAIN_OP)[-1] is train_op  # after the optimizer's own
    assert train_op.name == "train_op/control_dependency:0"


def test_what_the_optimizer_runs_beside_a_step_needs_no_batch():
    """A chief's queue of tokens is filled from another thread, which feeds nothing."""
    x = tf.placeholder(tf.float32, [None])
    replicas = tf.train.SyncReplicasOptimizer(optimizer(), 1, total_num_replicas=1)
    training_op = create_train_op(tf.reduce_sum(weight("w") * x), replicas)
    replicas.ready_for_local_init_op.mark_used()  # TensorFlow complains of a tensor not looked at
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


def test_copies_of_updates_stay_on_their_device():
    with tf.device("/device:CPU:0"):
        update = tf.get_variable("statistic", initializer=0.0, trainable=False).assign_add(1.0)
    tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
    create_train_op(tf.square(weight("w")), optimizer(), global_step=None)
    writes = [op for op in update.graph.get_operations() if op.type == update.op.type]
    assert [op.device for op in writes] == ["/device:CPU:0"] * 2


def test_names_where_things_are_expected():
    loss = tf.square(weight("w"))
    with pytest.raises(ValueError, match="update_ops is update_ops; a list of tensors"):
        create_train_op(loss, optimizer(), update_ops="update_ops")
    with pytest.raises(ValueError, match="variables_to_train has 'w'; variables are expected"):
        create_train_op(loss, optimizer(), variables_to_train=["w"])


def test_global_step_is_created_and_counted():
    training = Training(create_train_op(tf.square(weight("w")), optimizer()))
    training.step(), training.step()
    assert training.values()["global_step"] == 2


def test_global_step_of_the_caller():
    mine = tf.get_variable("mine", initializer=np.int64(5), trainable=False)
    training = Training(create_train_op(tf.square(weight("w")), optimizer(), global_step=mine))
    training.step()
    assert training.values()["mine"] == 6
    assert tf.train.get_global_step() is None


def test_global_step_none_counts_nothing():
    training = Training(create_train_op(tf.square(weight("w")), optimizer(), global_step=None))
    training.step()
    assert set(training.values()) == {"w"}


def counters(number=3):
    """Variables that the ops of UPDATE_OPS count up."""
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


def test_some_update_ops_warn_and_are_run_alone(caplog):
    updates = counters()
    with caplog.at_level("WARNING", logger="tensorflow"):
        train_op = create_train_op(tf.square(weight("w")), optimizer(), update_ops=updates[:1])
    assert "does not contain all the update_ops" in caplog.text
    assert updates[1].name in caplog.text
    assert updates[0].name + "," not in caplog.text
    training = Training(train_op)
    training.step()
    assert counted(training) == [1, 0, 0]


def test_no_update_ops():
    counters()
    training = Training(create_train_op(tf.square(weight("w")), optimizer(), update_ops=[]))
    training.step()
    assert counted(training) == [0, 0, 0]


def test_more_update_ops_than_collected_do_not_warn(caplog):
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


def test_update_ops_stay_in_their_order():
    """Which that of a set, as in slim, is not."""
    updates = counters(20)
    train_op = create_train_op(tf.square(weight("w")), optimizer(), check_numerics=False)
    barrier = train_op.graph.get_operation_by_name("update_barrier")
    assert list(barrier.node_def.input) == ["^" + update.op.name for update in updates]


def test_variables_to_train():
    first, second = weight("first"), weight("second")
    loss = tf.square(first) + tf.square(second)
    training = Training(create_train_op(loss, optimizer(), variables_to_train=[second]))
    training.step()
    assert training.values()["first"] == 1.0
    assert training.values()["second"] == 1.0 - RATE * 2.0


def test_nothing_to_train():
    frozen = weight("frozen", trainable=False)
    for variables_to_train in (None, []):
        with pytest.raises(ValueError, match="no variable to train; pass variables_to_train"):
            create_train_op(tf.square(frozen), optimizer(), variables_to_train=variables_to_train)


def test_training_what_is_not_trainable():
    frozen = weight("frozen", trainable=False)
    with pytest.raises(ValueError, match="has frozen, which is not trainable; drop it"):
        create_train_op(tf.square(frozen), optimizer(), variables_to_train=[frozen])


@pytest.mark.parametrize(
    ("norm", "expected"),
    [(0, [6.0, 8.0, 1.0]), (5.0, [3.0, 4.0, 1.0]), (20.0, [6.0, 8.0, 1.0])],
)
def test_each_gradient_is_clipped_by_itself(norm, expected):
    vector, scalar, unused = weight("vector", [3.0, 4.0]), weight("scalar"), weight("unused")
    loss = tf.reduce_sum(tf.square(vector)) + scalar
    training = Training(create_train_op(loss, optimizer(), clip_gradient_norm=norm))
    training.step()
    values = training.values()
    moved = [*(([3.0, 4.0] - values["vector"]) / RATE), (1.0 - values["scalar"]) / RATE]
    np.testing.assert_allclose(moved, expected, rtol=1e-6)
    assert values["unused"] == 1.0
    del unused


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize("as_tensor", [True, False])
def test_gradient_multipliers(by_name, as_tensor):
    first, second = weight("first", 3.0), weight("second", 3.0)
    multiplier = tf.constant(0.25, tf.float64) if as_tensor else 0.25
    training = Training(
        create_train_op(
            tf.square(first) + tf.square(second),
            optimizer(),
            gradient_multipliers={first.op.name if by_name else first: multiplier},
        )
    )
    training.step()
    assert training.values()["first"] == 3.0 - RATE * 6.0 * 0.25
    assert training.values()["second"] == 3.0 - RATE * 6.0


def test_sparse_gradients_are_multiplied_then_clipped():
    table = weight("table", [[3.0, 4.0], [1.0, 1.0]])
    loss = tf.reduce_sum(tf.square(tf.gather(table, [0])))
    training = Training(
        create_train_op(
            loss, optimizer(), clip_gradient_norm=5.0, gradient_multipliers={"table": 0.25}
        )
    )
    training.step()
    # The gradient (6, 8) has the norm 10, a quarter of it 2.5: clipped first it would be 1.25.
    np.testing.assert_allclose(training.values()["table"], [[2.25, 3.0], [1.0, 1.0]])


def test_a_multiplier_of_an_unknown_variable():
    loss = tf.square(weight("first")) + tf.square(weight("second"))
    with pytest.raises(ValueError, match="has 'third', which is not trained") as error:
        create_train_op(loss, optimizer(), gradient_multipliers={"third": 2.0})
    assert "the variables are first, second" in str(error.value)


def test_a_multiplier_without_a_gradient():
    loss = tf.square(weight("first"))
    weight("second")
    with pytest.raises(ValueError, match="`None` gradient"):
        create_train_op(loss, optimizer(), gradient_multipliers={"second": 2.0})


def test_summaries_of_gradients():
    table, unused = weight("table", [[3.0, 4.0], [1.0, 1.0]]), weight("unused")
    loss = tf.reduce_sum(tf.square(tf.gather(table, [0])))
    create_train_op(loss, optimizer(), summarize_gradients=True)
    assert len(tf.get_collection(tf.GraphKeys.SUMMARIES)) == 2
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        summary = tf.Summary.FromString(session.run(tf.summary.merge_all()))
    by_tag = {value.tag: value for value in summary.value}
    norm = by_tag["summarize_grads/table_gradient_norm"].simple_value
    assert norm == pytest.approx(10.0)
    assert by_tag["summarize_grads/table_gradient"].histo.max == 8.0
    del unused


def test_no_summaries_by_default():
    create_train_op(tf.square(weight("w")), optimizer())
    assert not tf.get_collection(tf.GraphKeys.SUMMARIES)


TOLD = {"gate_gradients": 2, "aggregation_method": 1, "colocate_gradients_with_ops": True}


@pytest.mark.parametrize("argument", list(TOLD))
def test_what_the_optimizer_is_told(argument):
    seen = {}

    class Spy(tf.train.GradientDescentOptimizer):
        def compute_gradients(self, *arguments, **options):
            seen.update(options)
            return super().compute_gradients(*arguments, **options)

    create_train_op(tf.square(weight("w")), Spy(RATE), **{argument: TOLD[argument]})
    assert seen[argument] == TOLD[argument]


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


@pytest.mark.parametrize("update", [average, conditional])
@pytest.mark.parametrize(("variables", "control_flow"), COMBINATIONS)
def test_other_peoples_updates_wait_for_the_loss_too(variables, control_flow, update):
    if update is conditional and (variables, control_flow) == ("ref", "v2"):
        return  # TensorFlow refuses to build it
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
    assert "cannot wait until the loss was found finite" in caplog.text
    training = Training(train_op)
    training.step()
    assert training.values()["counter"] == 3


def test_two_losses_over_the_same_updates_do_not_need_each_other():
    """As in adversarial training, where slim's users make one train op for each side."""
    counters()
    fed = [tf.placeholder(tf.float32, []) for _ in range(2)]
    losses = [tf.square(weight(f"w_{index}")) * each for index, each in enumerate(fed)]
    train_ops = [create_train_op(loss, optimizer()) for loss in losses]
    training = Training(train_ops[0])
    training.session.run(train_ops[0], {fed[0]: 1.0})
    training.session.run(train_ops[1], {fed[1]: 1.0})
    assert counted(training) == [2, 2, 2]
    training.session.run(tf.get_collection(UPDATE_OPS))
    assert counted(training) == [3, 3, 3]


@pytest.mark.parametrize(("check_numerics", "times"), [(True, 2), (False, 1)])
def test_update_ops_fetched_beside_the_train_op(check_numerics, times):
    """The documented price of updates that wait for the loss; without the check there is none."""
    counters()
    train_op = create_train_op(tf.square(weight("w")), optimizer(), check_numerics=check_numerics)
    training = Training(train_op)
    training.session.run([train_op, tf.get_collection(UPDATE_OPS)])
    assert counted(training) == [times] * 3


def test_one_update_op_without_a_list_is_an_error():
    counters()
    update, *_ = tf.get_collection(UPDATE_OPS)
    with pytest.raises(ValueError, match="a list of tensors or operations is expected"):
        create_train_op(tf.square(weight("w")), optimizer(), update_ops=update)


def test_a_multiplier_is_not_rounded_to_float32():
    w = tf.get_variable("w64", initializer=tf.constant(0.0, tf.float64))
    train_op = create_train_op(
        w, tf.train.GradientDescentOptimizer(1.0), gradient_multipliers={"w64": 0.1}
    )
    training = Training(train_op)
    training.step()
    assert training.values()["w64"] == -0.1
