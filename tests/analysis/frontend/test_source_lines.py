"""Where a user's program built an op: live graphs, debug information, and whose a frame is."""

import gc
from importlib import import_module
import inspect
import os
import sysconfig
from types import MappingProxyType
import weakref
import zipfile

import pytest
from support.graphs import build_with
import tensorflow.compat.v1 as tf

import bnguard
from bnguard.analysis.findings import Frame
from bnguard.analysis.frontend.loader import load
from bnguard.analysis.frontend.source_lines import source_lines_of_debug_info, user_location
from bnguard.analysis.ir import protos

HERE = os.path.abspath(__file__)
PACKAGES = "/home/user/env/lib/python3.7/site-packages"


def conv_block(x, is_training):
    return bnguard.batch_norm(x, is_training=is_training, updates_collections=None, scope="bn")


BLOCK_LINE = inspect.getsourcelines(conv_block)[1] + 1
BLOCK_TEXT = inspect.getsource(conv_block).splitlines()[1].strip()


def build(is_training=True):
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    return tf.identity(conv_block(x, is_training), name="y")


BUILD_LINE = inspect.getsourcelines(build)[1] + 2


def locations(graph):
    report = bnguard.audit(graph, fetches="y:0")
    assert {finding.rule for finding in report.findings} == {"BN101", "BN103"}
    return [finding.location for finding in report.findings]


class TestLiveGraph:
    def test_a_finding_tells_the_users_line_and_not_that_of_the_layer(self, graph):
        build()
        for location in locations(graph):
            assert os.path.abspath(location.file) == HERE
            assert location[1:4] == (BLOCK_LINE, "conv_block", BLOCK_TEXT)

    def test_the_stack_has_the_users_frames_alone_innermost_last(self, graph):
        build()
        (stack, *_) = {location.stack for location in locations(graph)}
        functions = [(frame.function, frame.line) for frame in stack]
        assert functions[-2:] == [("build", BUILD_LINE), ("conv_block", BLOCK_LINE)]
        files = {os.path.abspath(frame.file) for frame in stack[-3:]}
        assert files == {HERE}  # neither bnguard's nor TensorFlow's

    def test_the_report_shows_the_line_and_json_the_stack(self, graph):
        build()
        report = bnguard.audit(graph, fetches="y:0")
        shown = os.path.relpath(HERE)
        assert f"    built at {shown}:{BLOCK_LINE} in conv_block: {BLOCK_TEXT}\n" in str(report)
        (location, *_) = [finding["location"] for finding in report.to_dict()["findings"]]
        assert location["line"] == BLOCK_LINE
        assert location["stack"][-1] == {
            key: location[key] for key in ("file", "line", "function", "text")
        }

    @pytest.mark.parametrize("control_flow", ["v1", "v2"])
    def test_an_op_in_a_branch_has_the_line_in_the_branch(self, control_flow):
        with tf.Graph().as_default() as graph, build_with("resource", control_flow):
            is_training = tf.placeholder(tf.bool, [], name="is_training")
            x = tf.placeholder(tf.float32, [None, 2], name="x")
            y = tf.cond(
                is_training,
                lambda: conv_block(x, True),
                lambda: x,
            )
            tf.identity(y, name="y")
        report = bnguard.audit(graph, "y:0", {"is_training:0": True})
        lines = {finding.location.line for finding in report.findings if finding.rule == "BN101"}
        assert lines == {BLOCK_LINE}

    def test_a_call_of_several_lines_has_the_line_on_which_it_starts(self, graph):
        x = tf.placeholder(tf.float32, [None, 2], name="x")
        y = bnguard.batch_norm(
            x,
            is_training=True,
            updates_collections=None,
        )
        tf.identity(y, name="y")
        for location in locations(graph):
            assert location.text == "y = bnguard.batch_norm("

    def test_the_lines_do_not_keep_a_graph_alive(self):
        graph = tf.Graph()
        with graph.as_default():
            build()
        (loaded,) = load(graph)
        reference = weakref.ref(graph)
        del graph
        gc.collect()
        assert reference() is None
        assert loaded.source_lines.location(loaded.graph, 0) is None


