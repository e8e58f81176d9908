"""Two towers whose rows all update the shared statistics.

Symptom
    Trained on several devices, the model is worse at inference than on one: the statistics are
    those of the last device's share of every batch.

Cause
    Each tower applies the same layer to its share, and adds update ops of its own to the
    collection. The variable that gathers them is assigned anew in every turn of the loop, so
    after it holds the last tower's. Running those of all towers instead would have them race
    for the same variables, and decay twice as fast.

Fix
    Update once, from the rows of all towers: by one more use of the layer, whose output nobody
    needs, or from averages of the towers' means and second moments. Where the shares are alike,
    the updates of one tower may do; choose it on purpose.

How to see it in your own program
    Feed a batch whose halves differ, train on it many times, and compare moving_mean with the
    mean of the whole batch. `bnguard audit` warns of it, rule BN201 update-ops-never-run.

Reports
    argman/EAST#112 (the update ops are those of the network on the last GPU)
    tensorflow/tensorflow#7439 (batch normalization for data parallelism)
    tensorflow/models#100 (which tower's statistics are saved?)
"""

if __name__ == "__main__":
    from bnguard.cli import main

    main(__file__)

import tensorflow.compat.v1 as tf

from bnguard.harness.cases.case import Case, Inference, Model, Training
from bnguard.harness.cases.toy_network import regression_loss
from bnguard.harness.claims import StatisticsFollowData
from bnguard.layers import batch_norm

CLAIM = StatisticsFollowData(instead={"bn": "tower 1"}, defective="partial")
CASE = Case(CLAIM, mean=(0.0, 10.0), deviation=3.0)


def build(fused):
    """A layer and a regression, in two towers that differ by 12 in what they see."""
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    half = tf.shape(x)[0] // 2
    shares = [x[:half], x[half:] + 12.0]
    losses = []
    for tower, share in enumerate(shares):
        with tf.name_scope(f"tower_{tower}"):
            normalized = batch_norm(
                share, decay=0.9, scale=True, reuse=tower > 0, fused=fused, scope="bn"
            )
            losses.append(regression_loss(normalized, share[:, 0]))
    everything = tf.concat(shares, axis=0)
    batch_norm(
        everything,
        decay=0.9,
        scale=True,
        updates_collections="all_towers",
        reuse=True,
        fused=fused,
        scope="bn",
    )
    updates = tf.get_collection("all_towers")
    with tf.control_dependencies(updates):
        train_op = tf.train.GradientDescentOptimizer(0.01).minimize(tf.add_n(losses))
    output = batch_norm(
        x, decay=0.9, scale=True, is_training=False, reuse=True, fused=fused, scope="bn"
    )
    return Model(
        x,
        [Training(train_op, updates={"bn": "both towers"})],
        Inference(output),
        layers={"bn": {"tower 0": shares[0], "tower 1": shares[1], "both towers": everything}},
    )
