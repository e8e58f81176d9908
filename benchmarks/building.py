"""Measure the time to build 155 batch norm layers, the number in a ResNet-152, in one process.

    python benchmarks/building.py [--rounds 5]

Each contestant builds a chain of 155 layers behind a placeholder; a bool tensor selects training
or inference. The table shows the median time, and how many operations each layer adds to the
graph. `tf.layers` needs tf_keras from TensorFlow 2.16 on; `tf.contrib` needs TensorFlow 1.15.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import numpy as np
import tensorflow.compat.v1 as tf

from bnguard import batch_norm, batch_normalization

LAYERS = 155
CHANNELS = 64


def contestants():
    yield "bnguard.batch_norm, UPDATE_OPS", "is_training", batch_norm, {}
    yield "bnguard.batch_norm, in place", "is_training", batch_norm, {"updates_collections": None}
    yield "bnguard.batch_norm, not fused", "is_training", batch_norm, {"fused": False}
    yield "bnguard.batch_normalization", "training", batch_normalization, {}
    yield "tf.layers.batch_normalization", "training", tf.layers.batch_normalization, {}
    if tf.__version__ < "2":
        from tensorflow.contrib.layers import batch_norm as contrib

        yield "tf.contrib, UPDATE_OPS", "is_training", contrib, {}
        yield "tf.contrib, in place", "is_training", contrib, {"updates_collections": None}
        yield "tf.contrib, not fused", "is_training", contrib, {"fused": False}


def build(layer, argument, options):
    """Return the seconds for all layers, and the number of operations that each adds."""
    with tf.Graph().as_default() as graph:
        y = tf.placeholder(tf.float32, [None, 7, 7, CHANNELS])
        options = {argument: tf.placeholder(tf.bool, []), "scale": True, **options}
        before, start = len(graph.get_operations()), time.perf_counter()
        for _ in range(LAYERS):
            y = layer(y, **options)
        seconds = time.perf_counter() - start
        return seconds, (len(graph.get_operations()) - before) / LAYERS


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    tf.disable_v2_behavior()
    tf.logging.set_verbosity(tf.logging.ERROR)
    entries = list(contestants())
    times, nodes = np.empty([arguments.rounds, len(entries)]), {}
    for index in range(arguments.rounds):
        for position, (name, argument, layer, options) in enumerate(entries):
            times[index, position], nodes[name] = build(layer, argument, options)
    print(f"TensorFlow {tf.__version__}: {LAYERS} layers")
    print(f"{'seconds':>10} {'ops per layer':>14}")
    for name, median in zip(nodes, np.median(times, 0)):
        print(f"{median:10.2f} {nodes[name]:14.0f}  {name}")


if __name__ == "__main__":
    main()
