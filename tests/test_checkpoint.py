"""Checkpoints: what is wrong is said in one line, and nothing that was there is lost."""

import os

from bnguard import checkpoint
from bnguard.errors import BnguardError
import numpy as np
import pytest
import tensorflow.compat.v1 as tf


@pytest.fixture
def saved(tmp_path):
    """The prefix of a checkpoint that holds v = [1, 2, 3] and w = [[7]]."""
    with tf.Graph().as_default(), tf.Session() as session:
        tf.get_variable("v", initializer=np.array([1, 2, 3], np.float32))
        tf.get_variable("w", initializer=np.array([[7]], np.float32))
        session.run(tf.global_variables_initializer())
        return tf.train.Saver().save(session, str(tmp_path / "model.ckpt"))


def variables(**values):
    with tf.Graph().as_default():
        return [tf.get_variable(name, initializer=value) for name, value in values.items()]


def test_read_gives_every_tensor(saved):
    values = checkpoint.read(saved)
    assert sorted(values) == ["v", "w"]
    np.testing.assert_array_equal(values["v"], [1, 2, 3])


@pytest.mark.parametrize(
    "spelling",
    [
        "{prefix}",
        "{prefix}.index",
        "{prefix}.meta",
        "{prefix}.data-00000-of-00001",
        "{folder}",
    ],
)
def test_a_checkpoint_has_several_spellings(saved, spelling):
    path = spelling.format(prefix=saved, folder=os.path.dirname(saved))
    assert checkpoint.resolve(path) == saved


@pytest.mark.parametrize("ending", [".index", ".data-00000-of-00001"])
@pytest.mark.parametrize("kept", [0, 5])
def test_a_truncated_file_is_reported(saved, ending, kept):
    with open(saved + ending, "r+b") as file:
        file.truncate(kept)
    assert_says(
        lambda: checkpoint.read(saved), saved, "cannot be read", "expected an intact .index"
    )


@pytest.mark.parametrize("ending", [".index", ".data-00000-of-00001"])
def test_a_flipped_bit_is_reported(saved, ending):
    with open(saved + ending, "r+b") as file:
        content = bytearray(file.read())
        content[2] ^= 1
        file.seek(0)
        file.write(content)
    assert_says(lambda: checkpoint.read(saved), saved, "cannot be read")


def test_a_missing_shard_is_reported(saved):
    os.remove(saved + ".data-00000-of-00001")
    assert_says(lambda: checkpoint.read(saved), saved, "no checkpoint found|cannot be read")


def test_a_missing_checkpoint_is_reported(tmp_path):
    prefix = str(tmp_path / "none")
    assert_says(lambda: checkpoint.resolve(prefix), prefix, "no checkpoint found", "Saver.save")


def test_a_folder_without_one_is_reported(tmp_path):
    folder = str(tmp_path)
    assert_says(
        lambda: checkpoint.resolve(folder), folder, "no checkpoint found", "Give the prefix"
    )


def test_verify_accepts_the_same_model(saved):
    checkpoint.verify(saved, variables(v=np.zeros(3, np.float32)))


def test_verify_names_what_is_missing_and_what_is_there(saved):
    wanted = variables(v=np.zeros(3, np.float32), bn=np.zeros(3, np.float32))
    assert_says(lambda: checkpoint.verify(saved, wanted), "has no bn", "it holds v, w")


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (np.zeros(4, np.float32), r"\(3,\) and dtype float32 in the checkpoint, \(4,\)"),
        (
            np.zeros(3, np.float64),
            r"\(3,\) and dtype float32 in the checkpoint, \(3,\) and float64",
        ),
    ],
)
def test_verify_names_both_shapes_and_dtypes(saved, value, seen):
    assert_says(lambda: checkpoint.verify(saved, variables(v=value)), "v has shape " + seen)


def test_every_run_gets_a_folder_of_its_own(tmp_path):
    parent = str(tmp_path / "case" / "repro")
    folders = [checkpoint.claim_folder(parent) for _ in range(3)]
    assert [os.path.basename(folder) for folder in folders] == ["run-1", "run-2", "run-3"]


def test_a_folder_taken_meanwhile_is_not_shared(tmp_path, monkeypatch):
    os.mkdir(str(tmp_path / "run-1"))
    monkeypatch.setattr(os, "listdir", lambda path: [])  # as it was before the other run's mkdir
    assert os.path.basename(checkpoint.claim_folder(str(tmp_path))) == "run-2"


def test_folders_of_others_are_left_alone(tmp_path):
    for name in ("run-7", "run-x", "reference"):
        os.mkdir(str(tmp_path / name))
    assert os.path.basename(checkpoint.claim_folder(str(tmp_path))) == "run-8"


def test_an_unwritable_parent_is_reported(tmp_path):
    occupied = tmp_path / "file"
    occupied.write_text("not a folder")
    parent = str(occupied / "runs")
    assert_says(lambda: checkpoint.claim_folder(parent), parent, "cannot save", "--checkpoint-dir")


def test_a_failed_save_leaves_the_previous_checkpoint_usable(saved):
    """The next save, in the same folder, finds something in the way of its index file."""
    prefix = os.path.join(os.path.dirname(saved), "next.ckpt")
    os.mkdir(prefix + ".index")
    with tf.Graph().as_default(), tf.Session() as session:
        tf.get_variable("v", initializer=np.array([9, 9, 9], np.float32))
        session.run(tf.global_variables_initializer())
        saver = tf.train.Saver()
        assert_says(lambda: checkpoint.save(session, saver, prefix), "earlier checkpoints are")
    assert checkpoint.resolve(os.path.dirname(saved)) == saved
    np.testing.assert_array_equal(checkpoint.read(saved)["v"], [1, 2, 3])


def test_a_folder_that_is_gone_is_reported(tmp_path):
    with tf.Graph().as_default(), tf.Session() as session:
        tf.get_variable("v", initializer=np.zeros(1, np.float32))
        session.run(tf.global_variables_initializer())
        saver = tf.train.Saver()
        prefix = str(tmp_path / "gone" / "model.ckpt")
        (tmp_path / "gone").write_text("a file where the folder was")
        assert_says(lambda: checkpoint.save(session, saver, prefix), "cannot save a checkpoint")


def assert_says(action, *fragments):
    """The action fails with a one-line message that holds every fragment, a regex each."""
    with pytest.raises(BnguardError) as caught:
        action()
    assert len(str(caught.value).splitlines()) == 1
    for fragment in fragments:
        assert caught.match(fragment)


@pytest.mark.parametrize("name", ["a[b]", "a*", "a?", "a\\b"])
def test_a_name_that_is_a_pattern_is_refused_before_anything_is_saved(tmp_path, name):
    for function in (checkpoint.claim_folder, checkpoint.resolve):
        with pytest.raises(BnguardError, match="would save a checkpoint there and not find it"):
            function(str(tmp_path / name))
    assert os.listdir(str(tmp_path)) == []
