"""The pipeline of Apache Beam gives the checkpoint of one run."""

import importlib.util
import os

import numpy as np
import pytest
from support.layers.layer_kinds import SHAPES, contrib, moments, rows
from support.paths import ROOT
import tensorflow.compat.v1 as tf

from bnguard import checkpoint_reader
from bnguard.reestimation.rescue import Job

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("apache_beam") is None, reason="Apache Beam is not installed"
    ),
]


def test_the_direct_runner_writes_the_statistics_of_all_data(tmp_path, graph):
    path = os.path.join(ROOT, "examples", "beam_reestimate.py")
    spec = importlib.util.spec_from_file_location("beam_reestimate", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    contrib(SHAPES[2], fused=False)()
    data = rows(SHAPES[2], 50)
    np.savez(tmp_path / "data.npz", x=data)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        prefix = tf.train.Saver().save(session, str(tmp_path / "model"))
    output = str(tmp_path / "new")
    job = Job(prefix, data=str(tmp_path / "data.npz"), output=output, batch_size=7)
    example.run(job, 3, [])
    values = checkpoint_reader.read(output)
    np.testing.assert_allclose(values["bn/moving_mean"], moments(data)[0], 1e-6)
    np.testing.assert_allclose(values["bn/moving_variance"], moments(data)[1], 1e-6)
