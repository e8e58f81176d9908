"""What a timeline says of each step and layer, against a session that runs the step."""

import glob
import lzma
import os

import numpy as np
import pytest
from support.analysis.networks import dense, flag, fresh_graph, inputs, layer, loss_of, optimizer
from support.paths import ROOT
from support.samples import combinations
import tensorflow.compat.v1 as tf

from bnguard.analysis.api import AuditOptions, audit_all

pytestmark = pytest.mark.slow

# In this order in the network, which is neither that of their names nor that of the letters.
MODES = {"c_flag": None, "a_trains": True, "d_collected": None, "b_frozen": False}
COLLECTED = {"d_collected"}  # its updates are run by nobody
BATCH = np.random.RandomState(0).normal(3.0, 2.0, [8, 4])


def network():
    """Four layers, one after the other; each one's output is a fetch of its own."""
    x, training = inputs(), flag()
    y, outputs = x, {}
    for scope, mode in MODES.items():
        options = {} if scope in COLLECTED else {"updates_collections": None}
        y = layer(dense(y, scope), training if mode is None else mode, scope=scope, **options)
        outputs[scope] = y = tf.identity(tf.tanh(y), name=f"{scope}_output")
    optimizer().minimize(loss_of(y), name="train_op")
    return x, training, outputs


def timeline(graph, fetch="", training=False, train_op="train_op"):
    fetches, feeds = ((fetch,), {"is_training": training, "x": None}) if fetch else ((), None)
    options = AuditOptions(fetches=fetches, feeds=feeds, train_op=(train_op,))
    (report,) = audit_all(graph, options, with_timeline=True)
    return report.timeline


class Observed:
    """What a session sees of the layers' statistics."""

    def __init__(self, session):
        self.session = session
        self.statistics = {
            scope: [v for v in tf.global_variables(scope) if "moving_" in v.op.name]
            for scope in MODES
        }
        self.values = {v: session.run(v) for v in tf.global_variables()}

    def run(self, fetch, feed, changed=()):
        """The value of a fetch with all variables as at first, `changed` ones by a factor."""
        for variable, value in self.values.items():
            variable.load(value * 1.5 + 0.5 if variable in changed else value, self.session)
        return self.session.run(fetch, feed)

    def written(self, fetch, feed):
        """The scopes of the layers of which a step moves a statistic."""
        self.run(fetch, feed)
        return {
            scope
            for scope, statistics in self.statistics.items()
            if any((self.session.run(v) != self.values[v]).any() for v in statistics)
        }

    def read(self, fetch, feed):
        """The scopes of the layers on whose statistics the fetched value depends."""
        value = self.run(fetch, feed)
        return {
            scope
            for scope, statistics in self.statistics.items()
            if (self.run(fetch, feed, statistics) != value).any()
        }


@pytest.mark.parametrize(
    ("variables", "control_flow"), combinations(("ref", "resource"), ("v1", "v2"))
)
def test_cells_are_what_a_session_sees(variables, control_flow):
    with fresh_graph(variables, control_flow) as graph, tf.Session() as session:
        x, training, outputs = network()
        session.run(tf.global_variables_initializer())
        observed = Observed(session)
        for fetch in (outputs["c_flag"], outputs["b_frozen"]):
            for is_training in (True, False):
                feed = {x: BATCH, training: is_training}
                found = timeline(graph, fetch.name, is_training)
                assert found.layers == tuple(MODES)
                (step,) = (step for step in found.steps if step.kind == "infers")
                uses = dict(zip(found.layers, step.uses))
                assert {s for s in uses if uses[s].written} == observed.written(fetch, feed)
                assert {s for s in uses if uses[s].read} == observed.read(fetch, feed)
                whole, first = observed.run(fetch, feed), {x: BATCH[:1], training: is_training}
                depends = not np.allclose(whole[:1], observed.run(fetch, first), atol=1e-4)
                assert any(use.uses_batch_moments for use in step.uses) is depends
                assert all(use.certain and not use.unordered for use in step.uses)
        (step, *_) = found.steps
        assert step.kind == "trains"
        feed = {x: BATCH, "label:0": BATCH, training: True}
        assert {
            scope for scope, use in zip(found.layers, step.uses) if use.written
        } == observed.written("train_op", feed)
        assert [use.uses_batch_moments for use in step.uses] == [True, True, True, False]
        assert not any(use.unordered for use in step.uses)


def test_a_use_has_its_path_and_line():
    with fresh_graph() as graph:
        network()
        found = timeline(graph, "a_trains_output:0")
    (step,) = (step for step in found.steps if step.kind == "infers")
    use = step.uses[1]
    assert use.path[0] == ("a_trains_output", "Identity")
    assert use.path[-1].type == "AssignSub"
    assert use.path[-1].name.startswith("a_trains")
    assert [frame.function for frame in use.location.stack][-2:] == ["network", "layer"]
    assert step.uses[2] == step.uses[3] == type(use)()
    longest = max(found.steps[0].uses, key=lambda use: use.left_out)
    assert longest.left_out
    assert len(longest.path) == 6


def test_the_layers_of_a_saved_network_are_in_its_order(tmp_path):
    """ResNet v2 50: units of 3, 4, 6 and 3 in four blocks, and a last normalization."""
    (name,) = glob.glob(os.path.join(ROOT, "tests/data/networks/resnet_v2_50-two_branch*"))
    path = tmp_path / "model.meta"
    with lzma.open(name) as file:
        path.write_bytes(file.read())
    (report,) = audit_all(str(path), AuditOptions(), with_timeline=True)
    layers = [layer.split("resnet_v2_50/")[1] for layer in report.timeline.layers]
    units = [
        f"block{block}/unit_{unit}/bottleneck_v2/{part}"
        for block, number in enumerate((3, 4, 6, 3), start=1)
        for unit in range(1, number + 1)
        for part in ("preact", "conv1/BatchNorm", "conv2/BatchNorm")
    ]
    assert layers == [*units, "postnorm"]
    infers = [step for step in report.timeline.steps if step.kind == "infers"]
    assert all(len(use.unordered) == 2 for step in infers for use in step.uses)


def test_without_being_asked_there_is_no_timeline():
    with fresh_graph() as graph:
        network()
        (report,) = audit_all(graph, AuditOptions())
    assert report.timeline == ((), ())
