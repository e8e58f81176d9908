"""Measure what re-estimation costs beside the bare forward pass in training mode.

    python benchmarks/reestimate.py [--batches N] [--control-flow v1|v2]

Both run in one process, batch by batch in turn. The figures are medians over all batches, and the
ratio is the median over pairs of neighbours. The convolutional network has 9 layers on images of
32 x 32 pixels, the dense network 4 layers of 512 units.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from typing import Any, Callable, Dict, List, Tuple

import numpy as np

import bnguard
from bnguard.reestimation.partial_files import Partial, Share, write_partial
from bnguard.runtime.tensorflow_import import import_tensorflow

import_tensorflow()
import tensorflow.compat.v1 as tf  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, default=200, help="batches of each")
    parser.add_argument("--control-flow", choices=["v1", "v2"], default="v1")
    options = parser.parse_args()
    (tf.enable_control_flow_v2 if options.control_flow == "v2" else tf.disable_control_flow_v2)()
    tf.disable_eager_execution()
    print(
        "| network | forward pass, batches/s | re-estimation, batches/s | time, ratio | --partial |"
    )
    print("|---|---|---|---|---|")
    for name, (shape, build) in NETWORKS.items():
        with tf.Graph().as_default(), tf.Session() as session:
            training = tf.placeholder(tf.bool, [], name="is_training")
            x = tf.placeholder(tf.float32, [None, *shape[1:]], name="x")
            output = build(x, training)
            session.run(tf.global_variables_initializer())
            batch = np.random.RandomState(0).rand(*shape).astype(np.float32)
            feed = {x: batch, training: True}
            bare, measured, ratio = _compare(session, output, feed, [{x: batch}] * options.batches)
            partial = _partial_seconds(session, [{x: batch}])
        print(
            f"| {name} | {1 / bare:.1f} | {1 / measured:.1f} | {ratio:.2f} | "
            f"{1000 * partial:.0f} ms |"
        )


def _compare(
    session: tf.Session, output: tf.Tensor, feed: Dict[Any, Any], feeds: List[Any]
) -> Tuple[float, float, float]:
    """Return the median seconds of a batch, bare and in re-estimation, and of their ratio."""
    starts: List[float] = []
    ends: List[float] = []

    def run_forward_pass(_: Any) -> None:
        starts.append(time.perf_counter())
        session.run(output, feed)
        ends.append(time.perf_counter())

    bnguard.measure_moments(session, feeds, progress=run_forward_pass)  # before each batch
    bare = [end - start for start, end in zip(starts, ends)]
    measured = [start - end for start, end in zip(starts[1:], ends)]
    ratios = [ours / theirs for ours, theirs in zip(measured, bare)]
    return statistics.median(bare), statistics.median(measured), statistics.median(ratios)


def _partial_seconds(session: tf.Session, feeds: List[Any]) -> float:
    """Return the seconds that it takes to write the file of a share."""
    moments = bnguard.measure_moments(session, feeds)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        write_partial(os.path.join(folder, "share.npz"), Partial(Share(1, 1), moments))
        return time.perf_counter() - start


def _layer(x: tf.Tensor, training: tf.Tensor, name: str) -> tf.Tensor:
    return tf.nn.relu(bnguard.batch_norm(x, is_training=training, scope=name))


def _convolutional(x: tf.Tensor, training: tf.Tensor) -> tf.Tensor:
    for number, width in enumerate([32, 32, 32, 64, 64, 64, 128, 128, 128]):
        stride = 2 if number in (3, 6) else 1
        kernel = tf.get_variable(f"kernel_{number}", [3, 3, int(x.shape[-1]), width])
        x = _layer(tf.nn.conv2d(x, kernel, stride, "SAME"), training, f"bn_{number}")
    return tf.reduce_mean(x, [1, 2])


def _dense(x: tf.Tensor, training: tf.Tensor) -> tf.Tensor:
    for number in range(4):
        weights = tf.get_variable(f"weights_{number}", [int(x.shape[-1]), 512])
        x = _layer(tf.matmul(x, weights), training, f"bn_{number}")
    return x


NETWORKS: Dict[str, Tuple[List[int], Callable[..., tf.Tensor]]] = {
    "convolutional, batches of 64": ([64, 32, 32, 3], _convolutional),
    "dense, batches of 256": ([256, 512], _dense),
}

if __name__ == "__main__":
    main()
