"""Files of other kinds are called what they are; a damaged graph stays a damaged graph."""

import gzip
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
from support.analysis import networks
from support.analysis.graph_defs import message_of
from support.analysis.networks import fresh_graph
import tensorflow.compat.v1 as tf

import bnguard
from bnguard.analysis import limits
from bnguard.analysis.errors import AuditError, NotAGraphError
from bnguard.analysis.frontend.loader import load

LFS = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n"
TEXTS = {
    "a Git LFS pointer": LFS,
    "a git-annex pointer": "/annex/objects/SHA256E-s31390--f50d7.pb\n",
    "a web page": "\n<!DOCTYPE html>\n<html><body>404</body></html>",
    "an XML file": '<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    "a JSON file": json.dumps({"message": "Not Found"}),
    "an asset description of Unity": "fileFormatVersion: 2\nguid: 1b5f\n",
    "a label map": "# labels\nitem {\n  id: 1\n  name: 'hand'\n}\n",
    "a projector configuration of TensorBoard": 'embeddings {\n  tensor_name: "e"\n}\n',
    "a list of checkpoints": 'model_checkpoint_path: "model.ckpt-1"\n',
    "a training configuration": "model {\n  ssd {\n  }\n}\ntrain_config: {\n  batch_size: 1\n}\n",
    "a configuration of TensorFlow Serving": 'model_config_list {\n  config { name: "m" }\n}\n',
    "a network of Caffe": 'name: "LeNet"\nlayer {\n  name: "data"\n}\n',
    "a solver of Caffe": 'net: "a.prototxt"\nbase_lr: 0.01\n',
    "a model configuration of Triton": 'name: "m"\nplatform: "tensorflow_graphdef"\n',
    "a list of op definitions": 'op {\n  name: "Abort"\n}\n',
    "a description of TensorFlow's API": 'path: "tensorflow.Graph"\ntf_class {\n}\n',
    "a graph of MediaPipe": 'node {\n  calculator: "FlowLimiter"\n}\n',
    "a text file of another kind": "License: MIT\r\nWarranty: none\r\n",
}


@pytest.mark.parametrize("name", ["x.pb", "x.pbtxt", "x.meta"])
@pytest.mark.parametrize("kind", TEXTS)
def test_a_text_is_called_what_it_is(kind, name, tmp_path):
    assert_is(kind, tmp_path / name, TEXTS[kind].encode())
    assert_is(kind, tmp_path / name, b"\xef\xbb\xbf" + TEXTS[kind].encode())


def test_a_long_text_may_be_cut_within_a_character(tmp_path):
    assert_is("a label map", tmp_path / "x.pbtxt", b"item {\n}\n#" + "é".encode() * 100_000)
    assert_is("a label map", tmp_path / "x.pbtxt", b"item {\n}\n# " + "é".encode() * 100_000)


def zipped(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("config.json", "{}")


def numpy_array(path):
    with open(path, "wb") as file:
        np.save(file, np.zeros(2))


def events(path):
    with fresh_graph() as graph:
        tf.summary.FileWriter(str(path.parent), graph).close()
    (written,) = path.parent.glob("events.*")
    written.rename(path)


def checkpoint_file(ending):
    def write(path):
        with fresh_graph(), tf.Session() as session:
            tf.get_variable("v", [2])
            session.run(tf.global_variables_initializer())
            prefix = tf.train.Saver().save(session, str(path.parent / "model.ckpt"))
        os.rename(f"{prefix}.{ending}", str(path))

    return write


def tflite(path):
    path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(40))


def onnx(path):
    """A ModelProto of ONNX, by its field numbers: ir_version, producer, graph, opset_import."""
    path.write_bytes(b"\x08\x08\x12\x02me\x3a\x04\x12\x02gr\x42\x02\x10\x0d")


@pytest.mark.parametrize(
    ("kind", "write"),
    [
        ("a zip archive", zipped),
        ("a compressed file", lambda path: path.write_bytes(gzip.compress(b"graph"))),
        ("a NumPy array", numpy_array),
        ("a Python pickle", lambda path: path.write_bytes(pickle.dumps({"names": []}, 2))),
        ("a text file of another kind", lambda path: path.write_bytes("läbel".encode("utf-16"))),
        ("an HDF5 file of Keras", lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(9))),
        ("a TensorFlow Lite model", tflite),
        ("an ONNX model", onnx),
        ("a TensorBoard event file", events),
        ("an index of a checkpoint", checkpoint_file("index")),
    ],
)
def test_a_binary_file_is_called_what_it_is(kind, write, tmp_path):
    write(tmp_path / "x.pb")
    assert_refused(kind, tmp_path / "x.pb")


