"""A checkpoint that cannot be read or written is one line of error, and nothing is lost."""

from contextlib import suppress
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from support.checkpoints import checkpoint_damage as damage
import tensorflow.compat.v1 as tf

from bnguard import checkpoint_reader
from bnguard.errors import BnguardError
from bnguard.harness.run import checkpoint_writer

pytestmark = pytest.mark.slow


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
    values = checkpoint_reader.read(saved)
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
def test_a_prefix_a_file_and_a_directory_name_the_same_checkpoint(saved, spelling):
    path = spelling.format(prefix=saved, folder=os.path.dirname(saved))
    assert checkpoint_reader.resolve(path) == saved


def test_a_checkpoint_may_have_the_name_of_a_keras_file(saved):
    for part in damage.parts(saved):
        shutil.move(part, part.replace("model.ckpt", "model.h5"))
    named = saved.replace("model.ckpt", "model.h5")
    assert checkpoint_reader.resolve(named) == named
    assert sorted(checkpoint_reader.read(named)) == ["v", "w"]


def test_a_checkpoint_of_the_first_format_is_read(tmp_path):
    with tf.Graph().as_default(), tf.Session() as session:
        tf.get_variable("v", initializer=[1.0, 2.0])
        session.run(tf.global_variables_initializer())
        saver = tf.train.Saver(write_version=tf.train.SaverDef.V1)
        path = saver.save(session, str(tmp_path / "model.ckpt"))
    np.testing.assert_array_equal(checkpoint_reader.read(path)["v"], [1, 2])


@pytest.mark.slow
def test_no_deprecation_warning_is_printed(saved):
    """A warning of TensorFlow's own log, which names our line, is the user's to wonder at."""
    code = (
        "import sys; from bnguard import checkpoint_reader; "
        "print(checkpoint_reader.names(sys.argv[1]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, saved],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "['v', 'w']\n"
    assert "deprecated" not in result.stderr


@pytest.mark.parametrize("ending", [".index", ".data-00000-of-00001"])
@pytest.mark.parametrize("kept", [0, 5])
def test_a_truncated_file_is_reported(saved, ending, kept):
    with open(saved + ending, "r+b") as file:
        file.truncate(kept)
    assert_says(
        lambda: checkpoint_reader.read(saved), saved, "cannot be read", "expected an intact .index"
    )


@pytest.mark.parametrize("ending", [".index", ".data-00000-of-00001"])
def test_a_flipped_bit_is_reported(saved, ending):
    with open(saved + ending, "r+b") as file:
        content = bytearray(file.read())
        content[2] ^= 1
        file.seek(0)
        file.write(content)
    assert_says(lambda: checkpoint_reader.read(saved), saved, "cannot be read")


def test_a_missing_shard_is_reported(saved):
    os.remove(saved + ".data-00000-of-00001")
    assert_says(lambda: checkpoint_reader.read(saved), saved, "no checkpoint found|cannot be read")


def test_a_missing_checkpoint_is_reported(tmp_path):
    prefix = str(tmp_path / "none")
    assert_says(
        lambda: checkpoint_reader.resolve(prefix), prefix, "no checkpoint found", "Saver.save"
    )


def test_a_folder_without_a_checkpoint_is_reported(tmp_path):
    folder = str(tmp_path)
    assert_says(
        lambda: checkpoint_reader.resolve(folder), folder, "no checkpoint found", "Give the prefix"
    )


@pytest.mark.parametrize("ending", [".index", ".data-00000-of-00001"])
def test_no_damage_changes_what_is_read(saved, ending):
    """Some bytes are padding; all others have a checksum. Every bit: tools/fault_injection.py."""
    assert damage.sweep(saved, ending, stride=29)["missed"] == 0


@pytest.fixture
def sharded(tmp_path):
    """The prefix of a checkpoint in two shards."""
    with tf.Graph().as_default(), tf.Session(config=two_devices()) as session:
        for number in range(2):
            with tf.device(f"/cpu:{number}"):
                tf.get_variable(f"v{number}", initializer=np.full(3, number, np.float32))
        session.run(tf.global_variables_initializer())
        return tf.train.Saver(sharded=True).save(session, str(tmp_path / "model.ckpt"))


def two_devices():
    return tf.ConfigProto(device_count={"CPU": 2})


def test_a_sharded_checkpoint_is_read_and_a_missing_shard_is_reported(sharded):
    shards = [f"{sharded}.data-0000{number}-of-00002" for number in range(2)]
    assert sorted(damage.parts(sharded)) == sorted([*shards, sharded + ".index", sharded + ".meta"])
    assert checkpoint_reader.resolve(shards[1]) == sharded
    np.testing.assert_array_equal(checkpoint_reader.read(sharded)["v1"], [1, 1, 1])
    os.remove(shards[1])
    assert_says(
        lambda: checkpoint_reader.read(sharded), sharded, "cannot be read", "all its .data shards"
    )


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ('model_checkpoint_path: "gone.ckpt"', "names .*gone.ckpt, which is not in this"),
        ('model_checkpoint_path: "/gone/away.ckpt"', "names /gone/away.ckpt, which is not in"),
        ('model_checkpoint_path: "../outside/model.ckpt"', "outside/model.ckpt, which is not in"),
        ('model_checkpoint_path: ""', "it names none"),
        ("", "it names none"),
        ("\x7fELF garbage", "it names none"),
        (b"\xff\xfe\x00", "it names none"),
    ],
)
def test_a_checkpoint_file_without_a_checkpoint_in_its_directory_is_reported(
    saved, tmp_path, text, seen
):
    """Outside, there is one by the name that it gives: it is not read."""
    outside, folder = tmp_path / "outside", tmp_path / "runs"
    move(saved, outside)
    point_from(folder, text)
    assert checkpoint_reader.read(str(outside / "model.ckpt"))
    assert_says(
        lambda: checkpoint_reader.resolve(str(folder)), str(folder), "no checkpoint found", seen
    )


