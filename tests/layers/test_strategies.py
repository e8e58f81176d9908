"""Test the layers, and the tools for their statistics, on the replicas of `tf.distribute`.

Each replica moves its own copy of a statistic with its own batch; what is saved is the mean of the
copies. A moving average is linear, so the mean of the copies is known in closed form.
"""

from concurrent.futures import ThreadPoolExecutor
import json
import threading

from click.testing import CliRunner
import numpy as np
import pytest
from support.graphs import build_with
from support.layers.context_table import held
from support.layers.layer_session import batches
from support.layers.numpy_layer import NumpyLayer
from support.samples import combinations
import tensorflow
import tensorflow.compat.v1 as tf

import bnguard
from bnguard import batch_norm, batch_normalization
from bnguard.cli import commands
from bnguard.harness.cases.cluster import free_ports

pytestmark = pytest.mark.slow

distribute = tensorflow.distribute
REPLICAS = 2
SHAPE = (12, 5)
UPDATE_OPS = tf.GraphKeys.UPDATE_OPS


def mirrored():
    devices = [f"/cpu:{replica}" for replica in range(REPLICAS)]
    return distribute.MirroredStrategy(devices, distribute.ReductionToOneDevice())


def one_device():
    return distribute.OneDeviceStrategy("/cpu:0")


def parameter_server():
    return tf.distribute.experimental.ParameterServerStrategy()


def central_storage():
    devices = [f"/cpu:{replica}" for replica in range(REPLICAS)]
    return tf.distribute.experimental.CentralStorageStrategy(devices, "/cpu:0")


NAMES = {
    mirrored: "MirroredStrategy",
    one_device: "OneDeviceStrategy",
    parameter_server: "ParameterServerStrategy",
    central_storage: "CentralStorageStrategy",
}
STRATEGIES = [
    mirrored,
    one_device,
    parameter_server,
    # In TensorFlow 1.15 its variables take no update from tf.layers either.
    *([central_storage] if tf.__version__ > "2" else []),
]


def in_place(x, training):
    return batch_norm(x, 0.9, is_training=training, updates_collections=None, fused=False)


def by_update_ops(x, training):
    return batch_norm(x, 0.9, is_training=training, fused=False)


def as_in_tf_layers(x, training):
    return batch_normalization(x, momentum=0.9, training=training)


def debiased(x, training):
    options = {"updates_collections": None, "zero_debias_moving_mean": True, "fused": False}
    return batch_norm(x, 0.9, is_training=training, **options)


LAYERS = [in_place, by_update_ops, as_in_tf_layers, debiased]


class Replicated:
    """A layer on each replica of a strategy, built in the default graph; its steps in a session.

    Args:
      strategy: a strategy.
      layer: a function from inputs and a mode to outputs.
      feeds_mode: whether the mode is fed; otherwise the layer always trains.
      target: the session's server.
      config: the session's configuration.
    """

    def __init__(self, strategy, layer, feeds_mode=True, target="", config=None):
        self.x = tf.placeholder(tf.float32, [REPLICAS, *SHAPE])
        self.training = tf.placeholder_with_default(True, [])
        mode = self.training if feeds_mode else True
        self.steps = []

        def replica():
            number = distribute.get_replica_context().replica_id_in_sync_group
            y = layer(tf.gather(self.x, number), mode)
            with tf.control_dependencies(tf.get_collection(UPDATE_OPS)):
                self.steps.append(tf.identity(y))
            return self.steps[-1]

        with strategy.scope():
            run = getattr(strategy, "run", None) or strategy.experimental_run_v2
            run(replica)
            self.saver = tf.train.Saver()
        self.replicas = len(self.steps)
        config = config or tf.ConfigProto(device_count={"CPU": REPLICAS})
        config.allow_soft_placement = True
        self.session = tf.Session(target, config=config)
        self.session.run(tf.global_variables_initializer())

    def run(self, batch, trains=True):
        return self.session.run(self.steps, {self.x: batch, self.training: trains})

    def saved(self, folder):
        prefix = self.saver.save(self.session, str(folder / "model"))
        reader = tf.train.load_checkpoint(prefix)
        return {
            name.split("/")[-1]: reader.get_tensor(name)
            for name in reader.get_variable_to_shape_map()
        }


