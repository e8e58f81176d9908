"""The file of a share is read as it was written; any other file is refused in one line."""

import json

import numpy as np
import pytest

from bnguard import BnguardError
from bnguard.reestimation.moments import ChannelMoments, Moments
from bnguard.reestimation.partial_files import Partial, Share, read_partial, write_partial

VALUES = ChannelMoments(*np.random.RandomState(0).rand(len(ChannelMoments._fields), 5))


@pytest.fixture
def path(tmp_path):
    moments = Moments({"graph": "g"}, {"b": 3, "a": 2}, VALUES, 7)
    write_partial(str(tmp_path / "share.npz"), Partial(Share(2, 3), moments))
    return str(tmp_path / "share.npz")


def test_a_share_is_read_as_it_was_written(path):
    share, moments = read_partial(path)
    assert (share, moments.steps, moments.identity) == (Share(2, 3), 7, {"graph": "g"})
    assert list(moments.channels.items()) == [("b", 3), ("a", 2)]
    np.testing.assert_array_equal(moments.values, VALUES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "another version"),
        ({"share": [4, 3]}, "expected I/N"),
        ({"share": 1}, "not the file of a share"),
        ({"channels": {"a": 2}}, "not the file of a share"),
        ({"steps": None}, "not the file of a share"),
        ({"identity": None}, "not the file of a share"),
    ],
)
def test_another_header_is_refused(path, changes, message):
    with np.load(path) as stored:
        arrays = dict(stored)
    header = {**json.loads(str(arrays["header"])), **changes}
    np.savez(path, **{**arrays, "header": np.array(json.dumps(header))})
    with pytest.raises(BnguardError, match=message):
        read_partial(path)


@pytest.mark.parametrize("header", ["[]", "{}", "3", "no JSON"])
def test_a_file_with_another_header_is_no_share(tmp_path, header):
    np.savez(tmp_path / "other.npz", header=np.array(header))
    with pytest.raises(BnguardError, match="not the file of a share"):
        read_partial(str(tmp_path / "other.npz"))
