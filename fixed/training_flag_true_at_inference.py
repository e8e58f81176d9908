"""Batch norm built again for inference, with is_training=False.

Symptom
    The prediction for one image depends on the other images in its batch, and differs again if the
    image is alone. The training loss and the statistics in the checkpoint are fine.

Also said as
    good results on batches, bad on single images
    predictions for one image alone are all alike or constant
    output depends on batch size and on the other examples at test time
    is_training=True works, is_training=False does not, so I use True for evaluation
    batch norm in training mode is used for sampling, completion or generation
    Python bool self.training is changed after the graph was built and nothing happens
    FusedBatchNorm with is_training true in the exported, quantized or converted graph
    deployed model uses the mean and variance of the batch instead of the moving averages
    test graph is built without reuse and with is_training left at its default
    The is_training option is missing, hard-coded or always True, in testing too.
    Inference uses the mean and the variance of the batch instead of the moving averages.
    Good results with a large batch, bad ones with batch size 1 or a single image.
    The accuracy or the output depends on the batch size, or on the number or order of test images.
    is_training is a Python bool; setting it to False after the graph was built changes nothing.
    Why is is_training not set to False in evaluation, testing, sampling or acting?
    Batch normalization should behave differently in the training and in the testing phase.
    The frozen or converted graph is still in training mode: FusedBatchNorm with is_training=true.
    The converted model (TFLite, .pb) gives other predictions than the Python program.
    How can the saved graph use moving_mean and moving_variance as inputs of batch norm?
    One example gets other predictions alone than together with other examples.

Cause
    is_training is the Python constant True, the default of contrib and slim, so the graph contains
    only the training mode. The layer normalizes every batch by the moments of that batch. Nothing
    reads moving_mean and moving_variance, however well they were trained.

Fix
    Build the layer again on the same variables (reuse=True) with is_training=False, and use its
    output for inference. Or pass a boolean tensor from the start.

Already trained
    Not needed. The statistics in the checkpoint are right, and only nothing reads them: restore it
    in the network with is_training=False.

How to see it in your own program
    `bnguard audit --fetch OUTPUT` reports BN103 batch-statistics-at-inference.

Reports
    tensorflow/models#3162 (the result for one image depends on the images beside it)
    davidsandberg/facenet#278 (embeddings differ in a batch and alone)
    tensorflow/tensorflow#9796 (inference works only with training=True and a whole batch)
    tensorflow/tensorflow#16593 (is_training=True for both in contrib.gan)
    arahusky/Tensorflow-Segmentation#15
    YipengHu/label-reg#22
"""

if __name__ == "__main__":
    from bnguard.cli import main

    main(__file__)

import tensorflow.compat.v1 as tf

from bnguard.harness.cases.case import Case, Inference, Model, Training
from bnguard.harness.cases.toy_network import convolution, regression_loss
from bnguard.harness.claims import RowsIndependent
from bnguard.layers import batch_norm
from bnguard.layers.training import create_train_op

CASE = Case(RowsIndependent(), mean=(10.0,), deviation=3.0, spatial=(6, 6))


def build(fused):
    """Build a convolution, the layer, and a regression on one pixel of each image."""
    images = tf.placeholder(tf.float32, [None, 6, 6, 1], name="images")
    features = convolution(images)
    normalized = batch_norm(features, decay=0.9, scale=True, fused=fused, scope="bn")
    loss = regression_loss(normalized, images[:, 0, 0, 0])
    train_op = create_train_op(loss, tf.train.GradientDescentOptimizer(0.01))
    output = batch_norm(
        features, decay=0.9, scale=True, is_training=False, reuse=True, fused=fused, scope="bn"
    )
    return Model(
        images,
        [Training(train_op)],
        Inference(output, inputs=features),
        layers={"bn": {"batch": features}},
    )
