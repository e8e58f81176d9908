"""Batch norm trained by minimize alone, which runs no update op.

Symptom
    Training looks fine, and test accuracy is garbage. After training, all moving means are still 0
    and all moving variances are still 1, so inference with is_training=False is a guess.

Also said as
    moving_mean and moving_variance are never updated
    high training accuracy, evaluation accuracy at chance
    is_training=False gives low accuracy, is_training=True gives high accuracy on the same data
    where do I update the moving average of batch norm
    custom Estimator: evaluation is bad, training=(mode == TRAIN)
    published checkpoint contains only zeros and ones as statistics
    do I have to add update_ops to the train op
    loss is huge at test time and small in training
    High training accuracy and very low test accuracy as soon as I use batch norm.
    is_training=False gives bad or random results in validation and testing, True gives good ones.
    moving_mean and moving_variance are not updated; they keep their initial values.
    Where are the batch norm statistics updated? I cannot find the update operation in the code.
    UPDATE_OPS is never used, nor updates_collections=None; the train op lacks the updates.
    In an own implementation, ema.apply or assign_moving_average is never called, or never run.
    The evaluation loss is huge, or explodes, while the training loss decreases.
    Evaluation of a custom Estimator is at chance, as if the network had learned nothing.
    In test mode the network predicts the same class for every input.
    In the published checkpoint or pretrained weights the moving averages have their default values.
    The model works right after training in train mode, and is wrong in eval mode after loading.
    tf.layers.batch_normalization, slim or contrib: performance drops at inference.

Cause
    With its default updates_collections, the layer only adds the two assignments of its statistics
    to the collection UPDATE_OPS. minimize depends on the loss and the gradients. Neither depends
    on the collection, so no training step runs the assignments.

Fix
    Use create_train_op, which makes the train op depend on all of UPDATE_OPS. Or call minimize
    inside `with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):`.

Already trained
    Yes. The weights are right, because training reads no statistics. `bnguard reestimate CHECKPOINT
    --data FILE.npz`, with training data, estimates the statistics that the update ops would have
    given.

How to see it in your own program
    `bnguard audit` reports BN201 update-ops-never-run.

Reports
    https://habr.com/ru/post/1667048/ (its second answer)
    tensorflow/tensorflow#11965 (all moving means still 0, all moving variances 1)
    YunYang1994/tensorflow-yolov3#23
    meetps/tf-3dgan#7
    cbfinn/maml#29
    google/prettytensor#23
"""

if __name__ == "__main__":
    from bnguard.cli import main

    main(__file__)

import tensorflow.compat.v1 as tf

from bnguard.harness.cases.case import Case, Inference, Model, Training
from bnguard.harness.cases.toy_network import convolution, regression_loss
from bnguard.harness.claims import StatisticsFollowData
from bnguard.layers import batch_norm

CLAIM = StatisticsFollowData(instead={"bn": "nothing"}, defective="stale")
CASE = Case(CLAIM, mean=(10.0,), deviation=3.0, spatial=(6, 6))


def build(fused):
    """Build a convolution, the layer, and a regression on one pixel of each image."""
    images = tf.placeholder(tf.float32, [None, 6, 6, 1], name="images")
    is_training = tf.placeholder(tf.bool, [], name="is_training")
    features = convolution(images)
    normalized = batch_norm(
        features, decay=0.9, scale=True, is_training=is_training, fused=fused, scope="bn"
    )
    loss = regression_loss(normalized, images[:, 0, 0, 0])
    optimizer = tf.train.GradientDescentOptimizer(0.01)
    train_op = optimizer.minimize(loss)
    return Model(
        images,
        [Training(train_op, {is_training: True})],
        Inference(normalized, {is_training: False}, inputs=features),
        layers={"bn": {"batch": features}},
    )
