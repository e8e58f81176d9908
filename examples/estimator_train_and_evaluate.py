"""tf.estimator.train_and_evaluate, with a guard in each of its two specs.

    python examples/estimator_train_and_evaluate.py FOLDER --broken  # minimize runs no update op

Found: `bnguard run examples/estimator_train_and_evaluate.py FOLDER --broken` reports BN201.
Fixed: without `--broken`, the train op depends on the update ops.
Guarded: `MustMoveStatisticsHook` in the TrainSpec, `FrozenStatisticsHook` in the EvalSpec.

Needs TensorFlow 1.15 to 2.15, which have tf.estimator.
"""

import argparse

import numpy as np
import tensorflow.compat.v1 as tf

import bnguard

STEPS, DECAY = 40, 0.9


def data():
    """Return a dataset of STEPS batches of images and targets, float32 [32, 4]."""
    images = np.random.RandomState(0).normal(3.0, 2.0, [32 * STEPS, 4]).astype(np.float32)
    return tf.data.Dataset.from_tensor_slices((images, images)).batch(32)


def model(features, labels, mode, params):
    """Build an autoencoder for a mode; its layer is in UPDATE_OPS."""
    is_training = mode == tf.estimator.ModeKeys.TRAIN
    net = bnguard.batch_norm(features, decay=DECAY, is_training=is_training, scope="bn")
    loss = tf.losses.mean_squared_error(labels, tf.matmul(net, tf.get_variable("weights", [4, 4])))
    optimizer = tf.train.GradientDescentOptimizer(0.05)
    updates = [] if params["is_broken"] else tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    with tf.control_dependencies(updates):
        train_op = optimizer.minimize(loss, tf.train.get_global_step())
    return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)


def main():
    """Train and evaluate; the checkpoints are in the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--broken", action="store_true")
    given = parser.parse_args()
    if not hasattr(tf, "estimator"):
        raise SystemExit(f"TensorFlow {tf.__version__} has no tf.estimator; install 2.15 or before")
    tf.disable_v2_behavior()
    estimator = tf.estimator.Estimator(model, given.folder, params={"is_broken": given.broken})
    moving, frozen = bnguard.MustMoveStatisticsHook(), bnguard.FrozenStatisticsHook()
    metrics, _ = tf.estimator.train_and_evaluate(
        estimator,
        tf.estimator.TrainSpec(data, max_steps=STEPS, hooks=[moving]),
        tf.estimator.EvalSpec(data, hooks=[frozen]),
    )
    print(metrics["loss"])


if __name__ == "__main__":
    main()
