"""Measure the time of a batch_norm step against the raw kernel and other layers, in one process.

    python benchmarks/layer.py [--rounds 60] [--shapes 64x56x56x64,4x2,resnet-50] [--threads 2]

All contestants get the same inputs and run in turn, in every round. The table shows the median
over the rounds of each contestant's time divided by the floor's time in the same round. The floor
is `tf.nn.fused_batch_norm` with a mode known in Python, the moving averages beside it. A careful
program that feeds the mode writes the next by hand: the same kernel for training and for inference
in a `tf.cond` on a placeholder.

A training step computes the outputs, the gradients of inputs, gamma and beta, and the updates;
inference computes the outputs. From TensorFlow 2.16 on, `tf.layers` needs tf_keras. It has no
fused kernel for inputs of rank 2, so at 256x1024 and 4x2 its peer is `batch_normalization`.

The shape `resnet-50` stands for a training step of that network: forward, backward, momentum and
updates, for 8 images of 112x112.

The last lines show the worst ratio of each layer to its peer. Beside it is the ratio of the floor
to a second copy of itself: differences of that size are noise.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import numpy as np
import tensorflow.compat.v1 as tf

from bnguard import batch_norm, batch_normalization

UPDATE_OPS = tf.GraphKeys.UPDATE_OPS
DECAY, EPSILON = 0.99, 0.001
SHAPES = "64x56x56x64,32x28x28x256,256x1024,4x2,resnet-50"
FLOOR = "raw fused, mode known"
IN_COND = "raw fused in tf.cond"
TF_LAYERS = "tf.layers"


def hand_written(x, training, kernel):
    """Build a layer by hand: variables, a kernel for each mode, moving averages."""
    shape = x.shape[-1:]
    beta = tf.get_variable("beta", shape, initializer=tf.zeros_initializer())
    gamma = tf.get_variable("gamma", shape, initializer=tf.ones_initializer())
    statistics = [
        tf.get_variable("moving_mean", shape, initializer=tf.zeros_initializer(), trainable=False),
        tf.get_variable(
            "moving_variance", shape, initializer=tf.ones_initializer(), trainable=False
        ),
    ]
    y, *moments = kernel(x, training, gamma, beta, *statistics)
    for statistic, moment in zip(statistics, moments):
        update = statistic.assign_sub((statistic - moment) * (1 - DECAY))
        tf.add_to_collection(UPDATE_OPS, update)
    return y


def raw_fused(x, is_training, gamma, beta, mean=None, variance=None):
    images = x if x.shape.ndims == 4 else tf.reshape(x, [-1, 1, 1, x.shape[-1]])
    y, *moments = tf.nn.fused_batch_norm(
        images, gamma, beta, mean, variance, EPSILON, is_training=is_training
    )
    return [y if x.shape.ndims == 4 else tf.reshape(y, [-1, x.shape[-1]]), *moments]


def fused_in_cond(x, training, gamma, beta, mean, variance):
    return tf.cond(
        training,
        lambda: raw_fused(x, True, gamma, beta),
        lambda: raw_fused(x, False, gamma, beta, mean, variance),
    )


def fused_for_training(x, training, gamma, beta, mean, variance):
    return raw_fused(x, True, gamma, beta)


def fused_for_inference(x, training, gamma, beta, mean, variance):
    return raw_fused(x, False, gamma, beta, mean, variance)[:1]


def moments_in_cond(x, training, gamma, beta, mean, variance):
    axes = list(range(x.shape.ndims - 1))
    moments = tf.cond(
        training,
        lambda: list(tf.nn.moments(x, axes)),
        lambda: [tf.identity(mean), tf.identity(variance)],
    )
    return [tf.nn.batch_normalization(x, *moments, beta, gamma, EPSILON), *moments]


def bare_batch_normalization(x, training, gamma, beta, mean, variance):
    return [tf.nn.batch_normalization(x, mean, variance, beta, gamma, EPSILON)]


def bare_in_cond(x, training, gamma, beta, mean, variance):
    def normalize(mean, variance):
        return lambda: tf.nn.batch_normalization(x, mean, variance, beta, gamma, EPSILON)

    return [tf.cond(training, normalize(gamma, gamma), normalize(mean, variance))]


def by_hand(kernel):
    return lambda x, training: hand_written(x, training, kernel)


def ours(mode=None, **options):
    def build(x, training):
        is_training = training if mode is None else mode
        return batch_norm(x, DECAY, scale=True, is_training=is_training, **options)

    return build


def tf_layers(x, training):
    return tf.layers.batch_normalization(x, momentum=DECAY, training=training)


def our_tf_layers(x, training):
    return batch_normalization(x, momentum=DECAY, training=training)


NOISE = "the same again: noise"
FUSED = {
    FLOOR: None,  # one for each mode, see contests
    NOISE: None,
    IN_COND: by_hand(fused_in_cond),
    "bnguard, UPDATE_OPS": ours(),
    "bnguard, in place": ours(updates_collections=None),
    TF_LAYERS: tf_layers,
    "bnguard.batch_normalization": our_tf_layers,
    "moments in tf.cond": by_hand(moments_in_cond),
    "bnguard fused=False": ours(fused=False),
    "bnguard fused=False, in place": ours(fused=False, updates_collections=None),
}
BARE = "bare batch_normalization"
NOT_FUSED = {
    BARE: by_hand(bare_batch_normalization),
    NOISE: by_hand(bare_batch_normalization),
    "bnguard fused=False, mode known": ours(False, fused=False),
    "the same in tf.cond": by_hand(bare_in_cond),
    "bnguard fused=False, placeholder": ours(fused=False),
    "bnguard fused=False, in place": ours(fused=False, updates_collections=None),
}
MODES = [
    (FUSED, True, "training"),
    (FUSED, False, "inference"),
    (NOT_FUSED, False, "inference that is not fused"),
]
NETWORK = [FLOOR, NOISE, IN_COND, "bnguard, UPDATE_OPS", "bnguard, in place", TF_LAYERS]
# a kind of step, a contestant, and the peer that it must not be slower than
TARGETS = [
    ("training", "bnguard, UPDATE_OPS", FLOOR),
    ("training", "bnguard, in place", FLOOR),
    ("training", "bnguard, UPDATE_OPS", IN_COND),
    ("training", "bnguard, in place", IN_COND),
    ("inference", "bnguard, UPDATE_OPS", IN_COND),
    ("inference", "bnguard, in place", IN_COND),
    ("training", "bnguard.batch_normalization", TF_LAYERS),
    ("inference", "bnguard.batch_normalization", TF_LAYERS),
    ("training", "bnguard fused=False", "moments in tf.cond"),
    ("inference", "bnguard fused=False", "moments in tf.cond"),
    ("inference that is not fused", "bnguard fused=False, mode known", BARE),
    ("inference that is not fused", "bnguard fused=False, placeholder", BARE),
]
NETWORK_SHAPE, IMAGES = "resnet-50", (8, 112, 112, 3)
BLOCKS = [(64, 3), (128, 4), (256, 6), (512, 3)]  # of ResNet-50: width, and number of blocks


def layer_step(build, trains):
    """Return a function that builds a step of one layer: from inputs and a mode to operations."""

    def step(x, training):
        y = build(tf.identity(x), training)
        # A list, not a tf.group: Grappler removes operations that only a group depends on.
        if not trains:
            return [y.op]
        # grad_ys stands for the gradient of the loss; its values do not matter.
        gradients = tf.gradients(y, [x, *tf.trainable_variables()], grad_ys=tf.identity(x))
        return [y.op, *(gradient.op for gradient in gradients), *updates()]

    return step


def network_step(build):
    """Return a function that builds a training step of ResNet-50 with these layers."""

    def step(x, training):
        loss = tf.reduce_mean(resnet50(x, lambda y: build(y, training)) ** 2)
        return [tf.train.MomentumOptimizer(1e-3, 0.9).minimize(loss), *updates()]

    return step


def updates():
    return [getattr(update, "op", update) for update in tf.get_collection(UPDATE_OPS)]


def resnet50(images, normalize):
    """Return the features that the last layer of ResNet-50 classifies, [batch, 2048]."""

    def convolution(x, width, size=1, stride=1):
        shape = [size, size, x.shape[-1], width]
        with tf.variable_scope(None, "conv"):
            weights = tf.get_variable("weights", shape)
            return normalize(tf.nn.conv2d(x, weights, [1, stride, stride, 1], "SAME"))

    x = tf.nn.relu(convolution(images, 64, 7, 2))
    x = tf.nn.max_pool2d(x, 3, 2, "SAME")
    for stage, (width, blocks) in enumerate(BLOCKS):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            shortcut = x if block else convolution(x, 4 * width, 1, stride)
            y = tf.nn.relu(convolution(x, width))
            y = tf.nn.relu(convolution(y, width, 3, stride))
            x = tf.nn.relu(convolution(y, 4 * width) + shortcut)
    return tf.reduce_mean(x, [1, 2])


class Contestant:
    """A layer or a network in its own session, and the time of its step."""

    def __init__(self, step, data, resource, threads):
        graph = tf.Graph()
        with graph.as_default(), tf.variable_scope("", use_resource=resource):
            fed = tf.placeholder(tf.float32, data.shape)
            x = tf.Variable(fed, trainable=False, use_resource=resource)
            self.training = tf.placeholder(tf.bool, [])
            operations = step(x, self.training)
            initialize = tf.global_variables_initializer()
        config = tf.ConfigProto(
            inter_op_parallelism_threads=threads, intra_op_parallelism_threads=threads
        )
        self.session = tf.Session(graph=graph, config=config)
        self.session.run(initialize, {fed: data})
        self.run = self.session.make_callable(operations, [self.training])

    def warm_up(self, trains):
        """Run 100 steps, after which TensorFlow knows which kernels are cheap; at most 1 s."""
        end = time.perf_counter() + 1
        for _ in range(100):
            self.run(trains)
            if time.perf_counter() > end:
                break

    def seconds(self, trains, repeats):
        """Return the mean time of a step, over `repeats` steps."""
        start = time.perf_counter()
        for _ in range(repeats):
            self.run(trains)
        return (time.perf_counter() - start) / repeats


def race(steps, data, trains, resource, arguments):
    """Return the seconds of each contestant in each round, by name."""
    contestants = [Contestant(step, data, resource, arguments.threads) for step in steps.values()]
    for contestant in contestants:
        contestant.warm_up(trains)
    repeats = max(1, int(arguments.slice / contestants[0].seconds(trains, 3)))
    times = np.empty([len(contestants), arguments.rounds])
    for index in range(arguments.rounds):
        order = np.random.RandomState(index).permutation(len(contestants))
        for position in order:
            times[position, index] = contestants[position].seconds(trains, repeats)
    for contestant in contestants:
        contestant.session.close()
    return dict(zip(steps, times))


def report(title, times):
    """Print a table of `times`, the seconds of each contestant by name, the floor first."""
    floor = next(iter(times.values()))
    print(f"{title}: {1e6 * np.median(floor):.0f} us")
    for name, seconds in times.items():
        low, median, high = np.percentile(seconds / floor, [25, 50, 75])
        print(f"    {median:6.3f}  ({low:.3f} to {high:.3f})  {name}")


def report_targets(tables):
    """Print the worst ratio of each pair in TARGETS over all tables, and that table's noise."""
    print("worst cells:")
    for target_step, name, peer in TARGETS:
        cells = {
            title: np.median(times[name] / times[peer])
            for (title, step), times in tables.items()
            if step == target_step and name in times and peer in times
        }
        if not cells:
            continue
        title = max(cells, key=cells.get)
        first, noise = list(tables[title, target_step].values())[:2]
        print(f"    {cells[title]:6.3f}  {name} / {peer}")
        print(f"            {title}; noise: {np.median(noise / first):.3f}")


