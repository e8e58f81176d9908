"""Checkpoints without TensorFlow: what TensorFlow reads from them, or one line why not."""

import os
import shutil

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from support.checkpoints.handmade_checkpoints import block, footed, table, trailed, varint
import tensorflow.compat.v1 as tf

from bnguard.analysis.checkpoints.stored_checkpoint import read_checkpoint
from bnguard.analysis.errors import AuditError

pytestmark = pytest.mark.slow

LONG = "a_scope_of_a_name_that_is_long/" * 8


def save(prefix, make, **options):
    """A checkpoint of the variables that `make` creates."""
    with tf.Graph().as_default(), tf.Session() as session:
        make()
        session.run(tf.global_variables_initializer())
        return tf.train.Saver(**options).save(session, str(prefix), write_meta_graph=False)


def many():
    for number in range(25):
        for name in ("moving_mean", "moving_variance", "gamma", "beta"):
            tf.get_variable(f"{LONG}{number:03}/{name}", [], initializer=tf.zeros_initializer())


def partitioned():
    with tf.variable_scope("net", partitioner=tf.fixed_size_partitioner(3)):
        tf.get_variable("weights", [7, 2])
    tf.get_variable("net/moving_mean", [2])


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    def make():
        for name in ("net/moving_mean", "net/moving_variance", "net/gamma"):
            tf.get_variable(name, [2])

    return save(tmp_path_factory.mktemp("small") / "model.ckpt", make)


@pytest.mark.sampled
@pytest.mark.parametrize("sharded", [False, True], ids=["one file", "sharded"])
@pytest.mark.parametrize("make", [many, partitioned])
def test_all_that_tensorflow_lists(make, sharded, tmp_path):
    prefix = save(tmp_path / "model.ckpt", make, sharded=sharded)
    names = {name for name, _ in tf.train.list_variables(prefix)}
    assert read_checkpoint(prefix).names == names
    assert read_checkpoint(f"{prefix}.index").names == names
    assert len(names) == {many: 100, partitioned: 2}[make]


def test_objects_are_named_by_their_variables(tmp_path):
    with tf.Graph().as_default(), tf.Session() as session:
        mean, scale = (tf.get_variable(f"net/{name}", [2]) for name in ("moving_mean", "gamma"))
        session.run(tf.global_variables_initializer())
        saver = tf.train.Checkpoint(first=mean, second=scale)
        prefix = saver.save(str(tmp_path / "model"), session=session)
    assert {"net/moving_mean", "net/gamma"} <= read_checkpoint(prefix).names


def scalars():
    for dtype in (tf.int64, tf.int32, tf.float32, tf.float64, tf.float16, tf.uint8):
        tf.get_variable(dtype.name, [], dtype, initializer=tf.constant_initializer(3))
    tf.get_variable("flag", initializer=True)
    tf.get_variable("one", initializer=[True])
    tf.get_variable("equal", initializer=[[0.5, 0.5], [0.5, 0.5]])


def different():
    tf.get_variable("different", initializer=[1, 2])
    tf.get_variable("text", initializer="text")
    tf.get_variable("bfloat16", [], tf.bfloat16, initializer=tf.zeros_initializer())
    tf.get_variable("many", [10_000], initializer=tf.zeros_initializer())
    tf.get_variable("empty", [0], initializer=tf.zeros_initializer())


