"""Two towers whose rows all update the shared statistics.

Symptom
    A model trained on several devices is worse at inference than the same model trained on one.
    Its statistics describe only the last device's share of every batch.

Also said as
    multi-GPU training: batch norm update ops of which tower
    only the last GPU's updates are run, get_collection with scope in the loop over devices
    average batch norm statistics over towers
    group apply_gradients and batchnorm updates of several devices
    share moving mean and variance when training on multiple GPUs
    reuse_variables in towers, race between updates
    Batch norm on multiple GPUs: which GPU's update ops are run?
    The update ops are those of the last (or the first) tower only.
    Are mean and variance averaged, shared or synchronized across the GPUs?
    Good on one GPU; on several GPUs validation is worse, or it overfits.
    Data parallelism: each GPU normalizes its own part of the batch. Whose average is saved?
    Loop over the GPUs: get_collection(UPDATE_OPS, scope), average_gradients, apply_gradients.
    Each replica, rank, worker or core has statistics of its own data (Horovod, MirroredStrategy).
    Synchronized or cross-replica batch normalization in distributed training.

Cause
    Each tower applies the same layer to its share of the batch and adds its own update ops to the
    collection. Every pass of the loop overwrites `updates`, so after the loop it contains only the
    last tower's update ops. Running the update ops of all towers is no solution: they race for the
    same variables, and the averages decay twice as fast.

Fix
    Update the statistics once per step, from the rows of all towers. Either apply the layer once
    more, to all rows, and ignore its output, or average the towers' means and second moments. If
    the shares are alike, the updates of one tower may be enough; choose that tower deliberately.

Already trained
    Yes. `bnguard reestimate CHECKPOINT --data FILE.npz` measures the layer in every tower, and
    gives the statistics of all rows.

How to see it in your own program
    Train many times on one batch whose halves differ, and compare moving_mean with the mean of the
    whole batch. `bnguard audit` warns with BN201 update-ops-never-run.

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
    """Build a layer and a regression in two towers whose inputs differ by 12."""
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
