"""The names in a checkpoint, without TensorFlow: as TensorFlow tells them, or one line why not."""

import shutil

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest
import tensorflow.compat.v1 as tf

from bnguard.analysis.errors import AuditError
from bnguard.analysis.frontend.checkpoint_index import stored_names

pytestmark = pytest.mark.slow

MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
LONG = "a_scope_of_a_name_that_is_long/" * 8


def save(prefix, make, **options):
    """A checkpoint of the variables that `make` creates."""
    with tf.Graph().as_default(), tf.Session() as session:
        make()
        session.run(tf.global_variables_initializer())
        return tf.train.Saver(**options).save(session, str(prefix), write_meta_graph=False)


def many():
    for number in range(100):
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


@pytest.mark.parametrize("sharded", [False, True], ids=["one file", "sharded"])
@pytest.mark.parametrize("make", [many, partitioned])
def test_all_that_tensorflow_lists(make, sharded, tmp_path):
    prefix = save(tmp_path / "model.ckpt", make, sharded=sharded)
    names = {name for name, _ in tf.train.list_variables(prefix)}
    assert stored_names(prefix) == names
    assert stored_names(f"{prefix}.index") == names
    assert len(names) == {many: 400, partitioned: 2}[make]


def test_objects_are_named_by_their_variables(tmp_path):
    with tf.Graph().as_default(), tf.Session() as session:
        mean, scale = (tf.get_variable(f"net/{name}", [2]) for name in ("moving_mean", "gamma"))
        session.run(tf.global_variables_initializer())
        saver = tf.train.Checkpoint(first=mean, second=scale)
        prefix = saver.save(str(tmp_path / "model"), session=session)
    assert {"net/moving_mean", "net/gamma"} <= stored_names(prefix)


class TestDamage:
    def read(self, folder, data):
        """The names in an index of these bytes; None if it is refused, in one line."""
        (folder / "damaged.index").write_bytes(data)
        try:
            return stored_names(str(folder / "damaged"))
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
            stored_names(str(tmp_path / "nosuch"))

    def test_a_folder(self, tmp_path):
        (tmp_path / "model.index").mkdir()
        with pytest.raises(AuditError, match=r"model\.index: cannot be read"):
            stored_names(str(tmp_path / "model"))

    def test_objects_without_their_data(self, tmp_path):
        with tf.Graph().as_default(), tf.Session() as session:
            saver = tf.train.Checkpoint(one=tf.get_variable("moving_mean", [2]))
            session.run(tf.global_variables_initializer())
            prefix = saver.save(str(tmp_path / "model"), session=session)
        shutil.copy(f"{prefix}.index", str(tmp_path / "alone.index"))
        with pytest.raises(AuditError, match=r"alone\.index: cannot be read"):
            stored_names(str(tmp_path / "alone"))

    def test_compressed(self, tmp_path):
        index = table(block([(0, b"a", b"")]), compression=b"\1")
        assert_refused(tmp_path, index, "a block is compressed")

    def test_an_entry_that_is_longer_than_its_block(self, tmp_path):
        entry = number(0) + number(1) + number(100) + b"a" + bytes(4)
        assert_refused(tmp_path, table(entry), "an entry is cut off")

    def test_a_block_that_is_not_in_the_file(self, tmp_path):
        pointer = number(10**6) + number(4)
        assert_refused(tmp_path, footed(block([(0, b"k", pointer)])), "a block is cut off")

    def test_blocks_that_are_pointed_to_again_and_again(self, tmp_path):
        one = block([(0, b"a%d" % name, b"") for name in range(5000)])
        assert_refused(tmp_path, table(one, times=5000), "its blocks overlap")

    def test_keys_that_grow_without_end(self, tmp_path):
        one = block([(shared, b"a", b"") for shared in range(50_000)])
        message = "the keys of a block are more than 64 times its size"
        assert_refused(tmp_path, table(one), message)
        empty, pointer = block([]), number(0) + number(len(block([])))
        pointers = block([(shared, b"a", pointer) for shared in range(50_000)])
        assert_refused(tmp_path, footed(pointers, empty + bytes(5)), message)


def assert_refused(folder, index, message):
    (folder / "hostile.index").write_bytes(index)
    with pytest.raises(AuditError, match=message):
        stored_names(str(folder / "hostile"))


# LevelDB's format: https://github.com/google/leveldb/blob/main/doc/table_format.md


def table(content, compression=b"\0", times=1):
    """One block, that an index points to so many times."""
    pointer = number(0) + number(len(content))
    return footed(block([(0, b"k", pointer)] * times), content + compression + bytes(4))


def footed(index, before=b""):
    footer = number(0) + number(0) + number(len(before)) + number(len(index))
    return before + index + bytes(5) + footer.ljust(40, b"\0") + MAGIC


def block(entries):
    """Entries (bytes shared with the key before, the key's others, value), with no restarts."""
    heads = (
        (number(shared) + number(len(own)) + number(len(value)), own, value)
        for shared, own, value in entries
    )
    return b"".join(map(b"".join, heads)) + bytes(4)


def number(value):
    """Protobuf's and LevelDB's encoding: seven bits a byte, the lowest first."""
    low, high = value & 127, value >> 7
    return bytes([low | 128]) + number(high) if high else bytes([low])
