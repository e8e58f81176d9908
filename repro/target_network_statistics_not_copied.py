"""A target network that gets the weights of the online network, and not its statistics.

Symptom
    Reinforcement learning with a target network is unstable or learns nothing as soon as the
    networks have batch norm. Both networks have the same weights and give different values for the
    same states: the target network's moving_mean is 0, and its moving_variance is 1.

Also said as
    how are target network parameters in normalized layers updated in DDPG or DQN
    does the soft update (polyak, tau) copy running_mean and running_var to the target network
    target critic with batch norm: moving averages stay at their defaults
    copy q_network to target_network, tf.trainable_variables as the list of variables to copy
    mean teacher or momentum encoder: the averaged model has no batch norm statistics
    batch norm statistics of the target network are not synced
    The soft update of the target network copies the trainable variables only.
    DQN or DDPG with batch norm: target network's moving_mean stays 0 and moving_variance stays 1.
    How is batch normalization of the target network updated: by polyak averaging, tau, or its own?
    copy_to_target, hard update or sync of the networks misses the running statistics.
    Q values of the target network are wrong, and learning diverges with batch norm.
    A mean teacher, momentum encoder or EMA copy of the model has untrained statistics.
    The copied network gives a different output than the original, although all weights are equal.

Cause
    The soft update goes over pairs of trainable variables. The statistics are not trainable, so it
    leaves them out. The target network runs in inference mode, so it has no updates of its own
    either, and it normalizes with the initial statistics.

Fix
    Make the pairs from all variables of the two scopes. tf.global_variables(SCOPE) also has the
    slots of optimizers once they are created; call it before, or leave these out.

Already trained
    Yes. `bnguard reestimate CHECKPOINT --data FILE.npz`, with states from the replay buffer,
    estimates the statistics of both networks. But the online network was trained towards values of
    the wrong target network: train on with the program that is fixed.

How to see it in your own program
    Make the target network an exact copy once (tau = 1), and compare what the two give for one
    batch in inference mode. `bnguard audit` reports BN202 statistics-never-written.

Reports
    openai/baselines#647 (are normalization layers updated with the soft update?)
    DLR-RM/stable-baselines3#996 (running_mean and running_var are not copied; PyTorch)
    ray-project/ray#25226 (update_target copies only the trainable variables)
"""

if __name__ == "__main__":
    from bnguard.cli import main

    main(__file__)

import tensorflow.compat.v1 as tf

from bnguard.harness.cases.case import Case, Inference, Model, Training
from bnguard.harness.cases.toy_network import dense
from bnguard.harness.claims import StatisticsFollowData
from bnguard.harness.results.closed_form import NOTHING, LayerStatistics
from bnguard.layers import batch_norm
from bnguard.layers.training import create_train_op

CLAIM = StatisticsFollowData({"target/bn": NOTHING}, defective="not copied")
CASE = Case(CLAIM, mean=(10.0, -5.0), deviation=3.0)


def build(fused):
    """Build an online network that learns the values of states, and its target network."""
    states = tf.placeholder(tf.float32, [None, 2], name="states")
    _, values = network("online", states, True, fused)
    features, next_values = network("target", states, False, fused)
    targets = states[:, :1] + 0.5 * tf.stop_gradient(next_values)
    loss = tf.losses.mean_squared_error(targets, values)
    optimizer = tf.train.GradientDescentOptimizer(0.01)
    weights = tf.trainable_variables("online/")
    train_op = create_train_op(loss, optimizer, variables_to_train=weights)
    pairs = zip(tf.trainable_variables("online/"), tf.trainable_variables("target/"))
    soft_update = tf.group(*[tf.assign(old, 0.9 * old + 0.1 * new) for new, old in pairs])
    statistics = LayerStatistics(*tf.global_variables("online/bn/moving"))
    return Model(
        states,
        [
            Training(train_op, updates={"online/bn": "batch"}),
            Training(soft_update, updates={"target/bn": "online"}),
        ],
        Inference(features),
        layers={"target/bn": {"online": statistics}, "online/bn": {"batch": states}},
    )


def network(name, states, is_training, fused):
    """Build a network; return its normalized features, and the values of the states."""
    with tf.variable_scope(name):
        features = batch_norm(
            states, decay=0.9, scale=True, is_training=is_training, fused=fused, scope="bn"
        )
        return features, dense(features, 1, "value")
