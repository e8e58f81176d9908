"""Measure the cost of the guards on a network like ResNet-50: 53 layers, 106 running statistics.

    python benchmarks/guard.py [--variables ref|resource] [--repeats N]

All measurements run in one process. Actions that are compared run alternately, and the figures are
medians. The network has a Momentum optimizer, so that its graph is that of a training program. An
inference step processes one image of 224 x 224 pixels.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from typing import Any, Callable, Iterable, List, Sequence

import numpy as np

import bnguard
from bnguard.runtime.tensorflow_import import import_tensorflow

import_tensorflow()
import tensorflow.compat.v1 as tf  # noqa: E402

from bnguard.analysis.rules import RULES  # noqa: E402
from bnguard.watch.watcher import Watcher  # noqa: E402

STAGES = [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)]  # width, blocks, stride


def main() -> None:
    options = _options()
    (
        tf.enable_resource_variables
        if options.variables == "resource"
        else tf.disable_resource_variables
    )()
    with tf.Graph().as_default():
        program = Program()
        with tf.Session() as session:
            session.run(program.initializer)
            _report(session, program, options)


class Program:
    """ResNet-50 version 1 with a training flag, its loss and a training step."""

    def __init__(self) -> None:
        self.images = tf.placeholder(tf.float32, [None, 224, 224, 3], name="images")
        self.is_training = tf.placeholder(tf.bool, [], name="is_training")
        labels = tf.placeholder(tf.int64, [None], name="labels")
        self.logits = self._network()
        loss = tf.losses.sparse_softmax_cross_entropy(labels, self.logits)
        optimizer = tf.train.MomentumOptimizer(0.1, 0.9)
        self.train = bnguard.create_train_op(loss, optimizer)
        self.initializer = tf.global_variables_initializer()

    def inference_feed(self) -> Any:
        """Return the feeds of an inference step of one image."""
        image = np.random.RandomState(0).rand(1, 224, 224, 3).astype(np.float32)
        return {self.images: image, self.is_training: False}

    def _network(self) -> tf.Tensor:
        net = self._conv(self.images, 64, 7, 2, "stem")
        net = tf.nn.max_pool(net, [1, 3, 3, 1], [1, 2, 2, 1], "SAME")
        for stage, (width, blocks, stride) in enumerate(STAGES):
            for block in range(blocks):
                name = f"stage{stage}/block{block}"
                net = self._block(net, width, stride if block == 0 else 1, name)
        net = tf.reduce_mean(net, [1, 2])
        kernel = tf.get_variable("logits/kernel", [net.shape[-1], 1000])
        return tf.matmul(net, kernel, name="logits/out")

    def _block(self, net: tf.Tensor, width: int, stride: int, name: str) -> tf.Tensor:
        shortcut = net
        if net.shape[-1] != 4 * width:
            shortcut = self._conv(net, 4 * width, 1, stride, f"{name}/shortcut", relu=False)
        net = self._conv(net, width, 1, stride, f"{name}/a")
        net = self._conv(net, width, 3, 1, f"{name}/b")
        net = self._conv(net, 4 * width, 1, 1, f"{name}/c", relu=False)
        return tf.nn.relu(net + shortcut)

    def _conv(
        self, net: tf.Tensor, width: int, size: int, stride: int, name: str, relu: bool = True
    ) -> tf.Tensor:
        kernel = tf.get_variable(f"{name}/kernel", [size, size, net.shape[-1], width])
        net = tf.nn.conv2d(net, kernel, [1, stride, stride, 1], "SAME")
        net = bnguard.batch_norm(net, scale=True, is_training=self.is_training, scope=f"{name}/bn")
        return tf.nn.relu(net) if relu else net


def _report(session: tf.Session, program: Program, options: Any) -> None:
    analysis = _after_change(session, 3, lambda: bnguard.snapshot(session))
    names = list(bnguard.snapshot(session))
    print(
        f"TensorFlow {tf.__version__}, {options.variables} variables, "
        f"{len(session.graph.get_operations())} ops, {len(names)} running statistics"
    )
    _line("first snapshot, analyses the graph", f"{1e3 * median(analysis):.0f} ms")
    _report_hook(session, program, options.repeats)
    _report_snapshots(session, names, options.repeats)
    _report_steps(session, options.repeats)
    _report_watch(session, program, options.repeats)
    _report_training()


def _after_change(session: tf.Session, repeats: int, action: Callable[[], Any]) -> List[float]:
    """Return the times of an action, each after a change of the graph."""
    times = []
    for _ in range(repeats):
        session.run(tf.no_op())
        times.append(seconds(action))
    return times


def _report_hook(session: tf.Session, program: Program, repeats: int) -> None:
    feed = program.inference_feed()
    context = tf.train.SessionRunContext(tf.train.SessionRunArgs(program.logits, feed), session)
    start = _after_change(session, 3, lambda: _begun(session).before_run(context))
    hooks = [_begun(session) for _ in range(max(3, repeats // 10))]
    audited = [seconds(functools.partial(hook.before_run, context)) for hook in hooks]
    refused = [seconds(functools.partial(_refuse, hook, session, program)) for hook in hooks]
    hook = hooks[-1]
    later = [
        seconds(lambda: (hook.before_run(context), hook.after_run(context, None)))
        for _ in range(100 * repeats)
    ]
    step = median([seconds(lambda: session.run(program.logits, feed)) for _ in range(repeats)])
    _line("inference step, one image", f"{1e3 * step:.1f} ms")
    _line("static hook, begin to first step", f"{1e3 * median(start):.0f} ms, analyses the graph")
    _line("static hook, first time of a step", f"{1e3 * median(audited):.1f} ms")
    _line("static hook, a training step, refused", f"{1e3 * median(refused):.1f} ms")
    each = median(later)
    _line("static hook, each repeated step", f"{1e6 * each:.1f} us, {each / step:.3%} of a step")


def _begun(session: tf.Session) -> Any:
    hook = bnguard.FrozenStatisticsHook()
    hook.begin()
    hook.after_create_session(session, None)
    return hook


def _refuse(hook: Any, session: tf.Session, program: Program) -> None:
    arguments = tf.train.SessionRunArgs(program.train, {program.is_training: True})
    try:
        hook.before_run(tf.train.SessionRunContext(arguments, session))
    except bnguard.StatisticsChanged:
        return
    raise RuntimeError("the hook let a training step pass")


def _report_snapshots(session: tf.Session, names: List[str], repeats: int) -> None:
    variables = [variable for variable in tf.global_variables() if variable.op.name in names]
    tensors = [session.graph.as_graph_element(variable) for variable in variables]

    def guarded() -> None:
        with bnguard.frozen(session):
            pass

    bare, snapshot, twice, block = interleaved(
        repeats,
        lambda: session.run(tensors),
        lambda: bnguard.snapshot(session),
        lambda: (bnguard.snapshot(session), bnguard.snapshot(session)),
        guarded,
    )
    _line("fetching the statistics bare", _milliseconds(bare))
    _line("snapshot", f"{_milliseconds(snapshot)}, {ratio(snapshot, bare):.2f} times bare")
    _line("two snapshots", _milliseconds(twice))
    _line(
        "frozen, an empty block",
        f"{_milliseconds(block)}, {ratio(block, twice):.2f} of two snapshots",
    )


def _report_steps(session: tf.Session, repeats: int) -> None:
    """Report the additional cost of a step inside a block."""
    constants = [tf.constant(float(number)) for number in range(200)]
    session.run(constants)
    bnguard.snapshot(session)
    for count in (1, 200):
        step = functools.partial(session.run, constants[:count])
        inside: List[float] = []
        outside: List[float] = []
        for _ in range(repeats):  # alternately, because the times drift
            with bnguard.frozen(session):
                recorded = functools.partial(session.run, constants[:count])
                recorded()  # the first run of this step in the block
                inside += [seconds(recorded) for _ in range(20)]
            outside += [seconds(step) for _ in range(20)]
        more = 1e6 * (median(inside) - median(outside))
        label = f"frozen, each repeated step of {count} fetches"
        _line(label, f"{more:.1f} us more than {1e6 * median(outside):.0f} us")


def _report_watch(session: tf.Session, program: Program, repeats: int) -> None:
    """Report what `bnguard run` adds to a step, and to the end of the program.

    It is measured in a step that fetches nothing, for which TensorFlow only takes the feeds.
    """
    feed = program.inference_feed()
    step = functools.partial(session.run, [], feed)
    inference = functools.partial(session.run, program.logits, feed)
    watcher = Watcher(RULES, stops=False, steps=None)
    inside: List[float] = []
    outside: List[float] = []
    for _ in range(repeats):  # alternately, because the times drift
        with watcher.hooks.installed():
            step()  # the first run of this step
            inside += [seconds(step) for _ in range(500)]
        step()
        outside += [seconds(step) for _ in range(500)]
    with watcher.hooks.installed():
        inference()
    alone = median([seconds(lambda: watcher.observe(session, [], feed)) for _ in range(10000)])
    _line("run, the watcher alone", f"{1e6 * alone:.1f} us for a repeated step")
    more = median(inside) - median(outside)
    share = more / median([seconds(inference) for _ in range(repeats)])
    _line("run, each repeated step", f"{1e6 * more:.1f} us more, {share:.3%} of an inference step")
    judged = seconds(lambda: watcher.report("program"))
    _line("run, the report", f"{1e3 * judged:.0f} ms, analyses the graph and 2 steps")


def _report_training() -> None:
    """Report the time of training programs of 1,000 steps with and without `bnguard run`."""
    with tf.Graph().as_default(), tf.Session() as session:
        images = tf.placeholder(tf.float32, [32, 32, 32, 3])
        is_training = tf.placeholder(tf.bool, [])
        net = images
        for number in range(4):
            kernel = tf.get_variable(f"kernel_{number}", [3, 3, net.shape[-1], 16])
            net = tf.nn.conv2d(net, kernel, [1, 2, 2, 1], "SAME")
            net = tf.nn.relu(bnguard.batch_norm(net, is_training=is_training, scope=f"bn_{number}"))
        loss = tf.reduce_mean(tf.square(net))
        train_op = bnguard.create_train_op(loss, tf.train.GradientDescentOptimizer(0.01))
        session.run(tf.global_variables_initializer())
        batch = np.random.RandomState(0).rand(32, 32, 32, 3).astype(np.float32)

        def train() -> None:
            for _ in range(10):
                session.run(train_op, {images: batch, is_training: True})

        def watched() -> None:
            with watcher.hooks.installed():
                train()

        watcher = Watcher(RULES, stops=False, steps=None)
        bare, inside = map(list, interleaved(100, train, watched))
        judged = seconds(lambda: watcher.report("program"))
    _line(
        "run, 1,000 training steps",
        f"{ratio(inside, bare):.3f} of {100 * median(bare):.2f} s without, and "
        f"{1e3 * judged:.0f} ms at the end",
    )


def _milliseconds(times: Sequence[float]) -> str:
    return f"{1e3 * median(times):.2f} ms"


def _line(label: str, figures: str) -> None:
    print(f"  {label:40} {figures}")


def interleaved(repeats: int, *actions: Callable[[], Any]) -> Iterable[Sequence[float]]:
    """Run the actions alternately, and return the times of each without the first round."""
    rounds = [[seconds(action) for action in actions] for _ in range(1 + repeats)]
    return zip(*rounds[1:])


def ratio(times: Sequence[float], others: Sequence[float]) -> float:
    """Return the median over rounds of the ratio of two times."""
    return median([time / other for time, other in zip(times, others)])


def seconds(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


median = statistics.median


def _options() -> Any:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variables", choices=["ref", "resource"], default="ref")
    parser.add_argument("--repeats", type=int, default=50)
    return parser.parse_args()


if __name__ == "__main__":
    main()
