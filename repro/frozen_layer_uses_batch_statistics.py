"""A frozen batch norm layer that normalizes with the batch in training.

Symptom
    After transfer learning with frozen layers, the new head is good in training and bad at
    inference, on the same data. The frozen layers are bit-identical to the pretrained ones.

Also said as
    setting learning_phase to 0 leads to extremely low accuracy after transfer learning
    trainable=False on BatchNormalization, different behavior in training and testing
    a frozen layer should use the moving mean and variance, not those of the mini-batch
    fine-tuning the top layers of a pretrained network: train accuracy high, validation at chance
    head on top of a frozen backbone, predict gives another result than the last training step
    layer.trainable = False does not put batch norm in inference mode
    A frozen batch norm layer (trainable=False) should use its moving mean and variance in training.
    Transfer learning: training accuracy is high, validation accuracy very low with frozen layers.
    With learning phase 0 the accuracy collapses; with learning phase 1 it is fine.
    Fine-tuned pretrained network (ResNet50, Inception) is good in training and bad at prediction.
    Frozen layers normalize with the batch in training, with ImageNet statistics at inference.
    The same data give one loss in training and quite another in evaluation, with a frozen backbone.
    With trainable=False the layer should run in inference mode, not with the current batch.

Cause
    trainable=False takes gamma and beta from the optimizer and removes the update ops. It does not
    choose what the layer normalizes with: is_training does, and in training that is the batch. So
    the head is fitted to features with mean 0 and variance 1. At inference the layer normalizes the
    same data with the statistics of the data it was pretrained on, and the features have another
    mean and variance. (Keras layers of TensorFlow 2 normalize with their statistics if they are
    frozen; no layer of TensorFlow 1 does.)

Fix
    Run a frozen layer in inference mode, is_training=False, even while other layers train.

Already trained
    Yes. `bnguard reestimate CHECKPOINT --data FILE.npz`, with the new data, because the head was
    trained on features that are normalized with the moments of the new data. Keep the pretrained
    checkpoint for the old data.

How to see it in your own program
    Compute the loss of one batch in both modes: the two differ although no statistic moves.
    `bnguard audit` warns with BN207 frozen-layer-uses-batch-statistics.

Reports
    keras-team/keras#9965 (change the layer to use the moving mean and variance if it is frozen)
    keras-team/keras#7177 (extremely low accuracy with learning phase 0)
    keras-team/keras#9522 (trainable=False, different behavior in training and testing)
"""

if __name__ == "__main__":
    from bnguard.cli import main

    main(__file__)

import tensorflow.compat.v1 as tf

from bnguard.harness.cases.case import Case, Inference, Model, Training
from bnguard.harness.cases.toy_network import PRETRAINED, convolution, regression_loss
from bnguard.harness.claims import TrainingNormalizesAsDue
from bnguard.harness.results.terms import Reads
from bnguard.layers import batch_norm
from bnguard.layers.training import create_train_op

CLAIM = TrainingNormalizesAsDue(instead=Reads.BATCH, defective="batch")
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
        is_training=is_training,
        trainable=False,
        fused=fused,
        scope="bn",
    )
    loss = regression_loss(normalized, images[:, 0, 0, 0])
    optimizer = tf.train.GradientDescentOptimizer(0.0001)
    head = tf.trainable_variables("regression")
    train_op = create_train_op(loss, optimizer, variables_to_train=head)
    return Model(
        images,
        [Training(train_op, {is_training: True}, updates={}, outputs=normalized)],
        Inference(normalized, {is_training: False}, inputs=features),
        layers={"bn": {"batch": features}},
    )
