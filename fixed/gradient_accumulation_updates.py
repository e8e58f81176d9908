"""Gradient accumulation in which each op that adds gradients runs the update ops.

Symptom
    With gradients accumulated over several micro-batches, the running statistics describe only the
    last micro-batch of each step. Applying the gradients asks for an input batch, although the
    gradients are already there.

Also said as
    gradient accumulation with batch normalization: are running statistics updated per inner
    iteration or per gradient update
    accumulate gradients over micro-batches, moving averages are updated once every N minibatches
    You must feed a value for placeholder tensor when I run apply_gradients after accumulating
    virtual batch size with iter_size, batch norm statistics of the last sub-batch
    accum_ops and apply op, where do the update_ops belong
    larger effective batch size with accumulated gradients gives worse inference
    Gradient accumulation: are the running averages updated for each micro-batch or once per step?
    Small batches are accumulated to simulate a large batch; how does batch norm work with it?
    UPDATE_OPS depend on the apply op, so only the last micro-batch is seen.
    apply_gradients asks for an input placeholder, after gradients were accumulated over iterations.
    iter_size, accum_steps, virtual batch: statistics of the small batches.
    Update ops with accumulated gradients; averaging gradients of several steps before applying.

Cause
    Each micro-batch has a run of its own, which adds its gradients to accumulators. One more run
    applies their mean. The program hangs UPDATE_OPS on the optimizer's op, as in every example,
    but here this op is not the one that sees the batches. So the runs with data update nothing,
    and the last run updates the statistics from whatever it is fed.

Fix
    Make the accumulating op depend on UPDATE_OPS, and the applying op on nothing. The average then
    decays once for each micro-batch: with k of them, decay ** (1 / k) keeps its length in steps.

Already trained
    Yes. `bnguard.reestimate(session, [{x: rows, part: number} for ...])` with a feed dict for each
    micro-batch, as the accumulating op is fed.

How to see it in your own program
    Run the applying op without a feed: it should need none. `bnguard audit` reports BN204
    updates-pull-other-inputs.

Reports
    run-ai/runai#14 (are statistics updated per inner iteration or per gradient update?)
    the-moliver/kfs#5 (moving averages every minibatch, or every N minibatches?)
    andreped/GradientAccumulator#6 (compatibility with batch normalization)
"""

if __name__ == "__main__":
    from bnguard.cli import main

    main(__file__)

import tensorflow.compat.v1 as tf

from bnguard.harness.cases.case import Case, Inference, Model, Training
from bnguard.harness.cases.toy_network import regression_loss
from bnguard.harness.claims import StatisticsFollowEveryRun
from bnguard.layers import batch_norm

CASE = Case(StatisticsFollowEveryRun(), mean=(0.0, 10.0), deviation=3.0)


def build(fused):
    """Build a layer and a regression that train on two micro-batches, which differ by 12."""
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    part = tf.placeholder(tf.int32, [], name="part")
    half = tf.shape(x)[0] // 2
    rows = x[part * half : (part + 1) * half] + 12.0 * tf.cast(part, tf.float32)
    normalized = batch_norm(rows, decay=0.9, scale=True, fused=fused, scope="bn")
    loss = regression_loss(normalized, rows[:, 0])
    optimizer = tf.train.GradientDescentOptimizer(0.01)
    gradients, weights = zip(*optimizer.compute_gradients(loss))
    sums = [tf.Variable(tf.zeros(weight.shape), trainable=False) for weight in weights]
    additions = [tf.assign_add(each, gradient) for each, gradient in zip(sums, gradients)]
    means = [(each / 2, weight) for each, weight in zip(sums, weights)]
    updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    with tf.control_dependencies(updates):
        accumulate = tf.group(*additions)
    descent = optimizer.apply_gradients(means)
    with tf.control_dependencies([descent]):
        apply = tf.group(*[tf.assign(each, tf.zeros(each.shape)) for each in sums])
    output = batch_norm(
        x, decay=0.9, scale=True, is_training=False, reuse=True, fused=fused, scope="bn"
    )
    micro_batches = [
        Training(accumulate, {part: number}, updates={"bn": "micro-batch"}) for number in (0, 1)
    ]
    return Model(
        x,
        [*micro_batches, Training(apply, {part: 1}, updates={})],
        Inference(output),
        layers={"bn": {"micro-batch": rows}},
    )
