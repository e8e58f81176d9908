"""`bnguard audit` and `bnguard explain`: flags, files, exit codes."""

import json
import os
import subprocess
import sys

from click.testing import CliRunner
import pytest
from support.analysis.graph_defs import message_of
from support.analysis.networks import (
    fresh_graph,
    inputs,
    layer,
    loss_of,
    one_layer,
    optimizer,
    two_branch,
)
from support.commands import ROOT, write_graph
from support.pages.html_page import cells, read_page
import tensorflow.compat.v1 as tf

from bnguard.analysis.rules import RULES, page
from bnguard.cli import commands
from bnguard.repository import audit

pytestmark = pytest.mark.slow

CLEAN, FOUND, FAILED = 0, 1, 2


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Graphs on disk: healthy.meta, broken.meta, and what is none: garbage.meta."""
    folder = tmp_path_factory.mktemp("files")
    for name, build in (("healthy", one_layer), ("broken", two_branch)):
        with fresh_graph():
            build()
            tf.train.export_meta_graph(str(folder / f"{name}.meta"))
    (folder / "garbage.meta").write_bytes(b"\xffno graph")
    return folder


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    """A SavedModel of two graphs: `serve`, healthy, with two signatures; and `train`, broken."""
    folder = str(tmp_path_factory.mktemp("saved") / "model")
    builder = tf.saved_model.Builder(folder)
    with fresh_graph() as graph, tf.Session() as session:
        one_layer()
        session.run(tf.global_variables_initializer())
        x, y = graph.get_tensor_by_name("x:0"), graph.get_tensor_by_name("output:0")
        with tf.variable_scope(tf.get_variable_scope(), reuse=True):
            trains = layer(x, True, reuse=True, updates_collections=None)
        signatures = {
            key: tf.saved_model.predict_signature_def({"x": x}, {"y": output})
            for key, output in (("predict", y), ("adapt", trains))
        }
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
    with fresh_graph():
        two_branch()
        builder.add_meta_graph(["train"])
    builder.save()
    return folder


def run(*arguments):
    result = CliRunner().invoke(commands.cli, ["audit", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result


def as_json(*arguments):
    return json.loads(run(*arguments, "--format", "json").output)


def codes(document):
    return {finding["rule"] for finding in findings(document)}


def findings(document):
    return [finding for report in document["reports"] for finding in report["findings"]]


class TestExitStatus:
    def test_the_status_tells_clean_found_and_failed_apart(self, files):
        assert run(files / "healthy.meta").exit_code == CLEAN
        assert run(files / "broken.meta").exit_code == FOUND
        assert run(files / "garbage.meta").exit_code == FAILED
        assert run(files / "absent.meta").exit_code == FAILED

    def test_a_warning_is_a_finding(self, tmp_path):
        with fresh_graph():
            tf.get_variable("bn/moving_mean", [4])
            tf.train.export_meta_graph(str(tmp_path / "graph.meta"))
        result = run(tmp_path / "graph.meta")
        assert "BN205 statistics-trainable (warning)" in result.output
        assert result.exit_code == FOUND

    def test_an_unreadable_file_does_not_hide_the_other_reports(self, files):
        names = ("garbage.meta", "broken.meta", "absent.meta", "healthy.meta")
        result = run(*(files / name for name in names))
        assert result.exit_code == FOUND
        total = "Total: 2 graphs in 2 files: 2 defects; 2 paths could not be read"
        assert result.output.splitlines()[-1] == total
        assert "BN101 statistics-written-at-inference" in result.output
        assert "healthy.meta: assumed" in result.output
        for name, reason in (("garbage.meta", "not a graph"), ("absent.meta", "cannot be read")):
            (line,) = (line for line in result.output.splitlines() if name in line)
            assert line.startswith("Error: ")
            assert reason in line

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--fetch", "nosuch"], "no node is named 'nosuch'"),
            (["--feed", "nosuch=1"], "no node is named 'nosuch'"),
            (
                ["--feed", "is_training=flase"],
                "the text 'flase' is fed to is_training:0; expected true or false",
            ),
            (["--feed", "x=O.5"], "the text 'O.5' is fed to x:0; expected a number"),
            (["--train-op", "nosuch"], "no node is named 'nosuch'"),
            (["--signature", "nosuch"], "no signature is called 'nosuch'"),
            (["--checkpoint", "nosuch"], "nosuch.index: cannot be read"),
            (["--select", "BN9"], "no rule's code begins with 'BN9'"),
            (["--ignore", "statistics"], "no rule's code begins with 'statistics'"),
            (["--format", "xml"], "xml"),
            (["--jobs", "0"], "0"),
            (["--nosuch"], "--nosuch"),
        ],
    )
    def test_bad_usage_is_one_line_and_exit_2(self, files, arguments, message):
        result = run(files / "healthy.meta", *arguments)
        assert result.exit_code == FAILED
        (line,) = (line for line in result.output.splitlines() if line.startswith("Error: "))
        assert message in line

    def test_a_file_named_like_the_start_of_its_error_is_named(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        write_graph("n", ("a", "Identity", "nowhere"))
        assert "Error: n: node a has the input 'nowhere'" in run("n").output

    def test_no_path_is_bad_usage(self):
        assert run().exit_code == FAILED


class TestOptions:
    def test_a_fed_flag_decides_whether_the_fetch_writes(self, files):
        path, rule = files / "healthy.meta", ("--select", "BN101")
        for feed, status in (("true", FOUND), ("False", CLEAN), ("1", FOUND), ("0", CLEAN)):
            fed = run(path, *rule, "--fetch", "output", "--feed", f"is_training={feed}")
            assert (fed.exit_code, "nothing assumed" in fed.output) == (status, False)
        first, _ = findings(as_json(path, *rule, "--fetch", "output:0", "--feed", "is_training"))
        assert not first["certain"]

    def test_several_fetches_are_one_step(self, files):
        arguments = ["--fetch", "x", "--fetch", "output", "--train-op", "Momentum"]
        document = as_json(files / "broken.meta", *arguments)
        assert {finding["fetch"] for finding in findings(document)} == {"x, output"}
        assert document["reports"][0]["assumed"]["train_ops"] == []

    def test_select_and_ignore_choose_the_rules(self, files):
        path = files / "broken.meta"
        assert codes(as_json(path)) == {"BN101", "BN102"}
        assert codes(as_json(path, "--select", "BN102,BN3")) == {"BN102"}
        assert codes(as_json(path, "--select", "BN102", "--select", "BN101")) == {"BN101", "BN102"}
        assert codes(as_json(path, "--ignore", "BN102")) == {"BN101"}
        assert run(path, "--ignore", "BN1").exit_code == CLEAN

    def test_tags_choose_a_graph(self, saved_model):
        both = as_json(saved_model)["reports"]
        assert [report["source"].rpartition(" ")[2] for report in both] == ["[serve]", "[train]"]
        assert codes(as_json(saved_model, "--tags", "train")) == {"BN101", "BN102"}
        result = run(saved_model, "--tags", "serve,gpu")
        assert result.exit_code == FAILED
        assert "no graph with the tags 'serve,gpu'; it has 'serve', 'train'" in result.output

    def test_a_signature_names_the_fetches(self, saved_model):
        serve = ["--tags", "serve", "--select", "BN101"]
        assert run(saved_model, *serve, "--signature", "predict").exit_code == CLEAN
        for options in (["--signature", "adapt"], []):
            found = findings(as_json(saved_model, *serve, *options))
            assert {finding["fetch"] for finding in found} == {"signature adapt"}

    def test_statistics_that_a_checkpoint_lacks_are_found(self, tmp_path):
        with fresh_graph(), tf.Session() as session:
            optimizer().minimize(loss_of(layer(inputs(), True, updates_collections=None)))
            session.run(tf.global_variables_initializer())
            everything, trained = tf.train.Saver(), tf.train.Saver(tf.trainable_variables())
            whole = everything.save(session, str(tmp_path / "whole"))
            part = trained.save(session, str(tmp_path / "part"), write_meta_graph=False)
        rule = ("--select", "BN301", "--checkpoint")
        assert run(f"{whole}.meta", *rule, whole).exit_code == CLEAN
        missing = findings(as_json(f"{whole}.meta", *rule, part))
        assert [finding["variable"] for finding in missing] == [
            "bn/moving_mean",
            "bn/moving_variance",
        ]
        assert "not in the checkpoint, which contains 2 names" in missing[0]["message"]


class TestFiles:
    def test_a_directory_is_searched(self, files, saved_model, tmp_path):
        (tmp_path / "runs" / "1").mkdir(parents=True)
        for name in ("healthy.meta", "broken.meta"):
            data = (files / name).read_bytes()
            (tmp_path / "runs" / "1" / name).write_bytes(data)
        (tmp_path / "runs" / "notes.txt").write_text("none")
        reports = as_json(tmp_path, saved_model)["reports"]
        assert [os.path.basename(report["source"].split(" ")[0]) for report in reports] == [
            "broken.meta",
            "healthy.meta",
            "saved_model.pb",
            "saved_model.pb",
        ]

    def test_a_directory_without_graphs_is_an_error(self, tmp_path):
        result = run(tmp_path)
        assert result.exit_code == FAILED
        assert f"{tmp_path}: no graph here; expected saved_model.pb" in result.output

    @pytest.mark.parametrize("jobs", [1, 3])
    def test_other_files_in_a_directory_are_skipped_and_counted(self, jobs, files, tmp_path):
        for name in ("a", "b"):
            (tmp_path / f"{name}.pbtxt").write_text("item {\n  id: 1\n}\n")
        (tmp_path / "asset.meta").write_text("fileFormatVersion: 2\nguid: 1\n")
        for name, status in (("healthy", CLEAN), ("broken", FOUND)):
            (tmp_path / "graph.meta").write_bytes((files / f"{name}.meta").read_bytes())
            result = run(tmp_path, "--jobs", jobs)
            assert result.exit_code == status
            found = "2 defects" if status else "nothing found"
            assert result.output.splitlines()[-2:] == [
                "Skipped 3 files of other kinds: label map (2), asset description of Unity (1)",
                f"Total: 1 graph in 1 file: {found}",
            ]

    def test_a_damaged_graph_in_a_directory_is_an_error(self, files, tmp_path):
        (tmp_path / "a.pbtxt").write_text("item {\n  id: 1\n}\n")
        (tmp_path / "damaged.meta").write_bytes((files / "healthy.meta").read_bytes()[:1000])
        result = run(tmp_path)
        assert result.exit_code == FAILED
        assert "Skipped 1 file of other kinds: label map (1)" in result.output
        assert f"Error: {tmp_path / 'damaged.meta'}: not a graph, or damaged" in result.output

    def test_a_directory_of_other_files_is_an_error(self, files, tmp_path):
        (tmp_path / "a.pbtxt").write_text("item {\n  id: 1\n}\n")
        result = run(tmp_path, files / "healthy.meta")
        assert result.exit_code == FAILED
        assert result.output.splitlines()[-2] == (
            f"Error: {tmp_path}: no graph here, but 1 file of other kinds: label map (1)"
        )

    def test_another_file_that_is_named_is_an_error_of_one_line(self, files, tmp_path):
        path = tmp_path / "model.meta"
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
        result = run(path, files / "healthy.meta")
        assert result.exit_code == FAILED
        assert result.output.splitlines()[-2] == (
            f"Error: {path}: a Git LFS pointer, not a TensorFlow graph; "
            "run `git lfs pull` to fetch what it points to"
        )
        assert "healthy.meta: assumed" in result.output

    def test_a_checkpoint_that_is_a_pointer_is_an_error_of_one_line(self, files, tmp_path):
        (tmp_path / "model.index").write_text("version https://git-lfs.github.com/spec/v1\n")
        result = run(files / "healthy.meta", "--checkpoint", tmp_path / "model")
        assert result.exit_code == FAILED
        assert result.output.startswith(
            f"Error: {files / 'healthy.meta'}: {tmp_path / 'model'}.ind"
        )
        assert "a Git LFS pointer" in result.output
        assert "git lfs pull" in result.output

    def test_a_page_has_the_steps_and_layers_of_each_graph(self, files):
        paths = [str(files / f"{name}.meta") for name in ("broken", "healthy")]
        result = run(*paths, "--format", "html", "--jobs", "2")
        assert result.exit_code == FOUND
        document = read_page(result.output)
        assert [heading.text for heading in document.all("h2")] == paths
        tables = [cells(table) for table in document.all("section")]
        trains = ("WB", {"written", "batch"})
        assert tables == [
            {"bn": [trains, ("U!", {"unordered", "defect"})]},
            {"bn": [trains, ("R", {"read"})]},
        ]

    def test_jobs_do_not_change_the_output(self, files):
        paths = [files / name for name in ("broken.meta", "garbage.meta", "healthy.meta")]
        alone, three = run(*paths), run(*paths, "--jobs", "3")
        assert (alone.exit_code, alone.output) == (three.exit_code, three.output)

    def test_a_file_too_large_for_memory_does_not_lose_other_reports(self, files, monkeypatch):
        audit_all, (large, good) = audit.audit_all, (files / "broken.meta", files / "healthy.meta")

        def refuse(path, *arguments):
            if path == str(large):
                raise MemoryError
            return audit_all(path, *arguments)

        monkeypatch.setattr(audit, "audit_all", refuse)
        result = run(large, good)
        assert result.exit_code == 2
        assert result.output.startswith(str(good))
        error = result.output.splitlines()[-2]
        assert error.startswith(f"Error: {large}: not enough memory to audit it")

    @pytest.mark.parametrize("jobs", ["1", "2"])
    @pytest.mark.parametrize("wants_traceback", [False, True])
    def test_an_unexpected_error_is_one_line_and_exit_2(self, files, jobs, wants_traceback):
        """In a process of its own, so that the workers fail, too."""
        script = (
            "import sys; from bnguard.analysis.frontend import loader;\n"
            "decode = loader._decode\n"
            "def fail(data, path, tags):\n"
            "    if 'broken' in path: raise RuntimeError('a\\nb')\n"
            "    return decode(data, path, tags)\n"
            "loader._decode = fail\n"
            "from bnguard.cli import main; main()"
        )
        paths = [str(files / name) for name in ("broken.meta", "healthy.meta")]
        process = subprocess.run(
            [sys.executable, "-c", script, "audit", "--jobs", jobs, *paths],
            capture_output=True,
            env={**os.environ, "BNGUARD_TRACEBACK": "1" if wants_traceback else ""},
            cwd=ROOT,
            check=False,
        )
        assert process.returncode == 2
        assert process.stdout.decode().startswith(paths[1])
        *before, error = process.stderr.decode().splitlines()
        assert error.startswith(f"Error: {paths[0]}: unexpected RuntimeError (a); this is a bug.")
        assert ("Traceback (most recent call last):" in before) == wants_traceback
        assert bool(before) == wants_traceback

    def test_a_loop_without_an_entry_is_no_finding(self, tmp_path):
        path = write_graph(
            tmp_path / "loop.pb",
            ("merge", "Merge", "next"),
            ("next", "NextIteration", "merge"),
            ("amount", "Const"),
            ("update", "AssignSub", "merge", "amount"),
        )
        result = run(path)
        assert (result.exit_code, "nothing found" in result.output) == (0, True)

    @pytest.mark.parametrize("op_type", ["Pack", "ConcatV2", "Merge"])
    @pytest.mark.parametrize("count", [4000, 4096, 5000])
    def test_an_assignment_of_very_many_tensors_is_an_update(self, tmp_path, op_type, count):
        parts = [(f"part_{number}", "Relu", "x") for number in range(count)]
        path = write_graph(
            tmp_path / "many.pb",
            ("bn/moving_mean", "VariableV2"),
            ("x", "Placeholder"),
            *parts,
            ("all", op_type, *(name for name, *_ in parts), *["x"] * (op_type == "ConcatV2")),
            ("update", "Assign", "bn/moving_mean", "all"),
            ("y", "Identity", "x", "^update"),
        )
        result = run(path, "--fetch", "y", "--feed", "x")
        assert (result.exit_code, "BN101" in result.output) == (1, True)

    @pytest.mark.parametrize("message_type", ["GraphDef", "MetaGraphDef", "SavedModel"])
    def test_text_and_binary_are_the_same(self, message_type, files, saved_model, tmp_path):
        from google.protobuf import text_format
        from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

        if message_type == "SavedModel":
            message, path = (
                saved_model_pb2.SavedModel(),
                os.path.join(saved_model, "saved_model.pb"),
            )
        else:
            message, path = meta_graph_pb2.MetaGraphDef(), str(files / "broken.meta")
        with open(path, "rb") as file:
            message.ParseFromString(file.read())
        message = message.graph_def if message_type == "GraphDef" else message
        binary, text = tmp_path / "binary.pb", tmp_path / "text.pbtxt"
        binary.write_bytes(message.SerializeToString())
        text.write_text(text_format.MessageToString(message))
        first, second = (run(path).output.replace(str(path), "") for path in (binary, text))
        assert first == second
        assert "BN101" in first

    def test_a_saved_model_may_be_text(self, saved_model, tmp_path):
        from google.protobuf import text_format
        from tensorflow.core.protobuf import saved_model_pb2

        with open(os.path.join(saved_model, "saved_model.pb"), "rb") as file:
            message = saved_model_pb2.SavedModel.FromString(file.read())
        (tmp_path / "saved_model.pbtxt").write_text(text_format.MessageToString(message))
        assert codes(as_json(tmp_path, "--tags", "train")) == {"BN101", "BN102"}


class TestProcess:
    """What only a process of its own shows: streams, colors."""

    def run(self, *arguments, before=None, **environment):
        command = [sys.executable, "-m", "bnguard", "audit", *map(str, arguments)]
        return subprocess.run(
            command,
            capture_output=True,
            env={**os.environ, **environment},
            preexec_fn=before,
            check=False,
        )

    @pytest.mark.skipif(sys.platform != "linux", reason="not every system keeps this limit")
    def test_a_small_file_takes_little_memory(self, files):
        import resource

        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))  # bytes of address space

        process = self.run(files / "broken.meta", before=limit)
        assert process.returncode == FOUND
        assert process.stdout == self.run(files / "broken.meta").stdout

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a named pipe is needed")
    def test_a_pipe_is_read_to_its_end(self, tmp_path):
        graph = message_of([("a", "Const"), ("b", "Identity", "a"), ("last", "NoOp")])
        graph.node[0].attr["value"].tensor.tensor_content = bytes(5 << 19)
        pipe, file = tmp_path / "pipe", tmp_path / "file"
        file.write_bytes(graph.SerializeToString())
        os.mkfifo(pipe)
        with subprocess.Popen(["cp", str(file), str(pipe)]) as writer:
            process = self.run(pipe, "--fetch", "last")
        assert (process.returncode, writer.returncode) == (CLEAN, 0)
        of_pipe = process.stdout.decode().replace(str(pipe), str(file))
        assert of_pipe == run(file, "--fetch", "last").output

    def test_reports_go_to_stdout_without_colors_and_errors_to_stderr(self, files):
        process = self.run(files / "broken.meta", files / "garbage.meta", "--format", "json")
        assert process.returncode == FOUND
        assert codes(json.loads(process.stdout.decode())) == {"BN101", "BN102"}
        assert process.stderr.decode().startswith("Error: ")
        assert len(process.stderr.decode().splitlines()) == 1
        assert b"\033" not in self.run(files / "broken.meta").stdout

    @pytest.mark.skipif(not hasattr(os, "openpty"), reason="a terminal is needed")
    def test_a_terminal_gets_colors_unless_no_color_is_set(self, files):
        assert "\033[31m" in self.on_a_terminal(files / "broken.meta")
        assert "\033" not in self.on_a_terminal(files / "broken.meta", NO_COLOR="1")

    def on_a_terminal(self, path, **environment):
        ours, its = os.openpty()
        command = [sys.executable, "-m", "bnguard", "audit", str(path)]
        with subprocess.Popen(command, stdout=its, env={**os.environ, **environment}) as process:
            os.close(its)
            text = b""
            try:
                while True:
                    chunk = os.read(ours, 4096)
                    if not chunk:
                        break
                    text += chunk
            except OSError:  # how Linux says that the other end is closed
                pass
        os.close(ours)
        assert process.returncode == FOUND
        return text.decode()


class TestExplain:
    def explain(self, *arguments):
        return CliRunner().invoke(commands.cli, ["explain", *arguments])

    @pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
    def test_a_rule_is_found_by_code_or_name_in_any_case(self, rule):
        for name in (rule.code, rule.code.lower(), rule.name):
            assert self.explain(name).output == page(rule)

    def test_without_a_code_the_rules_are_listed(self):
        lines = self.explain().output.splitlines()
        assert lines == [f"{rule.code}  {rule.name}" for rule in RULES]

    def test_an_unknown_code_is_exit_2_and_lists_the_codes(self):
        result = self.explain("BN999")
        assert result.exit_code == FAILED
        assert "no rule is called 'BN999'; the rules are BN101, BN102" in result.output