class TestFile:
    def test_a_meta_file_alone_has_no_lines(self, graph, tmp_path):
        build()
        path = str(tmp_path / "model.meta")
        tf.train.export_meta_graph(path)
        assert set(locations(path)) == {None}
        assert "built at" not in str(bnguard.audit(path, fetches="y:0"))

    def test_debug_information_beside_a_meta_file_is_read(self, graph, tmp_path):
        build()
        path = str(tmp_path / "model.meta")
        tf.train.export_meta_graph(path, save_debug_info=True)
        x = load(path)[0]
        location = x.source_lines.location(x.graph, x.graph.find("x"))
        assert os.path.abspath(location.file) == HERE
        assert location.line == BUILD_LINE - 1
        assert location.text == ""  # the file of that name may be another here

    def test_debug_information_of_a_saved_model_is_read(self, tmp_path):
        (tmp_path / "debug").mkdir()
        (tmp_path / "debug" / "saved_model_debug_info.pb").write_bytes(debug_info("x@", by_id=True))
        (tmp_path / "saved_model.pb").write_bytes(_saved_model(["x"]))
        (loaded,) = load(str(tmp_path))
        assert loaded.source_lines.location(loaded.graph, 0)[:3] == ("net.py", 7, "block")

    @pytest.mark.parametrize("content", [b"\xff\xff\xff", b"", b"\x0a\x03abc"])
    def test_damaged_debug_information_is_ignored(self, graph, tmp_path, content):
        build()
        path = str(tmp_path / "model.meta")
        tf.train.export_meta_graph(path)
        (tmp_path / "model.debug").write_bytes(content)
        assert set(locations(path)) == {None}


def debug_info(key, by_id, file_index=0):
    """The stack `net.py:9 in main`, `net.py:7 in block`, TensorFlow's own, in either layout."""
    info = protos.message("GraphDebugInfo")()
    info.files.extend(["net.py", f"{PACKAGES}/tensorflow_core/python/ops/array_ops.py"])
    frames = [(file_index, 9, "main"), (file_index, 7, "block"), (1, 131, "reshape")]
    if by_id:  # TensorFlow 2.16 and later
        info.name_to_trace_id[key] = 5
        info.traces_by_id[5].frame_id.extend(range(len(frames)))
        added = [info.frames_by_id[number] for number in range(len(frames))]
    else:
        added = [info.traces[key].file_line_cols.add() for _ in frames][::-1]
    for frame, (index, line, function) in zip(added, frames):
        frame.file_index, frame.line, frame.func = index, line, function
    return info.SerializeToString()


def _saved_model(names):
    message = protos.message("SavedModel")()
    for name in names:
        message.meta_graphs.add().graph_def.node.add(name=name, op="Placeholder")
    return b"\x08\x01" + message.SerializeToString()


class TestDebugInformation:
    @pytest.mark.parametrize(
        ("key", "by_id"), [("x", False), ("x@", False), ("x@", True), ("body@call", True)]
    )
    def test_both_layouts_give_the_same_location(self, tmp_path, key, by_id):
        lines = source_lines_of_debug_info(debug_info(key, by_id))
        graph = load(_graph_with_call(tmp_path))[0].graph
        node = graph.find("call_op/body" if "@call" in key else "x")
        location = lines.location(graph, node)
        assert location[:3] == ("net.py", 7, "block")
        assert [frame.line for frame in location.stack] == [9, 7]

    def test_a_node_that_lowering_added_has_the_line_of_the_call(self, tmp_path):
        lines = source_lines_of_debug_info(debug_info("call_op@", by_id=True))
        graph = load(_graph_with_call(tmp_path))[0].graph
        for name in ("call_op", "call_op/start", "call_op/body"):
            assert lines.location(graph, graph.find(name)).line == 7
        assert lines.location(graph, graph.find("x")) is None

    def test_a_file_that_is_not_listed_is_nobodys(self):
        lines = source_lines_of_debug_info(debug_info("x@", by_id=True, file_index=99))
        assert lines.location(_OneNode(), 0) is None