DEBUG_INFO = b"\n\x09/a/net.py\x12\x05\n\x01a\x12\0"  # a file, and the trace of the node a
PROFILE = b"\n\r\x08\x03\x12\t/host:CPU"  # an XSpace with a plane of the number 3
TENSOR = b"\x08\x01\x10\x01J\x04\0\0\0\0"  # ONNX's TensorProto, which a SavedModel may begin like


@pytest.mark.parametrize(
    ("name", "kind", "content"),
    [
        ("fingerprint.pb", "a fingerprint of a SavedModel", b"\x08\x83\x80"),
        ("saved_model_debug_info.pb", "debug information of a SavedModel", DEBUG_INFO),
        ("tfhub_module.pb", "a marker of TensorFlow Hub", b"\x08\x83\x80"),
        ("model.ckpt.data-00000-of-00001", "a data file of a checkpoint", b"\x08\x83\x80"),
        ("host.xplane.pb", "a profile of TensorFlow", PROFILE),
        ("module_0001.f.hlo.pb", "a module of XLA", b"\n\x04main\x12\x06main.1"),
        ("predict_net.pb", "a network of Caffe2", b"\n\x03net\x12\x03\x12\x01w"),
        ("input_0.pb", "a tensor of a test of ONNX", TENSOR),
    ],
)
def test_bytes_that_are_no_graph_are_called_what_their_name_says(name, kind, content, tmp_path):
    assert_is(kind, tmp_path / name, content)
    graph = message_of([("x", "Placeholder")]).SerializeToString()
    (tmp_path / name).write_bytes(graph)
    assert len(load(str(tmp_path / name))) == 1


def test_a_link_into_an_annex_is_a_pointer(tmp_path):
    (tmp_path / "x.pb").symlink_to(".git/annex/objects/aa/bb/SHA256E-s1--f50d7.pb")
    assert_refused("a git-annex pointer", tmp_path / "x.pb")


def test_the_pointer_of_a_saved_model_is_one(tmp_path):
    (tmp_path / "saved_model.pb").write_text(LFS)
    with pytest.raises(NotAGraphError, match=r"saved_model\.pb: a Git LFS pointer.*git lfs pull"):
        load(str(tmp_path))