def test_a_moved_directory_names_its_own_checkpoint(saved, tmp_path):
    """Saver wrote an absolute path; another checkpoint is now where it leads."""
    folder = os.path.dirname(saved)
    with open(os.path.join(folder, "checkpoint"), encoding="utf-8") as file:
        assert saved in file.read()
    moved = str(tmp_path / "moved")
    shutil.copytree(folder, moved)
    assert checkpoint_reader.resolve(folder) == saved
    assert checkpoint_reader.resolve(moved) == os.path.join(moved, "model.ckpt")
    for part in damage.parts(saved):
        os.remove(part)
    np.testing.assert_array_equal(checkpoint_reader.read(moved)["v"], [1, 2, 3])


def test_a_directory_whose_name_is_a_prefix_of_another_is_a_different_one(saved, tmp_path):
    """`runs` is not `runs-of-others`, though one name begins with the other."""
    folder, outside = tmp_path / "runs", tmp_path / "runs-of-others"
    move(saved, outside)
    point_from(folder, f'model_checkpoint_path: "{outside}/model.ckpt"')
    assert_says(lambda: checkpoint_reader.resolve(str(folder)), "which is not in this directory")


def test_a_link_that_leads_out_of_the_directory_is_not_followed(saved, tmp_path):
    folder, outside = tmp_path / "runs", tmp_path / "outside"
    move(saved, outside)
    point_from(folder, 'model_checkpoint_path: "link/model.ckpt"')
    (folder / "link").symlink_to(outside)
    assert_says(lambda: checkpoint_reader.resolve(str(folder)), "which is not in this directory")


def move(prefix, folder):
    """Move a checkpoint into a new folder."""
    folder.mkdir()
    for part in damage.parts(prefix):
        shutil.move(part, str(folder))


def point_from(folder, text):
    """Make a folder whose `checkpoint` file is this."""
    folder.mkdir()
    content = text if isinstance(text, bytes) else text.encode()
    (folder / "checkpoint").write_bytes(content)


def test_a_directory_by_another_name_is_the_same(saved, tmp_path):
    link = str(tmp_path / "link")
    os.symlink(os.path.dirname(saved), link)
    np.testing.assert_array_equal(checkpoint_reader.read(link)["v"], [1, 2, 3])


def test_verify_accepts_the_same_model(saved):
    checkpoint_reader.verify(saved, variables(v=np.zeros(3, np.float32)))


