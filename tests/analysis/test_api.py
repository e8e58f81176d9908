"""`bnguard.audit`: what it accepts, and what it does not import."""

from dataclasses import replace
import inspect
import json
import os
import pydoc
import subprocess
import sys

from click.testing import CliRunner
import numpy as np
import pytest
from support.analysis.networks import fresh_graph, one_layer, two_branch
from support.paths import ROOT
import tensorflow.compat.v1 as tf

import bnguard
from bnguard.analysis.errors import AuditError
from bnguard.analysis.frontend.loader import load
from bnguard.analysis.recognition.recognized_graph import recognize
from bnguard.cli.audit import audit_command

pytestmark = pytest.mark.slow


@pytest.fixture
def graph():
    with fresh_graph() as graph:
        two_branch()
    return graph


def rules(report):
    return {finding.rule for finding in report.findings}


def run(script, *blocked):
    """The standard output of `script` in a new interpreter without the `blocked` modules."""
    block = "".join(f"sys.modules[{name!r}] = None; " for name in blocked)
    command = [sys.executable, "-c", f"import sys; {block}{script}"]
    return subprocess.check_output(command, cwd=ROOT).decode().strip()


class TestImport:
    @pytest.mark.parametrize(
        ("more", "imported"),
        [
            ("", "[]"),
            ("; import scipy", "['scipy']"),
            ("; sys.modules['tensorflow'] = sys", "['tensorflow']"),
        ],
    )
    def test_neither_tensorflow_nor_scipy_is_imported(self, tmp_path, graph, more, imported):
        """The two with more show that the check can fail."""
        path = write(graph, tmp_path)
        script = (
            f"import bnguard; report = bnguard.audit({path!r}); assert report.findings{more}; "
            "print([m for m in ('scipy', 'tensorflow') if m in sys.modules])"
        )
        assert run(script) == imported

    def test_it_runs_where_tensorflow_is_not_installed(self, tmp_path, graph):
        path = write(graph, tmp_path)
        blocked = ("tensorflow", "tensorflow.compat", "numpy", "scipy", "rich")
        command = f"from bnguard.cli.audit import audit_command; audit_command([{path!r}])"
        with pytest.raises(subprocess.CalledProcessError) as failure:
            run(command, *blocked)
        assert failure.value.returncode == 1
        assert b"BN101 statistics-written-at-inference" in failure.value.output


def write(graph, folder):
    path = os.path.join(str(folder), "graph.pb")
    with open(path, "wb") as file:
        file.write(graph.as_graph_def().SerializeToString())
    return path


class TestFetchesAndFeeds:
    def test_names_tensors_and_ops_are_the_same(self, graph):
        output = graph.get_tensor_by_name("output:0")
        for fetches in ("output", "output:0", output, output.op, [output], {"y": ("output",)}):
            report = bnguard.audit(graph, fetches, select=["BN101"])
            assert len(report.findings) == 2
            assert report.assumed.fetches == ()

    @pytest.mark.parametrize("false", [False, np.False_, np.array(False), np.zeros([1], bool)])
    def test_a_flag_may_be_fed_as_anything_false(self, graph, false):
        is_training = graph.get_tensor_by_name("is_training:0")
        for key in (is_training, "is_training:0", "is_training"):
            report = bnguard.audit(graph, "output", {key: false})
            assert report.assumed.flags == ()
            assert all(finding.certain for finding in report.findings)

    def test_a_fed_tensor_cuts_the_graph(self, graph):
        merged = graph.get_operation_by_name("output").inputs[0]
        report = bnguard.audit(graph, "output", {merged: np.zeros([2, 4])}, select=["BN101"])
        assert report.findings == ()

    def test_an_unknown_name_is_refused_with_a_suggestion(self, graph):
        with pytest.raises(AuditError, match=r"no node is named 'putput'"):
            bnguard.audit(graph, "putput")
        with pytest.raises(AuditError, match=r"do you mean is_training\?"):
            bnguard.audit(graph, feeds={"training": True})
        with pytest.raises(AuditError, match=r"3 is not in a graph; expected a name"):
            bnguard.audit(graph, 3)

    def test_a_recognized_graph_gives_the_same_report(self, graph):
        (loaded,) = load(graph)
        recognized = recognize(loaded)
        assert bnguard.audit(recognized) == bnguard.audit(graph)

    def test_an_object_of_another_type_is_refused(self):
        with pytest.raises(AuditError, match="dict object: cannot audit that; expected a path"):
            bnguard.audit({})


