"""Files with equal graphs are found, however their bytes are ordered."""

import os

import pytest
from support.analysis.graph_defs import message_of

from bnguard.analysis.ir import protos
from bnguard.repository.equal_graphs import equal_graphs


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def meta_graph(is_reversed=False, last="b"):
    """Return a MetaGraphDef's bytes; reversed, its map of collections is in the other order."""
    message = protos.message("MetaGraphDef")()
    message.graph_def.CopyFrom(message_of([("a", "Const"), (last, "Identity", "a")]))
    entries = []
    for key in map(str, range(50)):
        one = protos.message("MetaGraphDef")()
        one.collection_def[key].node_list.value.append("a")
        entries.append(one.SerializeToString())
    return message.SerializeToString() + b"".join(reversed(entries) if is_reversed else entries)


def test_equal_bytes_are_one_group_in_the_order_of_the_files(here):
    for name, data in (("a.pb", b"1"), ("b.pb", b"2"), ("c.pb", b"1"), ("d.pb", b"1 more")):
        (here / name).write_bytes(data)
    groups = equal_graphs(["d.pb", "c.pb", "b.pb", "a.pb"])
    assert groups == [("d.pb",), ("c.pb", "a.pb"), ("b.pb",)]


def test_a_meta_file_may_have_its_maps_in_any_order(here):
    first, second = meta_graph(), meta_graph(is_reversed=True)
    assert first != second
    for name, data in (("a", first), ("b", second), ("c", meta_graph(last="c")), ("d", first)):
        (here / f"{name}.meta").write_bytes(data)
    assert len(meta_graph(last="c")) == len(first)
    groups = equal_graphs(["a.meta", "b.meta", "c.meta", "d.meta"])
    assert groups == [("a.meta", "b.meta", "d.meta"), ("c.meta",)]


def test_what_is_stored_beside_a_graph_counts(here):
    for name in ("a", "b", "c"):
        (here / f"{name}.meta").write_bytes(meta_graph())
    (here / "b.debug").write_bytes(b"1")
    assert equal_graphs(["a.meta", "b.meta", "c.meta"]) == [("a.meta", "c.meta"), ("b.meta",)]
    (here / "c.debug").write_bytes(b"1")
    assert equal_graphs(["a.meta", "b.meta", "c.meta"]) == [("a.meta",), ("b.meta", "c.meta")]


def test_saved_models_are_compared_by_their_files(here):
    for number in ("1", "2"):
        (here / number).mkdir()
        (here / number / "saved_model.pb").write_bytes(b"1")
    assert equal_graphs(["1", "2"]) == [("1", "2")]


def test_what_cannot_be_read_or_is_empty_is_equal_to_nothing(here):
    for name in ("a.pb", "b.pb"):
        (here / name).write_bytes(b"")
    os.mkfifo("pipe.pb")
    files = ["a.pb", "b.pb", "absent.pb", "gone.pb", "pipe.pb"]
    assert equal_graphs(files) == [(file,) for file in files]
