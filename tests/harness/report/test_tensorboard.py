"""The events of --logdir, read back as TensorBoard reads them."""

import dataclasses
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bnguard.errors import BnguardError
from bnguard.harness.report import tensorboard
from bnguard.runtime import event_files

pytestmark = pytest.mark.slow


def read(folder):
    """Tag and step to the value in a folder's only file of events."""
    (name,) = os.listdir(folder)
    return {
        (value.tag, event.step): value
        for event in tf.train.summary_iterator(os.path.join(folder, name))
        for value in event.summary.value
    }


@pytest.fixture
def logdir(run_case, tmp_path):
    """Events of both sides of the source's case, and their records."""
    records = [run_case("two_branch_cond", side) for side in ("repro", "fixed")]
    tensorboard.write(records, str(tmp_path))
    return tmp_path, {record.side: record for record in records}


@pytest.mark.parametrize("side", ["repro", "fixed"])
def test_training_and_both_passes_are_runs(logdir, side):
    folder, records = logdir
    case = folder / "two_branch_cond" / side
    assert sorted(os.listdir(str(case))) == ["restored session", "trained session", "training"]
    training = read(str(case / "training"))
    for step, run in enumerate(records[side].training, start=1):
        mean = run.layers["bn"].statistics.mean
        assert training["bn/moving_mean/min", step].simple_value == pytest.approx(mean.min())
    assert training["bn/moving_variance/mean", 0].simple_value == 1
    for inference in records[side].passes:
        values = read(str(case / f"{inference.session} session"))
        for step, inferred in enumerate(inference.steps, start=101):
            variance = inferred.moving_variance
            found = values["bn/moving_variance/max", step].simple_value
            assert found == pytest.approx(variance.max())
            histogram = values["bn/moving_variance/histogram", step].histo
            assert (histogram.num, histogram.max) == (2, pytest.approx(variance.max()))


def test_drift_shows_on_one_side_only(logdir):
    folder, _ = logdir
    moved = {}
    for side in ("repro", "fixed"):
        values = read(str(folder / "two_branch_cond" / side / "restored session"))
        means = [
            value.simple_value for (tag, _), value in values.items() if tag.endswith("mean/max")
        ]
        moved[side] = np.ptp(means) > 0
    assert moved == {"repro": True, "fixed": False}


def test_a_record_without_passes_has_its_training(run_case, tmp_path):
    record = run_case("update_ops_pull_other_inputs", "repro", train_steps=3, infer_steps=2)
    tensorboard.write([record], str(tmp_path))
    folder = tmp_path / "update_ops_pull_other_inputs" / "repro"
    assert os.listdir(str(folder)) == ["training"]
    assert {step for _, step in read(str(folder / "training"))} == {0}


def test_a_statistic_that_became_nan_is_written(run_case, tmp_path):
    record = run_case("two_branch_cond", "repro", train_steps=3, infer_steps=2)
    last = record.training[-1].layers["bn"]
    broken = last.statistics._replace(mean=np.array([np.nan, 1.0]))
    broken = dataclasses.replace(last, statistics=broken)
    run = dataclasses.replace(record.training[-1], layers={"bn": broken})
    record = dataclasses.replace(record, training=(*record.training[:-1], run))
    tensorboard.write([record], str(tmp_path))
    values = read(str(tmp_path / "two_branch_cond" / "repro" / "training"))
    lost = {step: values["bn/moving_mean/non_finite", step].simple_value for step in range(4)}
    assert lost == {0: 0, 1: 0, 2: 0, 3: 1}


def test_a_folder_that_cannot_be_written_is_reported(run_case, tmp_path):
    record = run_case("two_branch_cond", "repro", train_steps=3, infer_steps=2)
    (tmp_path / "two_branch_cond").write_text("in the way")
    with pytest.raises(BnguardError, match=r"--logdir .*/training: cannot be written"):
        tensorboard.write([record], str(tmp_path))


def test_a_folder_that_cannot_be_created_is_reported_before_the_run(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BnguardError, match=r"--logdir .*/file/logs: cannot be written"):
        event_files.check_folder(str(tmp_path / "file" / "logs"))


def test_a_file_begins_like_one_of_a_file_writer(run_case, tmp_path):
    record = run_case("two_branch_cond", "repro", train_steps=3, infer_steps=2)
    tensorboard.write([record], str(tmp_path))
    folder = str(tmp_path / "two_branch_cond" / "repro" / "training")
    (name,) = os.listdir(folder)
    assert "tfevents" in name
    first = next(tf.train.summary_iterator(os.path.join(folder, name)))
    with tf.Graph().as_default(), tf.summary.FileWriter(str(tmp_path / "its")) as its:
        its.add_summary(tf.Summary(), 0)
    (its,) = os.listdir(str(tmp_path / "its"))
    path = os.path.join(str(tmp_path / "its"), its)
    assert first.file_version == next(tf.train.summary_iterator(path)).file_version
    assert name.split(".")[:3] == its.split(".")[:3]
