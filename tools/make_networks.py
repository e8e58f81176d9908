"""Write the .meta files in tests/data/networks: public networks, each in five states.

Run it with Python 3.7 and TensorFlow 1.15, which brings the networks in tf.contrib.slim.nets:

    python tools/make_networks.py

The files are what tf.train.Saver.export_meta_graph writes, complete, compressed by xz. They
need not be written again unless a state is added: TensorFlow 1.15 does not change any more.
"""

from __future__ import annotations

import lzma
import os

import tensorflow as tf
from tensorflow.contrib import slim
from tensorflow.contrib.slim import nets

FOLDER = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "data", "networks"
)


def resnet_v2_50(x, updates_collections, **options):
    scope = nets.resnet_v2.resnet_arg_scope()
    with slim.arg_scope(scope), slim.arg_scope(batch_norm_arg_scope(updates_collections)):
        logits, _ = nets.resnet_v2.resnet_v2_50(x, num_classes=1000, **options)
    return tf.squeeze(logits, [1, 2], name="logits")


def resnet_v1_152(x, updates_collections, **options):
    scope = nets.resnet_v1.resnet_arg_scope()
    with slim.arg_scope(scope), slim.arg_scope(batch_norm_arg_scope(updates_collections)):
        logits, _ = nets.resnet_v1.resnet_v1_152(x, num_classes=1000, **options)
    return tf.squeeze(logits, [1, 2], name="logits")


def inception_v3(x, updates_collections, **options):
    # Not fused, so that these normalizations are written out.
    scope = nets.inception.inception_v3_arg_scope(
        updates_collections=updates_collections, use_fused_batchnorm=False
    )
    with slim.arg_scope(scope):
        logits, _ = nets.inception.inception_v3(x, num_classes=1000, **options)
    return tf.identity(logits, name="logits")


def batch_norm_arg_scope(updates_collections):
    """Return the networks' own parameters, except for the place of the updates."""
    parameters = {
        "decay": 0.997,
        "epsilon": 1e-5,
        "scale": True,
        "updates_collections": updates_collections,
    }
    with slim.arg_scope([slim.conv2d], normalizer_params=parameters), slim.arg_scope(
        [slim.batch_norm], **parameters
    ) as scope:
        return scope


# Each state: the output, what becomes of the updates, and which variables are saved.


def two_branch(network, x, is_training):
    trained = network(x, None, is_training=True)
    inferred = network(x, None, is_training=False, reuse=True)
    logits = tf.cond(is_training, lambda: trained, lambda: inferred)
    tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss_of(logits))
    return tf.train.Saver()


def single_tensor(network, x, is_training):
    logits = network(x, None, is_training=is_training)
    tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss_of(logits))
    return tf.train.Saver()


def updates_run(network, x, is_training):
    _train_with_updates(network, x, is_training)
    return tf.train.Saver()


def updates_never_run(network, x, is_training):
    logits = network(x, tf.GraphKeys.UPDATE_OPS, is_training=is_training)
    tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss_of(logits))
    return tf.train.Saver()


def trainable_saver(network, x, is_training):
    _train_with_updates(network, x, is_training)
    return tf.train.Saver(tf.trainable_variables())


def _train_with_updates(network, x, is_training):
    logits = network(x, tf.GraphKeys.UPDATE_OPS, is_training=is_training)
    slim.learning.create_train_op(loss_of(logits), tf.train.MomentumOptimizer(0.1, 0.9))


def loss_of(logits):
    labels = tf.placeholder(tf.int64, [None], name="labels")
    tf.losses.sparse_softmax_cross_entropy(labels, logits)
    return tf.losses.get_total_loss()


def main():
    for network in (resnet_v2_50, resnet_v1_152, inception_v3):
        for state in (two_branch, single_tensor, updates_run, updates_never_run, trainable_saver):
            with tf.Graph().as_default():
                x = tf.placeholder(tf.float32, [None, 299, 299, 3], name="x")
                is_training = tf.placeholder(tf.bool, [], name="is_training")
                saver = state(network, x, is_training)
                data = saver.export_meta_graph().SerializeToString(deterministic=True)
            path = os.path.join(FOLDER, f"{network.__name__}-{state.__name__}.meta.xz")
            with lzma.open(path, "wb", preset=9 | lzma.PRESET_EXTREME) as file:
                file.write(data)
            print(f"{path}: {len(data)} bytes, {os.path.getsize(path)} compressed")


if __name__ == "__main__":
    main()