def test_verify_names_missing_and_stored_variables(saved):
    wanted = variables(v=np.zeros(3, np.float32), bn=np.zeros(3, np.float32))
    assert_says(lambda: checkpoint_reader.verify(saved, wanted), "has no bn", "it has v, w")


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
    assert_says(lambda: checkpoint_reader.verify(saved, variables(v=value)), "v has shape " + seen)


def test_every_run_gets_a_folder_of_its_own(tmp_path):
    parent = str(tmp_path / "case" / "repro")
    folders = [checkpoint_writer.claim_folder(parent) for _ in range(3)]
    assert [os.path.basename(folder) for folder in folders] == ["run-1", "run-2", "run-3"]


def test_a_folder_taken_meanwhile_is_not_shared(tmp_path, monkeypatch):
    os.mkdir(str(tmp_path / "run-1"))
    monkeypatch.setattr(os, "listdir", lambda path: [])  # as it was before the other run's mkdir
    assert os.path.basename(checkpoint_writer.claim_folder(str(tmp_path))) == "run-2"


def test_other_folders_are_left_alone(tmp_path):
    for name in ("run-7", "run-x", "run-²", "run-", "reference"):
        os.mkdir(str(tmp_path / name))
    assert os.path.basename(checkpoint_writer.claim_folder(str(tmp_path))) == "run-8"


def test_an_unwritable_parent_is_reported(tmp_path):
    occupied = tmp_path / "file"
    occupied.write_text("not a folder")
    parent = str(occupied / "runs")
    assert_says(
        lambda: checkpoint_writer.claim_folder(parent), parent, "cannot save", "--checkpoint-dir"
    )


def test_a_failed_save_leaves_the_previous_checkpoint_usable(saved):
    """The next save, in the same folder, finds something in the way of its index file."""
    prefix = os.path.join(os.path.dirname(saved), "next.ckpt")
    os.mkdir(prefix + ".index")
    with tf.Graph().as_default(), tf.Session() as session:
        tf.get_variable("v", initializer=np.array([9, 9, 9], np.float32))
        session.run(tf.global_variables_initializer())
        saver = tf.train.Saver()
        assert_says(
            lambda: checkpoint_writer.save(session, saver, prefix), "earlier checkpoints are"
        )
    assert checkpoint_reader.resolve(os.path.dirname(saved)) == saved
    np.testing.assert_array_equal(checkpoint_reader.read(saved)["v"], [1, 2, 3])


def test_a_missing_folder_is_reported(tmp_path):
    with tf.Graph().as_default(), tf.Session() as session:
        tf.get_variable("v", initializer=np.zeros(1, np.float32))
        session.run(tf.global_variables_initializer())
        saver = tf.train.Saver()
        prefix = str(tmp_path / "gone" / "model.ckpt")
        (tmp_path / "gone").write_text("a file where the folder was")
        assert_says(
            lambda: checkpoint_writer.save(session, saver, prefix), "cannot save a checkpoint"
        )


def assert_says(action, *fragments):
    """The action fails with a one-line message that holds every fragment, a regex each."""
    with pytest.raises(BnguardError) as caught:
        action()
    assert len(str(caught.value).splitlines()) == 1
    for fragment in fragments:
        assert caught.match(fragment)


@pytest.mark.parametrize("name", ["a[b]", "a*", "a?", "a\\b"])
def test_a_name_that_is_a_pattern_is_refused_before_anything_is_saved(tmp_path, name):
    for function in (checkpoint_writer.claim_folder, checkpoint_reader.resolve):
        with pytest.raises(BnguardError, match="would save a checkpoint there and not find it"):
            function(str(tmp_path / name))
    assert os.listdir(str(tmp_path)) == []


def test_a_name_that_is_not_utf_8_is_refused_before_anything_is_saved(tmp_path):
    for function in (checkpoint_writer.claim_folder, checkpoint_reader.resolve):
        with pytest.raises(BnguardError, match="needs paths in UTF-8"):
            function(str(tmp_path / os.fsdecode(b"x\xff")))
    assert os.listdir(str(tmp_path)) == []


NUMBERS = "bool complex64 complex128 float16 float32 float64 int8 int16 int32 int64 uint8 uint16"
IN_THE_FIRST_FORMAT = NUMBERS.replace(" uint16", "")


