"""Entries of a checkpoint that lie, with right checksums, are refused in one line.

What is read from checkpoints that TensorFlow wrote is compared in tests/test_checkpoint_reader.py.
"""

import numpy as np
import pytest
from support.checkpoints import handmade_checkpoints as handmade

from bnguard import checkpoint_reader
from bnguard.analysis.checkpoints.stored_checkpoint import read_checkpoint
from bnguard.errors import BnguardError

DATA = np.arange(4, dtype=np.float32).tobytes()
KEY = b"bn/moving_variance"
HALF = {"data": DATA[:8], "sizes": (2,)}
SLICES = ([(0, 2)], [(2, 2)])
WHOLE = handmade.entry(size=0, slices=SLICES)


def pieces(first=None, second=None):
    """The slices of the tensor, each with what is said instead of the truth; None: left out."""
    lies = {0: first or {}, 2: second or {}}
    return {
        handmade.ordered_slice_key(KEY, [(start, 2)]): handmade.entry(
            **{**HALF, "data": DATA[4 * start : 4 * start + 8], "offset": 4 * start, **lies[start]}
        )
        for start in (0, 2)
        if lies[start] != "missing"
    }


def one(**lies):
    return {KEY: handmade.entry(DATA, **lies)}


REFUSED = {
    "a negative axis": (one(sizes=(-4,)), "an axis of the size -4"),
    "an axis of unknown size": (one(sizes=(-1,)), "an axis of the size -1"),
    "an unknown rank": (one(shape=handmade.field(2, handmade.field(3, 1))), "no rank"),
    "many axes": (one(sizes=(1,) * 255), "no rank, or one above 254"),
    "a product that overflows": (one(sizes=(2**62, 2**62)), "more elements than a tensor"),
    "an overflow that a zero hides": (one(sizes=(2**62, 4, 0), size=0), "more elements"),
    "more elements than bytes": (one(sizes=(2**40,)), "16 bytes for 1099511627776 elements of 4"),
    "fewer elements than bytes": (one(sizes=(3,)), "16 bytes for 3 elements of 4"),
    "no type": (one(dtype=0), "of the type 0, which no stored tensor has"),
    "a type of no elements": (one(dtype=20), "of the type 20"),
    "a type of references": (one(dtype=101), "of the type 101"),
    "a type that nobody knows": (one(dtype=999), "of the type 999"),
    "a negative type": (one(dtype=-5), "of the type -5"),
    "text of more elements than bytes": (one(dtype=7, sizes=(17,)), "16 bytes for 17 elements"),
    "variants of more elements than bytes": (one(dtype=21), "16 bytes for 4 elements"),
    "a negative offset": (one(offset=-8), "16 bytes at -8"),
    "an end that overflows": (one(offset=2**63 - 8), "16 bytes at 9223372036854775800"),
    "a negative size": (one(size=-16), "-16 bytes at 0"),
    "another shard": (one(shard=1), "in the shard 1 of 1"),
    "a negative shard": (one(shard=-1), "in the shard -1 of 1"),
    "no message": ({KEY: b"\xff\xff\xff"}, "moving_variance cannot be decoded"),
    "a name that is not UTF-8": ({b"bn\xff/mean": handmade.entry(DATA)}, r"bn\\xff/mean is not"),
    "some bytes of another tensor": (
        {KEY: handmade.entry(DATA), b"w": handmade.entry(**HALF, offset=12)},
        "some bytes of w are also those of another tensor",
    ),
    "a slice that is missing": ({KEY: WHOLE, **pieces(second="missing")}, "slice .* is missing"),
    "a slice with fewer elements": (
        {KEY: WHOLE, **pieces({"data": DATA[:4], "sizes": (1,)})},
        "does not fit its place",
    ),
    "a slice of another type": ({KEY: WHOLE, **pieces({"dtype": 3})}, "does not fit its place"),
    "a slice of slices": (
        {KEY: WHOLE, **pieces({"slices": [[(0, 1)]]})},
        "does not fit its place",
    ),
    "slices that leave some out": (
        {KEY: handmade.entry(size=0, sizes=(5,), slices=SLICES), **pieces()},
        "have 4 elements, and it has 5",
    ),
    "a slice of another rank": (
        {KEY: handmade.entry(size=0, slices=[[(0, 2), (0, 1)]]), **pieces()},
        "another rank",
    ),
    "a slice outside": ({KEY: handmade.entry(size=0, slices=[[(3, 2)]])}, "is outside"),
    "a slice before the start": ({KEY: handmade.entry(size=0, slices=[[(-1, 2)]])}, "is outside"),
    "slices of a tensor of terabytes": (
        {KEY: handmade.entry(size=0, sizes=(2**40,), slices=SLICES), **pieces()},
        "have 4 elements, and it has 1099511627776",
    ),
}

