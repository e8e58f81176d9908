"""Test how create_train_op multiplies, clips and summarizes gradients."""

import numpy as np
import pytest
from support.programs.training_program import RATE, Training, optimizer, weight
import tensorflow.compat.v1 as tf

from bnguard import create_train_op

pytestmark = pytest.mark.usefixtures("graph")


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
def test_a_multiplier_scales_the_gradient_of_its_variable_only(by_name, as_tensor):
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


def test_a_multiplier_for_an_unknown_variable_is_refused():
    loss = tf.square(weight("first")) + tf.square(weight("second"))
    with pytest.raises(ValueError, match="has 'third', which is not trained") as error:
        create_train_op(loss, optimizer(), gradient_multipliers={"third": 2.0})
    assert "the variables are first, second" in str(error.value)


def test_a_multiplier_for_a_variable_without_gradient_is_refused():
    loss = tf.square(weight("first"))
    weight("second")
    with pytest.raises(ValueError, match="`None` gradient"):
        create_train_op(loss, optimizer(), gradient_multipliers={"second": 2.0})


def test_summarize_gradients_adds_a_histogram_and_the_norm():
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


def test_no_summaries_are_added_by_default():
    create_train_op(tf.square(weight("w")), optimizer())
    assert not tf.get_collection(tf.GraphKeys.SUMMARIES)


def test_a_multiplier_is_not_rounded_to_float32():
    w = tf.get_variable("w64", initializer=tf.constant(0.0, tf.float64))
    train_op = create_train_op(
        w, tf.train.GradientDescentOptimizer(1.0), gradient_multipliers={"w64": 0.1}
    )
    training = Training(train_op)
    training.step()
    assert training.values()["w64"] == -0.1