def shards(count):
    """Return batches for all replicas, whose replicas differ in their means and spreads."""
    return [np.stack([batch, 3 * batch + 7]) for batch in batches(SHAPE, count)]


def expected_after(steps, replicas, bessel=False, zero_debias=False):
    """Return the layer in NumPy on each of the replicas, trained on the shards."""
    layers = [
        NumpyLayer([SHAPE[1]], bessel=bessel, zero_debias=zero_debias) for _ in range(replicas)
    ]
    for batch in steps:
        for layer, rows in zip(layers, batch):
            layer.train(rows)
    return layers


def mean_of(layers, name):
    return np.mean([getattr(layer, name) for layer in layers], axis=0)


BUILDS = [("ref", "v1"), ("resource", "v1"), ("resource", "v2")]


def is_possible(case):
    """Return whether TensorFlow can collect the updates of replicas that share a variable.

    It cannot from inside a branch.
    """
    strategy, layer, feeds_mode, _ = case
    return not (strategy is central_storage and feeds_mode and layer in (in_place, debiased))


@pytest.mark.parametrize(
    ("strategy", "layer", "feeds_mode", "build"),
    [
        *filter(is_possible, combinations(STRATEGIES, LAYERS, [False, True], BUILDS)),
        (mirrored, by_update_ops, True, BUILDS[2]),
        (mirrored, as_in_tf_layers, False, BUILDS[1]),
        (mirrored, debiased, True, BUILDS[1]),
    ],
)
def test_the_mean_over_replicas_is_saved(graph, tmp_path, strategy, layer, feeds_mode, build):
    with build_with(*build):
        built = Replicated(strategy(), layer, feeds_mode)
    steps = shards(3)
    for batch in steps[:2]:
        built.run(batch)
    if feeds_mode:
        built.run(steps[2], trains=False)
    layers = expected_after(steps[:2], built.replicas, zero_debias=layer is debiased)
    if feeds_mode:
        for outputs, reference, rows in zip(built.run(steps[2], False), layers, steps[2]):
            if strategy is not central_storage:  # there the replicas share one variable
                np.testing.assert_allclose(outputs, reference.infer(rows), rtol=1e-4, atol=1e-4)
    saved = built.saved(tmp_path)
    for name in ("moving_mean", "moving_variance"):
        held(NAMES[strategy], saved[name], mean_of(layers, name))
    assert bnguard.snapshot(built.session) == bnguard.snapshot(str(tmp_path / "model"))


def trained_on_replicas(**options):
    built = Replicated(mirrored(), by_update_ops, **options)
    (batch,) = shards(1)
    built.run(batch)
    return built, batch


def copies(built):
    """Return the bits of each replica's moving_mean and moving_variance."""
    names = [op.name for op in built.session.graph.get_operations() if op.type == "VarHandleOp"]
    reads = [f"{name}/Read/ReadVariableOp:0" for name in names if "/moving_" in name]
    assert len(reads) == 2 * REPLICAS
    return [np.array(value).tobytes() for value in built.session.run(reads)]


def test_a_snapshot_and_a_frozen_block_add_no_op_to_the_replicas_graph(graph):
    built, batch = trained_on_replicas()
    graph.finalize()
    layers = expected_after([batch], REPLICAS)
    with bnguard.frozen(built.session) as before:
        built.run(batch, trains=False)
    name = "BatchNorm/moving_mean"
    np.testing.assert_allclose(before[name], mean_of(layers, "moving_mean"), rtol=1e-5)
    assert before == bnguard.snapshot(built.session)
    with pytest.raises(bnguard.StatisticsChanged) as caught, bnguard.frozen(built.session):
        built.run(batch)
    names = ("BatchNorm/moving_mean", "BatchNorm/moving_variance")
    moved = [f"{name}{copy}" for name in names for copy in ("", "/replica_1")]
    assert [statistic.variable for statistic in caught.value.moved] == moved
    assert all(statistic.findings for statistic in caught.value.moved)
    with bnguard.must_move(built.session):
        built.run(batch)