class TestGraphs:
    @pytest.fixture
    def graph(self):
        with fresh_graph() as graph:
            networks.one_layer()
        return graph.as_graph_def()

    def test_every_text_form_of_a_graph_is_read(self, graph, tmp_path):
        text = str(graph)
        unindented = "\n".join(line.strip() for line in text.splitlines())
        one_line = " ".join(text.split())
        for form in (text, f"# a graph\n{text}", unindented, one_line, text.replace("\n", "\r\n")):
            (tmp_path / "x.pbtxt").write_text(form)
            assert bnguard.audit(tmp_path / "x.pbtxt").nodes == len(graph.node)

    def test_a_damaged_graph_is_an_error(self, graph, tmp_path):
        text, data = str(graph), graph.SerializeToString()
        for damaged in (
            text[: len(text) // 2].encode(),
            text[20:].encode(),
            text.replace("node {", "nod {", 1).encode(),
            data[: len(data) // 2],
            data[3:],
        ):
            for name in ("x.pbtxt", "x.pb", "x.meta"):
                (tmp_path / name).write_bytes(damaged)
                with pytest.raises(AuditError) as refusal:
                    load(str(tmp_path / name))
                assert not isinstance(refusal.value, NotAGraphError), (damaged[:20], name)

    @pytest.mark.parametrize("name", ["x.pb", "x.meta"])
    def test_the_end_of_a_group_that_never_began_is_an_error_and_no_warning(
        self, name, tmp_path, recwarn
    ):
        (tmp_path / name).write_bytes(b"\x0c\x0c")
        with pytest.raises(AuditError, match="not a graph, or damaged"):
            load(str(tmp_path / name))
        assert not recwarn.list

    def test_a_graph_that_lacks_one_constant_is_an_error(self, graph, tmp_path):
        left_out = next(node.name for node in graph.node if node.op == "Const")
        kept = [node for node in graph.node if node.name != left_out]
        assert len(kept) == len(graph.node) - 1
        message = tf.GraphDef(node=kept)
        (tmp_path / "x.pbtxt").write_text(str(message))
        with pytest.raises(AuditError, match=f"has the input '{left_out}'") as refusal:
            load(str(tmp_path / "x.pbtxt"))
        assert not isinstance(refusal.value, NotAGraphError)


class TestWithoutConstants:
    NODES = (
        ("x", "Placeholder"),
        ("conv", "Conv2D", "x", "weights"),
        ("bn", "FusedBatchNorm", "conv", "gamma", "beta", "mean", "variance"),
    )

    def read(self, *nodes):
        return load(message_of(nodes))

    def test_a_text_graph_of_opencv_is_recognised(self, tmp_path):
        (tmp_path / "x.pbtxt").write_text(str(message_of([*self.NODES, ("anchors", "Const")])))
        assert_refused("a text graph of OpenCV", tmp_path / "x.pbtxt")

    def test_a_graph_whose_data_is_missing_is_damaged(self):
        with pytest.raises(AuditError, match="has the input 'x'") as refusal:
            self.read(*self.NODES[1:])
        assert not isinstance(refusal.value, NotAGraphError)


ENGINE = ("engine", "TRTEngineOp", "x")


def compiled(*nodes, layers=2):
    """A graph with an engine, and the function that TensorRT compiled to it, of so many layers."""
    message = message_of([("x", "Placeholder"), ENGINE, *nodes])
    function = message.library.function.add()
    function.signature.name = "engine_native_segment"
    for number in range(layers):
        function.node_def.add(name=f"bn_{number}", op="FusedBatchNormV3")
        function.node_def.add(name=f"relu_{number}", op="Relu")
    return message


class TestEngines:
    def test_a_compiled_graph_is_refused_with_the_number_of_its_layers(self):
        function, name = compiled(), compiled()
        function.node[1].attr["segment_func"].func.name = "engine_native_segment"
        name.node[1].attr["segment_funcdef_name"].s = b"engine_native_segment"
        for message in (function, name):
            with pytest.raises(NotAGraphError, match=r"its 2 normalizations are inside .*\(1\)"):
                load(message)
        with pytest.raises(NotAGraphError, match="its layers are inside TRTEngineOp nodes"):
            load(compiled())

    def test_a_graph_with_layers_beside_its_engines_is_audited(self):
        report = bnguard.audit(compiled(("bn/moving_mean", "VariableV2")))
        assert report.limits == (limits.ENGINES.text,)


class TestDirectories:
    @pytest.fixture
    def folder(self, tmp_path):
        with fresh_graph():
            networks.one_layer()
            tf.train.export_meta_graph(str(tmp_path / "model.meta"))
        (tmp_path / "asset.meta").write_text(TEXTS["an asset description of Unity"])
        (tmp_path / "label_map.pbtxt").write_text(TEXTS["a label map"])
        (tmp_path / "z.pbtxt").write_text(str(message_of(TestWithoutConstants.NODES)))
        return tmp_path

    def test_the_only_graph_of_a_directory_is_audited(self, folder):
        assert bnguard.audit(folder) == bnguard.audit(folder / "model.meta")

    def test_a_damaged_graph_is_a_graph_of_the_directory(self, folder):
        (folder / "damaged.meta").write_bytes(b"\xff damaged")
        with pytest.raises(AuditError, match=r"there are . graphs, .*damaged.*model\.meta"):
            bnguard.audit(folder)

    def test_a_directory_of_other_files_is_refused(self, folder):
        (folder / "model.meta").unlink()
        with pytest.raises(NotAGraphError, match=r"asset\.meta: an asset description of Unity"):
            bnguard.audit(folder)


def assert_is(kind, path, data):
    path.write_bytes(data)
    assert_refused(kind, path)


def assert_refused(kind, path):
    with pytest.raises(NotAGraphError) as refusal:
        load(str(path))
    message = str(refusal.value)
    assert refusal.value.what == kind
    assert message.startswith(f"{path}: {kind}, not a TensorFlow graph; ")
    assert "\n" not in message
    assert pickle.loads(pickle.dumps(refusal.value)).what == kind
