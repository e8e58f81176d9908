"""A frozen batch norm layer in inference mode.

Symptom
    I froze the layer, and its weights still change. After I fine-tune only the new head,
    moving_mean and moving_variance of the pretrained layers describe my data, and the old features
    are lost.

Also said as
    layer.trainable = False, but the moving mean still changes in fine-tuning
    transfer learning with a frozen backbone: accuracy of the pretrained part is lost
    frozen batch norm layers keep updating their statistics
    var_list contains only the head, the rest of the network changes
    freeze batch normalization while I train the other layers
    trainable=False does not freeze BatchNormalization: the moving averages are still updated.
    Transfer learning changes the frozen base model, the backbone, although only the top is trained.
    The optimizer's var_list leaves the layer out, and its mean and variance change anyway.
    How can I keep the batch norm of a pretrained ImageNet network fixed during fine-tuning?
    Freeze a batch norm layer: is it enough for beta and gamma, moving mean and moving variance?
    A frozen layer should not update its running mean and running variance.
    After fine-tuning on new data the network is worse on the original task.
    The weights of untrainable layers are different after training; learning rate 0 does not help.

Cause
    A list of variables to train keeps the optimizer away from beta and gamma. It has no effect on
    the statistics: update ops move them, not gradients, and in training mode the update ops run.
    trainable=False helps in some layers only. With it, contrib and tf.layers add no update ops to
    UPDATE_OPS, but contrib with updates_collections=None still updates, and so did the Keras
    versions in the reports.

Fix
    Run a frozen layer in inference mode, is_training=False, even while other layers train.

Already trained
    Yes. `bnguard reestimate CHECKPOINT --data FILE.npz`, with the new data: the head was trained on
    features that are normalized with the moments of the new data, so it needs these statistics.
    What is lost is the layer for the old data; its statistics are in the pretrained checkpoint.

How to see it in your own program
    `bnguard audit` reports BN206 frozen-layer-still-updates.

Reports
    keras-team/keras#4762 (the trainable flag does not work for batch normalization)
    keras-team/keras#6570 (request: no updates when trainable is False)
    keras-team/keras#7085 (freezing does not work, weights are still updated)
"""

if __name__ == "__main__":
    from bnguard.cli import main

    main(__file__)

import tensorflow.compat.v1 as tf

from bnguard.harness.cases.case import Case, Inference, Model, Training
from bnguard.harness.cases.toy_network import PRETRAINED, convolution, regression_loss
from bnguard.harness.claims import StatisticsFollowData
from bnguard.layers import batch_norm
from bnguard.layers.training import create_train_op

CLAIM = StatisticsFollowData(instead={"bn": "batch"}, defective="drift")
CASE = Case(CLAIM, mean=(-5.0,), deviation=3.0, spatial=(6, 6))


def build(fused):
    """Build a pretrained convolution and layer, and a new regression, the only part to train."""
    images = tf.placeholder(tf.float32, [None, 6, 6, 1], name="images")
    is_training = tf.placeholder(tf.bool, [], name="is_training")
    features = convolution(images)
    normalized = batch_norm(
        features,
        decay=0.9,
        scale=True,
        param_initializers=PRETRAINED,
        is_training=False,
        fused=fused,
        scope="bn",
    )
    loss = regression_loss(normalized, images[:, 0, 0, 0])
    optimizer = tf.train.GradientDescentOptimizer(0.0001)
    head = tf.trainable_variables("regression")
    train_op = create_train_op(loss, optimizer, variables_to_train=head)
    return Model(
        images,
        [Training(train_op, {is_training: True}, updates={})],
        Inference(normalized, {is_training: False}, inputs=features),
        layers={"bn": {"batch": features}},
    )