def test_a_frozen_block_restores_each_replica_to_its_own_bits(graph):
    built, batch = trained_on_replicas()
    before = copies(built)
    assert len(set(before)) == 2 * REPLICAS
    with bnguard.frozen(built.session, on_change="restore"):
        built.run(-batch)
        assert copies(built) != before
    assert copies(built) == before


def test_opposite_changes_on_two_replicas_are_a_change(graph):
    """The means over replicas, which are saved, stay as they are."""
    built = Replicated(mirrored(), by_update_ops)
    batch = batches(SHAPE)[0]
    with pytest.raises(bnguard.StatisticsChanged) as caught, bnguard.frozen(built.session):
        built.run(np.stack([batch, -batch]))
    assert len(caught.value.moved) == 2 * REPLICAS


@pytest.mark.parametrize("estimator", ["population", "last"])
def test_statistics_are_estimated_over_all_replicas_and_assigned_to_each(graph, estimator):
    built, batch = trained_on_replicas()
    layers = expected_after([batch, batch], REPLICAS)
    bnguard.reestimate(built.session, [{built.x: batch}], estimator=estimator, progress=False)
    if estimator == "population":
        rows = batch.reshape(-1, SHAPE[1]).astype(np.float64)
        expected = {"moving_mean": rows.mean(0), "moving_variance": rows.var(0)}
    else:
        expected = {name: mean_of(layers, name) for name in ("moving_mean", "moving_variance")}
    found = bnguard.snapshot(built.session)
    for name, value in expected.items():
        np.testing.assert_allclose(found[f"BatchNorm/{name}"], value, rtol=1e-4)
    assert len(set(copies(built))) == 2


def test_a_checkpoint_of_replicas_is_rescued(graph, tmp_path):
    built, batch = trained_on_replicas()
    built.saved(tmp_path)
    data, model = str(tmp_path / "data.npz"), str(tmp_path / "model")
    np.savez(data, **{built.x.op.name: batch})
    result = CliRunner().invoke(commands.cli, ["reestimate", model, "--data", data])
    assert result.exit_code == 0, result.output
    found = bnguard.snapshot(f"{model}-reestimated")
    rows = batch.reshape(-1, SHAPE[1])
    np.testing.assert_allclose(found["BatchNorm/moving_mean"], rows.mean(0), rtol=1e-4)
    np.testing.assert_allclose(found["BatchNorm/moving_variance"], rows.var(0), rtol=1e-4)


def test_two_workers_save_the_mean_of_their_statistics(graph, tmp_path, monkeypatch):
    """Each worker has a graph and a server of its own, here in one process."""
    addresses = [f"localhost:{port}" for port in free_ports(2)]
    cluster = {"worker": addresses}
    (batch,) = shards(1)
    barrier = threading.Barrier(2)

    def strategy(index):
        task = {"type": "worker", "index": index}
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
        return tf.distribute.experimental.MultiWorkerMirroredStrategy()

    def work(index, strategy):
        config = strategy.update_config_proto(tf.ConfigProto())
        server = tf.train.Server(cluster, "worker", index, config=config)
        with tf.Graph().as_default():
            barrier.wait(60)
            built = Replicated(strategy, in_place, target=server.target, config=config)
            built.run(batch[[index] * REPLICAS])
            return built.saved(tmp_path / str(index)), bnguard.snapshot(built.session)

    with build_with("resource", "v1"), ThreadPoolExecutor(2) as threads:
        found = list(threads.map(work, range(2), map(strategy, range(2))))
    layers = expected_after([batch], 2)
    for (saved, snapshot), layer in zip(found, layers):
        for name in ("moving_mean", "moving_variance"):
            held("MultiWorkerMirroredStrategy", saved[name], mean_of(layers, name))
            np.testing.assert_allclose(
                snapshot[f"BatchNorm/{name}"], getattr(layer, name), rtol=1e-5
            )
