"""An .npz file is read batch by batch, compressed or not, in any share."""

import tracemalloc

import numpy as np
import pytest

from bnguard import BnguardError
from bnguard.reestimation.arrays import ArrayFile


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_batches_are_those_of_the_arrays(save, tmp_path):
    x = np.arange(44, dtype=np.float32).reshape(11, 2, 2)
    labels = np.arange(11)
    save(tmp_path / "data.npz", **{"in/x": x, "labels": labels, "keep": np.float32(0.5)})
    file = ArrayFile(str(tmp_path / "data.npz"))
    assert (file.rows, file.names) == (11, ["in/x", "keep", "labels"])
    found = list(file.batches(3, 0, 4))
    assert [len(batch["labels"]) for batch in found] == [3, 3, 3, 2]
    np.testing.assert_array_equal(np.concatenate([batch["in/x"] for batch in found]), x)
    assert all(batch["keep"] == 0.5 for batch in found)
    (second,) = file.batches(3, 1, 2)
    np.testing.assert_array_equal(second["in/x"], x[3:6])
    np.testing.assert_array_equal(second["labels"], labels[3:6])


def test_memory_does_not_grow_with_the_data(tmp_path):
    np.savez_compressed(tmp_path / "data.npz", x=np.zeros([4000, 1000], np.float32))  # 16 MB
    tracemalloc.start()
    total = sum(
        batch["x"].sum() for batch in ArrayFile(str(tmp_path / "data.npz")).batches(10, 0, 400)
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == 0
    assert peak < 2 << 20


def test_damaged_rows_are_one_line(tmp_path):
    path = tmp_path / "data.npz"
    np.savez_compressed(path, x=np.random.RandomState(0).rand(1000, 10))
    data = bytearray(path.read_bytes())
    data[5000:5010] = bytes(10)
    path.write_bytes(bytes(data))
    with pytest.raises(BnguardError, match="x is damaged"):
        list(ArrayFile(str(path)).batches(100, 0, 10))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros(3), "y": np.zeros(4)}, "the same number of rows, and found x 3, y 4"),
        ({"x": np.float32(1)}, "found no array"),
        ({"x": np.array(["a", None], object)}, "array of objects"),
    ],
)
def test_what_is_no_data_is_refused(arrays, message, tmp_path):
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(BnguardError, match=message):
        ArrayFile(str(tmp_path / "data.npz"))