class TestValues:
    @pytest.mark.parametrize("sharded", [False, True], ids=["one file", "sharded"])
    def test_a_small_tensor_has_the_value_that_tensorflow_reads(self, sharded, tmp_path):
        prefix = save(tmp_path / "model.ckpt", scalars, sharded=sharded)
        reader, stored = tf.train.load_checkpoint(prefix), read_checkpoint(prefix)
        assert len(stored.names) == 9
        for name in stored.names:
            expected = reader.get_tensor(name).flat[0].item()
            assert stored.value(name) == expected, name
            assert type(stored.value(name)) is type(expected), name

    def test_any_other_tensor_has_no_value(self, tmp_path):
        stored = read_checkpoint(save(tmp_path / "model.ckpt", different))
        assert [stored.value(name) for name in sorted(stored.names)] == [None] * 5
        assert stored.value("nosuch") is None

    def test_the_smallest_element_is_that_of_all(self, tmp_path):
        values = np.linspace(3, -2, 5000, dtype=np.float32)
        prefix = save(tmp_path / "model.ckpt", lambda: tf.get_variable("v", initializer=values))
        stored = read_checkpoint(prefix)
        assert stored.smallest("v") == -2
        assert stored.smallest("nosuch") is None
        assert stored.value("v") is None

    def test_a_slice_has_no_value(self, tmp_path):
        stored = read_checkpoint(save(tmp_path / "model.ckpt", partitioned))
        assert stored.value("net/weights") is None

    def test_variables_of_objects_have_values_by_their_names(self, tmp_path):
        with tf.Graph().as_default(), tf.Session() as session:
            step = tf.get_variable("global_step", initializer=7)
            twins = []
            for scope in ("a", "b"):
                with tf.variable_scope(scope):
                    twins.append(tf.Variable(4.0, name="twin"))
            session.run(tf.global_variables_initializer())
            saver = tf.train.Checkpoint(step=step, first=twins[0], second=twins[1])
            prefix = saver.save(str(tmp_path / "model"), session=session)
        stored = read_checkpoint(prefix)
        assert stored.value("global_step") == 7
        assert stored.value("a/twin") == 4.0
        assert stored.value("step/.ATTRIBUTES/VARIABLE_VALUE") == 7

    def test_a_changed_bit_is_an_error(self, tmp_path):
        prefix = save(tmp_path / "model.ckpt", lambda: tf.get_variable("step", initializer=7))
        path = f"{prefix}.data-00000-of-00001"
        with open(path, "rb") as file:
            content = file.read()
        for bit in range(8 * len(content)):
            damaged = bytearray(content)
            damaged[bit // 8] ^= 1 << bit % 8
            with open(path, "wb") as file:
                file.write(damaged)
            with pytest.raises(AuditError, match=r"data-00000-of-00001: .*the checksum of step"):
                read_checkpoint(prefix).value("step")

    def test_a_file_that_is_cut_off_is_an_error(self, tmp_path):
        prefix = save(tmp_path / "model.ckpt", lambda: tf.get_variable("step", initializer=7))
        with open(f"{prefix}.data-00000-of-00001", "r+b") as file:
            file.truncate(3)
        with pytest.raises(AuditError, match=r"data-00000-of-00001: .*it is cut off"):
            read_checkpoint(prefix).value("step")

    def test_without_its_data_a_checkpoint_has_names_and_no_values(self, tmp_path):
        prefix = save(tmp_path / "model.ckpt", lambda: tf.get_variable("step", initializer=7))
        os.remove(f"{prefix}.data-00000-of-00001")
        assert read_checkpoint(prefix).names == {"step"}
        assert read_checkpoint(prefix).value("step") is None


class TestDamage:
    @pytest.mark.parametrize("ending", ["index", "data-00000-of-00001"])
    def test_a_pipe_is_not_waited_for(self, ending, tmp_path):
        prefix = save(tmp_path / "model.ckpt", lambda: tf.get_variable("step", initializer=7))
        os.remove(f"{prefix}.{ending}")
        os.mkfifo(f"{prefix}.{ending}")
        with pytest.raises(AuditError, match=f"{ending}: .*it is a pipe, not a regular file"):
            read_checkpoint(prefix).value("step")

    def read(self, folder, data):
        """The names in an index of these bytes; None if it is refused, in one line."""
        (folder / "damaged.index").write_bytes(data)
        try:
            return read_checkpoint(str(folder / "damaged")).names
        except AuditError as error:
            reason = str(error)
        assert reason.startswith(f"{folder / 'damaged'}.index: ")
        assert "\n" not in reason
        return None

    def test_cut_off_anywhere(self, small, tmp_path):
        with open(f"{small}.index", "rb") as file:
            data = file.read()
        for length in range(len(data)):
            assert self.read(tmp_path, data[:length]) is None

    @settings(max_examples=500, derandomize=True, deadline=None, database=None)
    @given(data=st.data())
    def test_any_bytes_changed(self, small, tmp_path_factory, data):
        with open(f"{small}.index", "rb") as file:
            content = bytearray(file.read())
        for _ in range(data.draw(st.integers(1, 3))):
            content[data.draw(st.integers(0, len(content) - 9))] = data.draw(st.integers(0, 255))
        self.read(tmp_path_factory.getbasetemp(), bytes(content))

    def test_no_checkpoint(self, tmp_path):
        with pytest.raises(AuditError, match=r"nosuch\.index: cannot be read"):
            read_checkpoint(str(tmp_path / "nosuch"))

    def test_a_folder(self, tmp_path):
        (tmp_path / "model.index").mkdir()
        with pytest.raises(AuditError, match=r"model\.index: .*it is a directory"):
            read_checkpoint(str(tmp_path / "model"))

    def test_objects_without_their_data(self, tmp_path):
        with tf.Graph().as_default(), tf.Session() as session:
            saver = tf.train.Checkpoint(one=tf.get_variable("moving_mean", [2]))
            session.run(tf.global_variables_initializer())
            prefix = saver.save(str(tmp_path / "model"), session=session)
        shutil.copy(f"{prefix}.index", str(tmp_path / "alone.index"))
        with pytest.raises(AuditError, match=r"alone\.index: cannot be read"):
            read_checkpoint(str(tmp_path / "alone"))

    def test_compressed(self, tmp_path):
        index = table(block([(0, b"a", b"")]), compression=b"\1")
        assert_refused(tmp_path, index, "a block is compressed")

    def test_an_entry_that_is_longer_than_its_block(self, tmp_path):
        entry = varint(0) + varint(1) + varint(100) + b"a" + bytes(4) + b"\1\0\0\0"
        assert_refused(tmp_path, table(entry), "an entry is cut off")

    def test_a_block_that_is_not_in_the_file(self, tmp_path):
        pointer = varint(10**6) + varint(4)
        assert_refused(tmp_path, footed(block([(0, b"k", pointer)])), "a block is cut off")

    def test_blocks_that_are_pointed_to_again_and_again(self, tmp_path):
        one = block([(0, b"a%d" % name, b"") for name in range(1000, 6000)])
        assert_refused(tmp_path, table(one, times=5000), "its blocks overlap")

    def test_keys_that_grow_without_end(self, tmp_path):
        one = block([(shared, b"a", b"") for shared in range(50_000)])
        message = "the keys of a block are more than 64 times its size"
        assert_refused(tmp_path, table(one), message)
        empty = trailed(block([]))
        pointers = [varint(at * len(empty)) + varint(len(block([]))) for at in range(5000)]
        index = block([(shared, b"a", pointer) for shared, pointer in enumerate(pointers)])
        assert_refused(tmp_path, footed(index, empty * 5000), message)


def assert_refused(folder, index, message):
    (folder / "hostile.index").write_bytes(index)
    with pytest.raises(AuditError, match=message):
        read_checkpoint(str(folder / "hostile"))