HEADERS = {
    "no shard": (handmade.header(shards=0), "it has 0 shards"),
    "less than no shard": (handmade.header(shards=-1), "it has -1 shards"),
    "another byte order": (handmade.header(endianness=2), "its byte order is 2"),
    "a later format": (handmade.header(min_consumer=2), "for version 2 and later"),
    "no version": (handmade.header(producer=-1), "its format is for version"),
    "no message": (b"\xff\xff", "BundleHeaderProto|parsing"),
}


def assert_refused(prefix, message):
    """The audit's reader and the other one refuse a checkpoint, each in one line."""
    for read in (read_checkpoint, checkpoint_reader.read, checkpoint_reader.names):
        with pytest.raises(BnguardError, match=message) as caught:
            read(prefix)
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith(prefix)


@pytest.mark.parametrize("lie", REFUSED)
def test_an_entry_that_lies_is_refused(lie, tmp_path):
    entries, message = REFUSED[lie]
    assert_refused(handmade.write(tmp_path / "lie", entries, DATA), message)


@pytest.mark.parametrize("lie", HEADERS)
def test_a_header_that_lies_is_refused(lie, tmp_path):
    head, message = HEADERS[lie]
    assert_refused(handmade.write(tmp_path / "lie", one(), DATA, head), message)


def test_a_checkpoint_without_a_header_is_refused(tmp_path):
    (tmp_path / "lie.index").write_bytes(handmade.table_of(list(one().items())))
    assert_refused(str(tmp_path / "lie"), "it has no header")


@pytest.mark.parametrize(
    ("entries", "names"),
    [
        (one(), {KEY}),
        (one(sizes=(2, 2)), {KEY}),
        ({KEY: WHOLE, **pieces()}, {KEY}),
        ({KEY: handmade.entry(DATA), b"tied": handmade.entry(DATA)}, {KEY, b"tied"}),
        (one(dtype=90), {KEY}),  # a type of a later TensorFlow
    ],
)
def test_an_entry_that_tells_the_truth_is_not_refused(entries, names, tmp_path):
    prefix = handmade.write(tmp_path / "model", entries, DATA)
    assert read_checkpoint(prefix).names == {name.decode() for name in names}


def test_values_of_handmade_checkpoints_are_what_was_written(tmp_path):
    entries = {**one(), b"sliced": handmade.entry(size=0, slices=SLICES), b"text": None}
    for start in (0, 2):
        key = handmade.ordered_slice_key(b"sliced", [(start, 2)])
        data = DATA[4 * start : 4 * start + 8]
        entries[key] = handmade.entry(data, (2,), offset=4 * start)
    texts, crc = handmade.text_data([b"a", b"", b"b" * 300])
    entries[b"text"] = handmade.entry(texts, (3,), handmade.STRING, offset=16, crc=crc)
    for name in (KEY, b"sliced"):
        values = checkpoint_reader.read(
            handmade.write(tmp_path / "model", apart(entries, name), DATA + texts)
        )
        np.testing.assert_array_equal(values[name.decode()], [0, 1, 2, 3])
        assert values["text"].tolist() == [b"a", b"", b"b" * 300]


def apart(entries, name):
    """Without the other tensor, whose bytes are the same in another division."""
    if name == KEY:
        return {key: value for key, value in entries.items() if b"sliced" not in key}
    return {key: value for key, value in entries.items() if key != KEY}


READ = {
    "another checksum": (one(crc=1), "the checksum of bn/moving_variance is wrong"),
    "bytes behind the end": (one(offset=100), "data-00000-of-00001: it is cut off"),
    "an unknown type": (one(dtype=90), "the type 90 of a tensor is unknown here"),
    "slices that overlap": (
        {
            KEY: handmade.entry(size=0, slices=[[(0, 2)], [(0, 2)]]),
            **pieces(second="missing"),
        },
        "overlap, and leave some of it out",
    ),
    "terabytes": (
        {KEY: handmade.entry(sizes=(2**38,), size=2**40)},
        "has 1099511627776 bytes, more than 1073741824, the limit",
    ),
}


@pytest.mark.parametrize("lie", READ)
def test_a_tensor_that_lies_about_its_bytes_is_refused_when_it_is_read(lie, tmp_path):
    entries, message = READ[lie]
    prefix = handmade.write(tmp_path / "lie", entries, DATA)
    with pytest.raises(BnguardError, match=message):
        checkpoint_reader.read(prefix)