def contests(shape):
    """Yield the kind of a step, whether it trains, and name -> function that builds it."""
    known = {True: by_hand(fused_for_training), False: by_hand(fused_for_inference)}
    if shape == NETWORK_SHAPE:
        builds = {name: FUSED[name] or known[True] for name in NETWORK}
        yield "training", True, {name: network_step(build) for name, build in builds.items()}
        return
    for builds, trains, kind in MODES:
        completed = {name: build or known[trains] for name, build in builds.items()}
        yield kind, trains, {name: layer_step(build, trains) for name, build in completed.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--slice", type=float, default=0.02, help="seconds for each measurement")
    parser.add_argument("--shapes", default=SHAPES)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    tf.disable_v2_behavior()
    tf.logging.set_verbosity(tf.logging.ERROR)
    print(f"TensorFlow {tf.__version__}; time divided by the first row's: median (quartiles)")
    tables = {}
    for name in arguments.shapes.split(","):
        shape = IMAGES if name == NETWORK_SHAPE else tuple(map(int, name.split("x")))
        data = np.random.RandomState(0).randn(*shape).astype(np.float32)
        for variable_type in ("ref", "resource"):
            for kind, trains, steps in contests(name):
                title = f"{name}, {variable_type} variables, {kind}"
                times = race(steps, data, trains, variable_type == "resource", arguments)
                tables[title, kind] = times
                report(title, times)
    report_targets(tables)


if __name__ == "__main__":
    main()
