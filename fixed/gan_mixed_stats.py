"""A GAN in which each step runs only its own update ops.

Symptom
    The discriminator's statistics are a mixture of real and generated data, and fit neither. The
    generator's statistics move even when only the discriminator is trained.

Also said as
    GAN: real and fake batches share one moving average in the discriminator
    d_optim and g_optim with batch norm, which update ops belong to which step
    training the discriminator updates the generator's moving averages
    DCGAN samples are bad with train=False, statistics of real and generated images are mixed
    actor and critic: update_ops with control_dependencies in only one of two train ops
    two optimizers and one UPDATE_OPS collection
    Batch norm of D is shared by the real and the fake (generated) images.
    The train step of D updates the batch norm of G, too; G should not change there.
    Which update ops belong to d_optim and which to g_optim? Both depend on all UPDATE_OPS.
    Two optimizers for two networks (actor and critic, encoder and decoder), one UPDATE_OPS.
    Should the generator be in training mode while the discriminator is trained?
    Separate batch normalization of real and generated samples in a GAN (DCGAN, WGAN, CycleGAN).
    Unnecessary batch norm updates in adversarial training, when the other network is trained.
    Generated samples are much worse with is_training=False than with is_training=True.

Cause
    The program applies the discriminator twice with the same variables, to real and to generated
    rows, and both steps run the generator. UPDATE_OPS contains the updates of all three calls, and
    each step depends on the whole collection. Nothing orders the discriminator's two updates, so a
    step has several possible results.

Fix
    Make each step depend only on the updates of the network that it trains: pass a scope to
    get_collection. The discriminator has updates from two calls; use those of the call whose data
    resembles the data at inference.

Already trained
    Yes. In a graph that applies the discriminator to real data alone, restore the checkpoint and
    call `bnguard.reestimate(session, feeds)`. In the graph of training it would measure all calls
    of the layer, so the result would be the mixture again. A generator that serves alone needs the
    command only.

How to see it in your own program
    Run the discriminator's step alone and check that the generator's moving_mean stays
    bit-identical. `bnguard audit` finds it with BN105 statistics-updated-more-than-once.

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
    """Build a generator of rows like `x`, a discriminator, and a training step for each."""
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
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS, "real/")):
        d_step = optimizer.minimize(d_loss, var_list=tf.trainable_variables("d/"))
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS, "g/")):
        g_step = optimizer.minimize(g_loss, step, var_list=tf.trainable_variables("g/"))
    return Model(
        x,
        [Training(d_step, updates={"d/bn": "real"}), Training(g_step, updates={"g/bn": "noise"})],
        Inference(layer(x, "d/bn", fused, is_training=False)),
        layers={"d/bn": {"real": x, "fake": fake}, "g/bn": {"noise": noise}},
    )


def layer(inputs, scope, fused, is_training=True):
    """Build the layer on the variables of `scope`, which all calls with this scope share."""
    return batch_norm(
        inputs,
        decay=0.9,
        scale=True,
        is_training=is_training,
        reuse=tf.AUTO_REUSE,
        fused=fused,
        scope=scope,
    )