def every_type(names):
    """Make variables of many types and shapes, whole, in slices, and of text."""
    random = np.random.RandomState(0)
    for name in names.split():
        for shape in ([], [3], [2, 0], [2, 3, 4]):
            value = np.asarray(random.rand(*shape) * 100 - 50 * (name[0] != "u")).astype(name)
            tf.get_variable(f"{name}{len(shape)}", initializer=tf.constant(value, name, shape))
    for name, texts in (("one", "text"), ("texts", [["", "b" * 300], ["c", "é"]])):
        tf.get_variable(name, initializer=tf.constant(texts, tf.string))


def in_slices():
    """Make variables that are saved in slices; TensorFlow reads none in the first format."""
    for axis in (0, 1):
        partitioner = tf.fixed_size_partitioner(3, axis=axis)
        with tf.variable_scope(f"in_slices{axis}", partitioner=partitioner):
            tf.get_variable("weights", [7, 8, 2], initializer=tf.random_normal_initializer(seed=1))
            tf.get_variable("doubles", [4, 8], tf.float64, tf.ones_initializer())


@pytest.mark.parametrize("version", [1, 2], ids=["first format", "bundle"])
def test_values_are_those_that_tensorflow_reads(version, tmp_path):
    """Every type, shape and slice; names of 200 letters make blocks with prefixes."""
    with tf.Graph().as_default(), tf.Session() as session:
        with tf.variable_scope("a_long_scope" * 16):
            every_type(NUMBERS if version == 2 else IN_THE_FIRST_FORMAT)
            if version == 2:
                in_slices()
                tf.get_variable("bfloat16", [3], tf.bfloat16, tf.ones_initializer())
        session.run(tf.global_variables_initializer())
        saver = tf.train.Saver(write_version=version)
        prefix = saver.save(session, str(tmp_path / "model.ckpt"))
    reader = tf.train.load_checkpoint(prefix)
    dtypes = reader.get_variable_to_dtype_map()
    expected = {}
    for name, shape in reader.get_variable_to_shape_map().items():
        if 0 in shape:  # of which TensorFlow 1.15 dies
            expected[name] = np.zeros(shape, dtypes[name].as_numpy_dtype)
            continue
        with suppress(tf.errors.UnimplementedError):  # in 1.15, for a type in the first format
            expected[name] = reader.get_tensor(name)
    values = checkpoint_reader.read(prefix)
    assert len(values) == len(reader.get_variable_to_shape_map())
    assert len(values) >= len(expected) > 30
    for name, value in expected.items():
        if isinstance(value, bytes):
            assert values[name] == value
            continue
        assert values[name].dtype == np.asarray(value).dtype, name
        assert values[name].shape == np.shape(value), name
        np.testing.assert_array_equal(values[name], value, name)
    checkpoint_reader.Checkpoint(prefix).check_restorable(list(expected))


def test_very_many_tensors_of_one_size_are_verified_together(tmp_path):
    with tf.Graph().as_default(), tf.Session() as session:
        for number in range(100):
            tf.get_variable(f"v{number:03}", initializer=np.full(5, number, np.float32))
        session.run(tf.global_variables_initializer())
        prefix = tf.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    assert [value[0] for value in checkpoint_reader.read(prefix).values()] == list(range(100))
    path = f"{prefix}.data-00000-of-00001"
    with open(path, "rb") as file:
        content = bytearray(file.read())
    content[20 * 42 + 3] ^= 16
    with open(path, "wb") as file:
        file.write(content)
    assert_says(lambda: checkpoint_reader.read(prefix), "the checksum of v042 is wrong")


def test_a_damaged_first_format_is_reported(tmp_path):
    with tf.Graph().as_default(), tf.Session() as session:
        tf.get_variable("v", initializer=[1.0, 2.0])
        session.run(tf.global_variables_initializer())
        saver = tf.train.Saver(write_version=tf.train.SaverDef.V1)
        path = saver.save(session, str(tmp_path / "model.ckpt"))
    with open(path, "rb") as file:
        content = file.read()
    for bit in range(0, 8 * (len(content) - 100), 5):  # of the block with names and values
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        with open(path, "wb") as file:
            file.write(damaged)
        assert_says(lambda: checkpoint_reader.read(path), "checksum of a block is wrong")
