"""An inference network whose batch norm layer has statistics of its own.

Symptom
    Training works, and the network that is built for evaluation predicts nonsense, although it has
    the trained weights. In a list of the variables each moving_mean is there twice: one was
    trained, and the other one is 0.

Also said as
    variables BatchNorm and BatchNorm_1 in the checkpoint, the second is never updated
    the test network, built by a second call of the same function, has its own moving averages
    ExponentialMovingAverage object made twice, the shadow variables of the test graph are new
    Key .../moments_1/mean/ExponentialMovingAverage not found in checkpoint
    weights are reused, the statistics are not: reuse=True was not passed to batch norm
    bn_train and bn_inference do not share parameters
    tf.Variable inside a batch norm function with reuse creates a second variable
    The test network is built by a second call without reuse, and has its own moving averages.
    Variables batch_normalization_1/moving_mean are never updated; those of the first call are.
    ExponentialMovingAverage was created twice, so the averages of the second network are new.
    Key .../ExponentialMovingAverage/biased not found in checkpoint for the reused layer.
    Reuse of batch norm: weights are shared between training and test, mean and variance are not.
    Layers without a name or scope: train and eval graphs have different batch norm variables.
    Different name_scope for the training and the validation model; shadow variables are not shared.

Cause
    The program builds the network twice, for training and for inference, and the two share their
    weights by name. The batch norm layer has no name, so each call makes a new one, BatchNorm and
    BatchNorm_1, with variables of its own. Training updates the first, and inference reads the
    second, at its initial values. The same happens where statistics are made with tf.Variable or
    with a new ExponentialMovingAverage, which reuse does not affect.

Fix
    Give the layer a scope, and reuse it in the second network. Better, build one network with a
    placeholder as is_training.

Already trained
    Yes. `bnguard reestimate CHECKPOINT --data FILE.npz` estimates the statistics of both layers.
    But beta and gamma of BatchNorm_1, where it has them, were not trained. Better restore the
    checkpoint in a network with one layer, by a name map if its name differs: the statistics of
    BatchNorm are right.

How to see it in your own program
    Count the variables that are called moving_mean: there is one for each layer, in however many
    networks. `bnguard audit` reports BN202 statistics-never-written.

Reports
    tensorflow/tensorflow#4361 (in the comments: other variables for training and for inference)
    tensorflow/tensorflow#5827 (the averages of a second network have other names)
    hwalsuklee/tensorflow-generative-model-collections#20
"""

if __name__ == "__main__":
    from bnguard.cli import main

    main(__file__)

import tensorflow.compat.v1 as tf

from bnguard.harness.cases.case import Case, Inference, Model, Training
from bnguard.harness.cases.toy_network import convolution, regression_loss
from bnguard.harness.claims import StatisticsFollowData
from bnguard.harness.results.closed_form import NOTHING
from bnguard.layers import batch_norm
from bnguard.layers.training import create_train_op

CLAIM = StatisticsFollowData({"BatchNorm_1": NOTHING}, defective="unshared")
CASE = Case(CLAIM, mean=(10.0,), deviation=3.0, spatial=(6, 6))


def build(fused):
    """Build the network twice: with a regression to train, and for inference."""
    images = tf.placeholder(tf.float32, [None, 6, 6, 1], name="images")
    features, normalized = network(images, True, fused)
    loss = regression_loss(normalized, images[:, 0, 0, 0])
    train_op = create_train_op(loss, tf.train.GradientDescentOptimizer(0.01))
    served_features, served = network(images, False, fused)
    means = tf.global_variables(".*moving_mean")
    scopes = [mean.op.name[: -len("/moving_mean")] for mean in means]
    return Model(
        images,
        [Training(train_op)],
        Inference(served, inputs=served_features),
        layers={scope: {"batch": features} for scope in reversed(scopes)},
    )


def network(images, is_training, fused):
    """Build the network; return the layer's inputs and outputs."""
    features = convolution(images)
    normalized = batch_norm(features, decay=0.9, center=False, is_training=is_training, fused=fused)
    return features, normalized