def test_a_sparse_shard_of_a_terabyte_is_refused_without_reading_it(tmp_path):
    prefix = handmade.write(tmp_path / "lie", READ["terabytes"][0])
    with open(f"{prefix}.data-00000-of-00001", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(BnguardError, match="the limit of what is read at once"):
        checkpoint_reader.read(prefix)


@pytest.mark.parametrize(
    ("lengths", "crc", "message"),
    [
        ([100], None, "the lengths of a text are wrong"),
        ([2**40], None, "the lengths of a text are wrong"),
        ([0], None, "the lengths of a text are wrong"),
        ([3], 5, "the checksum of a text is wrong"),
    ],
)
def test_a_text_whose_length_lies_is_refused(lengths, crc, message, tmp_path):
    data, right = handmade.text_data([b"abc"], lengths)
    entry = handmade.entry(data, (), handmade.STRING, crc=right if crc is None else crc)
    prefix = handmade.write(tmp_path / "lie", {b"text": entry}, data)
    for action in (
        lambda: checkpoint_reader.read(prefix),
        lambda: checkpoint_reader.Checkpoint(prefix).check_restorable(["text"]),
    ):
        with pytest.raises(BnguardError, match=message):
            action()


def test_a_text_of_no_bytes_has_a_checksum_too(tmp_path):
    for crc, is_right in ((0xA282EAD8, True), (0, False)):  # LevelDB's mask of 0
        entry = handmade.entry(b"", (0,), handmade.STRING, crc=crc)
        prefix = handmade.write(tmp_path / "model", {b"text": entry})
        if is_right:
            assert checkpoint_reader.read(prefix)["text"].shape == (0,)
            continue
        with pytest.raises(BnguardError, match="the checksum of a text is wrong"):
            checkpoint_reader.read(prefix)


def test_what_tensorflow_restores_is_checked_without_reading_numbers(tmp_path):
    """TensorFlow verifies their checksums itself, so one that is wrong is not found here."""
    prefix = handmade.write(tmp_path / "model", one(crc=1), DATA)
    checkpoint_reader.Checkpoint(prefix).check_restorable([KEY.decode(), "nosuch"])
    with open(f"{prefix}.data-00000-of-00001", "r+b") as file:
        file.truncate(15)
    with pytest.raises(BnguardError, match="data-00000-of-00001: it is cut off"):
        checkpoint_reader.Checkpoint(prefix).check_restorable([KEY.decode()])


class TestObjectGraph:
    """What describes the objects of a checkpoint must be one text."""

    @pytest.mark.parametrize(
        "entries",
        [
            {"data": DATA},
            {"data": DATA, "dtype": handmade.INT32},
            {"data": handmade.text_data([b"", b""])[0], "sizes": (2,), "dtype": handmade.STRING},
        ],
    )
    def test_numbers_or_several_texts_are_refused(self, entries, tmp_path):
        from bnguard.statistics import checkpoint_values

        graph = {b"_CHECKPOINTABLE_OBJECT_GRAPH": handmade.entry(**entries)}
        prefix = handmade.write(tmp_path / "model", graph, entries["data"])
        with pytest.raises(BnguardError, match="is not one text"):
            read_checkpoint(prefix)
        with pytest.raises(BnguardError, match=r"graph cannot be decoded|checkpoint cannot be"):
            checkpoint_values.read(prefix)

    def test_a_changed_bit_is_found(self, tmp_path):
        data, crc = handmade.text_data([b"\x0a\x00"])
        graph = handmade.entry(data, (), handmade.STRING, crc=crc)
        entries = {b"_CHECKPOINTABLE_OBJECT_GRAPH": graph}
        assert read_checkpoint(handmade.write(tmp_path / "model", entries, data)).names
        for bit in range(8 * len(data)):
            damaged = bytearray(data)
            damaged[bit // 8] ^= 1 << bit % 8
            prefix = handmade.write(tmp_path / "model", entries, damaged)
            with pytest.raises(BnguardError):
                read_checkpoint(prefix)


class TestTables:
    """Blocks that lie about their keys, with right checksums."""

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ([(0, b"b", b""), (0, b"a", b"")], "not in order"),
            ([(0, b"a", b""), (0, b"a", b"")], "one is there twice"),
            ([(0, b"ab", b""), (1, b"a", b"")], "not in order"),
            ([(0, b"a", b""), (5, b"b", b"")], "shares more with the one before"),
        ],
    )
    def test_keys_out_of_order(self, content, message, tmp_path):
        self.refused(tmp_path, handmade.table(handmade.block(content)), message)

    @pytest.mark.parametrize("restarts", [(), (1,), (0, 5), (0, 4, 4), (0, 8)])
    def test_whole_keys_that_are_elsewhere(self, restarts, tmp_path):
        content = handmade.block([(0, b"a", b""), (1, b"b", b"")], restarts)
        message = "about where its whole keys are"
        self.refused(tmp_path, handmade.table(content), message)

    def test_a_block_whose_key_is_lower_than_its_own(self, tmp_path):
        content = handmade.block([(0, b"", handmade.header()), (0, b"b", b"")])
        self.refused(tmp_path, handmade.table(content, last=b"a"), "lower than one in it")

    @pytest.mark.parametrize("bit", range(0, 8 * 100, 7))
    def test_any_changed_bit_of_a_block_is_found(self, bit, tmp_path):
        table = bytearray(handmade.table_of([(b"", handmade.header()), *one().items()]))
        table[bit // 8] ^= 1 << bit % 8
        self.refused(tmp_path, bytes(table), "checksum of a block is wrong")

    def refused(self, folder, table, message):
        (folder / "table.index").write_bytes(table)
        assert_refused(str(folder / "table"), message)