class _OneNode:
    names = ("x",)
    function_nodes = MappingProxyType({})

    def is_added(self, node):
        return False


def _graph_with_call(tmp_path):
    message = protos.message("GraphDef")()
    message.node.add(name="x", op="Placeholder")
    call = message.node.add(name="call_op", op="StatefulPartitionedCall")
    call.attr["f"].func.name = "call"
    function = message.library.function.add()
    function.signature.name = "call"
    function.node_def.add(name="body", op="NoOp")
    path = str(tmp_path / "graph.pb")
    with open(path, "wb") as file:
        file.write(message.SerializeToString())
    return path


class TestWhoseAFrameIs:
    @pytest.mark.parametrize(
        "library",
        [
            f"{PACKAGES}/tensorflow/python/ops/array_ops.py",
            f"{PACKAGES}/tensorflow_core/contrib/layers/python/layers/layers.py",
            f"{PACKAGES}/tf_keras/src/layers/core.py",
            f"{PACKAGES}/keras/engine/base_layer.py",
            f"{PACKAGES}/tf_slim/layers/layers.py",
            f"{PACKAGES}/tensorflow_estimator/python/estimator/estimator.py",
            "/usr/lib/python3/dist-packages/tensorflow/python/ops/array_ops.py",
            "C:\\env\\Lib\\site-packages\\tensorflow\\python\\ops\\array_ops.py",
            "/usr/lib/python3.11/contextlib.py",
            os.path.join(sysconfig.get_paths()["stdlib"], "runpy.py"),
            os.path.join(os.path.dirname(bnguard.__file__), "layers", "contrib.py"),
            tf.Graph.__init__.__code__.co_filename,
            "<frozen importlib._bootstrap>",
            "",
        ],
    )
    def test_a_frame_of_a_library_is_not_the_users(self, library):
        assert user_location([Frame(library, 3, "f", "text")]) is None

    @pytest.mark.parametrize(
        "own",
        [
            "/home/user/tensorflow/train.py",
            "/home/user/keras/models/net.py",
            "train.py",
            "<ipython-input-3-aabb>",
            "<string>",
        ],
    )
    def test_other_frames_are(self, own):
        assert user_location([Frame(own, 3, "f", "text")])[:4] == (own, 3, "f", "text")

    def test_another_installed_package_counts_only_without_the_users_frames(self):
        own = Frame("train.py", 3, "main", "net()")
        installed = Frame(f"{PACKAGES}/nets/resnet.py", 9, "net", "batch_norm(x)")
        both = user_location([own, installed])
        assert both[:2] == ("train.py", 3)
        assert both.stack == (own,)
        assert user_location([installed])[:2] == (installed.file, 9)

    def test_executed_text_counts_only_if_its_lines_are_known_or_there_are_no_others(self):
        own = Frame("train.py", 3, "main", "exec(code)")
        executed, cell = Frame("<string>", 1, "net", ""), Frame("<ipython-input-3>", 7, "net", "h")
        assert user_location([own, executed])[:2] == ("train.py", 3)
        assert user_location([own, executed]).stack == (own, executed)
        assert user_location([own, cell])[:2] == ("<ipython-input-3>", 7)
        assert user_location([executed])[:2] == ("<string>", 1)

    def test_a_line_in_a_zip_archive_is_read(self, tmp_path, monkeypatch):
        path = str(tmp_path / "nets.zip")
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("net_in_a_zip.py", "def net():\n    return batch_norm()\n")
        monkeypatch.syspath_prepend(path)
        file = import_module("net_in_a_zip").__file__
        assert user_location([Frame(file, 2, "net", "")]).text == "return batch_norm()"

    def test_a_line_is_read_from_its_file_if_that_is_allowed(self):
        frame = Frame(HERE, BLOCK_LINE, "conv_block", "")
        assert user_location([frame]).text == BLOCK_TEXT
        assert user_location([frame], reads_files=False).text == ""
