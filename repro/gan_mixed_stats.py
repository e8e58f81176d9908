"""A GAN whose every step runs every update op.

Symptom
    The discriminator's statistics are a mixture of real and generated data. They fit neither;
    and the generator's move also when only the discriminator is trained.

Cause
    The discriminator is applied twice, to real and to generated rows, with the same variables,
    and the generator is part of both steps. UPDATE_OPS holds the updates of all three uses, and
    each step depends on the whole collection. The two updates of the discriminator are not
    ordered either: the result of a step is one of several.

Fix
    Let each step depend on the updates of the network that it trains: get_collection takes a
    scope. Of the discriminator's two uses take the one whose data it is to see at inference.

How to see it in your own program
    Run the discriminator's step alone, and compare the generator's moving_mean before and after:
    it must be bit-identical. `bnguard audit` warns of it, rule BN206 frozen-layer-still-updates.

Reports
    carpedm20/DCGAN-tensorflow#266 (statistics shared between real and fake examples)
    carpedm20/DCGAN-tensorflow#289 (the discriminator's step updates the generator's batch norm)
    google/compare_gan#8 (unnecessary updates)
    hwalsuklee/tensorflow-generative-model-collections#20
"""

if __name__ == "__main__":
    from bnguard.cli import main

    main(__file__)

import tensorflow.compat.v1 as tf

from bnguard.harness.cases.case import Case, Inference, Model, Training
from bnguard.harness.cases.toy_network import dense
from bnguard.harness.claims import StatisticsFollowData
from bnguard.layers import batch_norm

CLAIM = StatisticsFollowData(instead={"d/bn": "fake + real", "g/bn": "noise"}, defective="mixed")
CASE = Case(CLAIM, mean=(10.0, -5.0), deviation=3.0)


def build(fused):
    """A generator of rows like x, a discriminator between the two, and a step for each."""
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    step = tf.train.get_or_create_global_step()
    noise = 3.0 + tf.random.stateless_normal(tf.shape(x), tf.stack([1, step]))
    fake = dense(layer(noise, "g/bn", fused), 2, "g/dense")
    with tf.name_scope("real"):
        real_score = dense(layer(x, "d/bn", fused), 1, "d/dense")
    with tf.name_scope("fake"):
        fake_score = dense(layer(fake, "d/bn", fused), 1, "d/dense")
    d_loss = tf.reduce_mean(tf.nn.softplus(fake_score) + tf.nn.softplus(-real_score))
    g_loss = tf.reduce_mean(tf.nn.softplus(-fake_score))
    optimizer = tf.train.GradientDescentOptimizer(0.01)
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        d_step = optimizer.minimize(d_loss, var_list=tf.trainable_variables("d/"))
        g_step = optimizer.minimize(g_loss, step, var_list=tf.trainable_variables("g/"))
    return Model(
        x,
        [Training(d_step, updates={"d/bn": "real"}), Training(g_step, updates={"g/bn": "noise"})],
        Inference(layer(x, "d/bn", fused, is_training=False)),
        layers={"d/bn": {"real": x, "fake": fake}, "g/bn": {"noise": noise}},
    )


def layer(inputs, scope, fused, is_training=True):
    """The layer with the variables of `scope`, which all its uses share."""
    return batch_norm(
        inputs,
        decay=0.9,
        scale=True,
        is_training=is_training,
        reuse=tf.AUTO_REUSE,
        fused=fused,
        scope=scope,
    )