class TestPublicFace:
    def test_it_is_a_function_with_its_own_documentation(self):
        assert inspect.isfunction(bnguard.audit)
        assert list(inspect.signature(bnguard.audit).parameters)[:4] == [
            *("graph_or_path", "fetches", "feeds", "train_op")
        ]
        page = pydoc.render_doc(bnguard.audit, renderer=pydoc.plaintext)
        assert "Find defects of the running statistics of a graph" in page
        assert len(page.splitlines()) < 60

    def test_printing_a_report_shows_what_the_command_shows(self, graph, tmp_path):
        path = write(graph, tmp_path)
        shown = CliRunner().invoke(audit_command, [path]).output
        assert f"{bnguard.audit(path)}\n" == shown

    def test_the_repr_of_a_report_is_one_line(self, graph):
        report = bnguard.audit(graph)
        assert repr(report) == "Report('tf.Graph', 2 statistics, 2 defects)"

    def test_a_report_is_ok_if_nothing_was_found(self, graph):
        assert not bnguard.audit(graph).ok
        assert bnguard.audit(graph, select=["BN3"]).ok

    def test_the_forms_of_a_report_are_those_of_the_command(self, graph, tmp_path):
        path = write(graph, tmp_path)
        report = bnguard.audit(path)
        for form, text in (("json", report.to_json()), ("sarif", report.to_sarif())):
            shown = CliRunner().invoke(audit_command, [path, "--format", form]).output
            assert f"{text}\n" == shown

    def test_a_directory_with_one_graph_is_searched(self, graph, tmp_path):
        folder = tmp_path / "training" / "run"
        folder.mkdir(parents=True)
        path = write(graph, folder)
        (folder / "notes.txt").write_text("no graph")
        assert bnguard.audit(tmp_path) == bnguard.audit(path)

    def test_a_directory_with_several_graphs_is_refused_with_their_paths(self, graph, tmp_path):
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            write(graph, tmp_path / name)
        with pytest.raises(AuditError, match=r"there are 2 graphs, .*a.graph.pb, .*b.graph.pb; "):
            bnguard.audit(str(tmp_path))

    def test_a_directory_with_several_graphs_is_refused_before_any_is_read(self, tmp_path):
        for number in range(20):
            (tmp_path / f"model.ckpt-{number:02d}.meta").write_bytes(b"\xffno graph")
        with pytest.raises(AuditError) as refusal:
            bnguard.audit(tmp_path)
        message = str(refusal.value)
        assert message.startswith(
            f"{tmp_path}: there are 20 graphs, {tmp_path}{os.sep}model.ckpt-00"
        )
        assert "model.ckpt-07.meta and 12 more; expected one" in message
        assert "model.ckpt-08" not in message

    def test_a_saved_model_with_several_graphs_is_refused_with_their_tags(self, tmp_path):
        folder = tmp_path / "training" / "model"
        builder = tf.saved_model.Builder(str(folder))
        with fresh_graph(), tf.Session() as session:
            one_layer()
            session.run(tf.global_variables_initializer())
            builder.add_meta_graph_and_variables(session, ["serve"])
            builder.add_meta_graph(["train"])
        builder.save()
        with pytest.raises(AuditError, match=r"there are 2 graphs, .* \[serve\], .* \[train\]; "):
            bnguard.audit(tmp_path)
        assert bnguard.audit(tmp_path, tags=["train"]).source.endswith("[train]")


class TestReport:
    def test_the_json_form_has_the_documented_keys(self, graph):
        report = bnguard.audit(graph)
        document = json.loads(json.dumps(report.to_dict()))
        assert document["statistics"] == ["bn/moving_mean", "bn/moving_variance"]
        assert document["nodes"] == len(graph.get_operations())
        assert document["assumed"] == {
            "flags": ["is_training:0=False"],
            "fetches": ["output:0"],
            "possible_fetches": [],
            "train_ops": ["Momentum"],
            "unknown": [],
        }
        (finding, *_) = document["findings"]
        keys = ["rule", "severity", "certain", "variable", "op", "path", "fetch", "message"]
        assert set(keys) <= set(finding)
        assert finding["path"][0] == {"name": "output", "type": "Relu"}

    def test_the_same_graph_in_any_form_gives_the_same_findings(self, graph, tmp_path):
        with graph.as_default():
            meta = tf.train.export_meta_graph(str(tmp_path / "graph.meta"))
        sources = [graph, meta, graph.as_graph_def(), str(tmp_path / "graph.meta")]
        sources.append(write(graph, tmp_path))
        for form, name in ((meta, "meta.pbtxt"), (graph.as_graph_def(), "graph.pbtxt")):
            tf.io.write_graph(form, str(tmp_path), name)
            sources.append(tmp_path / name)
        expected = bnguard.audit(graph)
        without_lines = [replace(finding, location=None) for finding in expected.findings]
        assert without_lines != list(expected.findings)  # only a live graph has source lines
        for source in sources:
            report = bnguard.audit(source)
            assert [replace(finding, location=None) for finding in report.findings] == without_lines
            assert report.statistics == expected.statistics

    def test_a_healthy_graph_gives_an_empty_report(self):
        with fresh_graph() as graph:
            one_layer()
        assert bnguard.audit(graph).findings == ()
