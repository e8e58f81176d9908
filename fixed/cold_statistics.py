"""A decay of 0.9 and a hundred training steps.

Symptom
    Accuracy is high with is_training=True and at chance with is_training=False, although the
    program runs the update ops. The longer the training, the smaller the difference.

Also said as
    when I set is_training to False I get low accuracy about 0.1, with True it is 0.99
    test accuracy is poor in the first 10000 iterations and then suddenly becomes good
    moving_mean and moving_variance are updated, but far from the mean and variance of the data
    moving averages have not converged yet, too few iterations
    which decay or momentum for a small dataset, 0.999 or 0.9
    the inference result is much better with is_training=True than with False
    fine-tuning for a few epochs, validation is bad, batch norm momentum 0.99 or 0.999
    is_training=False is bad, True is good, although the update ops run.
    Evaluation is bad at the beginning of training, and becomes good after many thousand steps.
    The moving averages converge slowly; momentum 0.99 or decay 0.999 is too large for so few steps.
    moving_mean has moved, but is still far from the mean of the data.
    Test accuracy lags far behind, with a small dataset or few epochs; lower decay (0.9) helps.
    Validation accuracy is poor for the first epochs, then jumps.
    Batch norm performs badly at inference after a short training; zero_debias_moving_mean.

Cause
    A running average begins at its initial value. After n updates with decay d that value still
    has the weight d ** n: after 100 steps with the default of contrib and slim, 0.999, it is 90 %.
    The statistics are cold: nearly 0 and 1, whatever the data is. In training the layer does not
    read them, so that nothing shows it.

Fix
    Use a smaller decay: 0.9 for a hundred steps, 0.99 for a thousand. Or train longer; three times
    1 / (1 - decay) steps leave 5 % of the initial value.

Already trained
    Yes. `bnguard reestimate CHECKPOINT --data FILE.npz` estimates the statistics from some thousand
    rows of the training data, without a trace of their initial values.

How to see it in your own program
    Compute decay ** steps. `bnguard audit --checkpoint PATH` warns with BN304
    statistics-still-cold.

Reports
    soloice/mnist-bn#3 (accuracy of 0.1 with is_training False, of 0.99 with True)
    soloice/Chinese-Character-Recognition#5 (poor performance in the first 10,000 iterations)
    tensorflow/tensorflow#1122 (in the comments: the averages have not converged)
    tensorlayer/TensorLayer#104 (which decay for few updates?)
"""

if __name__ == "__main__":
    from bnguard.cli import main

    main(__file__)

import tensorflow.compat.v1 as tf

from bnguard.harness.cases.case import Case, Inference, Model, Training
from bnguard.harness.cases.toy_network import convolution, regression_loss
from bnguard.harness.claims import StatisticsWarm
from bnguard.layers import batch_norm
from bnguard.layers.training import create_train_op

CASE = Case(StatisticsWarm(), mean=(10.0,), deviation=3.0, spatial=(6, 6))


def build(fused):
    """Build a convolution, the layer, and a regression on one pixel of each image."""
    images = tf.placeholder(tf.float32, [None, 6, 6, 1], name="images")
    is_training = tf.placeholder(tf.bool, [], name="is_training")
    features = convolution(images)
    decay = 0.9
    normalized = batch_norm(
        features, decay=decay, scale=True, is_training=is_training, fused=fused, scope="bn"
    )
    loss = regression_loss(normalized, images[:, 0, 0, 0])
    train_op = create_train_op(loss, tf.train.GradientDescentOptimizer(0.01))
    return Model(
        images,
        [Training(train_op, {is_training: True})],
        Inference(normalized, {is_training: False}, inputs=features),
        layers={"bn": {"batch": features}},
        decay=decay,
    )
