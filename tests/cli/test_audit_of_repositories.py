"""`bnguard audit` in a repository: what is audited, what is printed where, and the exit status."""

from inspect import signature
import json
import lzma
import os
import re
import shutil
import subprocess

from click.testing import CliRunner
import jsonschema
import pytest
from support.commands import bnguard as in_process
from support.commands import drifting, write_graph
from support.odd_folders import moved_deep, refuse_to_list
from support.paths import ROOT

from bnguard.analysis.api import AuditOptions
from bnguard.cli import commands
from bnguard.cli.audit import audit_command
from bnguard.repository.configuration import load_configuration

pytestmark = pytest.mark.slow

CLEAN, FOUND, FAILED = 0, 1, 2
# click before 8.2 has to be asked to keep stdout and stderr apart.
APART = {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
LABELS = "item {\n  id: 1\n}\n"
SHELLS = ("bash", "zsh", "fish")
FETCH = ("--fetch", "bn/y", "--select", "BN1")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def clean(path):
    return write_graph(path, ("x", "Placeholder"), ("bn/y", "Identity", "x"))


def drifting_too(path):
    """Write the graph of `drifting` with one node more."""
    return write_graph(
        path,
        ("bn/moving_mean", "VariableV2"),
        ("x", "Placeholder"),
        ("bn/update", "AssignSub", "bn/moving_mean", "x"),
        ("bn/y", "Identity", "x", "^bn/update"),
        ("bn/z", "NoOp"),
    )


def damaged(path):
    path.write_bytes(b"\xffno graph")


def run(*arguments):
    """Run the audit; return the exit status, and the lines of stdout and stderr."""
    result = CliRunner(**APART).invoke(commands.cli, ["audit", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.exit_code, result.stdout.splitlines(), result.stderr.splitlines()


def document(*arguments):
    _, lines, _ = run(*arguments, "--format", "json")
    return json.loads("\n".join(lines))


class TestExitStatus:
    @pytest.mark.parametrize(
        ("kinds", "status"),
        [
            ([clean], CLEAN),
            ([drifting], FOUND),
            ([damaged], FAILED),
            ([clean, damaged], FAILED),
            ([drifting, damaged], FOUND),
            ([clean, drifting, damaged], FOUND),
        ],
    )
    def test_what_was_found_comes_before_what_could_not_be_read(self, kinds, status, here):
        paths = [f"{number}.pb" for number in range(len(kinds))]
        for path, write in zip(paths, kinds):
            write(here / path)
        for given in (paths, ["."]):
            got, lines, errors = run(*given, *FETCH)
            assert got == status
            assert len([line for line in errors if line.startswith("Error: ")]) == (
                damaged in kinds
            )
            assert any("BN101" in line for line in lines) == (drifting in kinds)

    def test_a_label_map_in_a_folder_does_not_matter_and_a_given_one_fails(self, here):
        (here / "labels.pbtxt").write_text(LABELS)
        clean(here / "a.pb")
        assert run(".", *FETCH)[0] == CLEAN
        assert run("a.pb", "labels.pbtxt", *FETCH)[0] == FAILED
        assert run("labels.pbtxt", *FETCH)[0] == FAILED
        drifting(here / "b.pb")
        assert run(".", *FETCH)[0] == run("b.pb", "labels.pbtxt", *FETCH)[0] == FOUND

    def test_what_is_skipped_is_called_by_its_name_without_an_article(self, here):
        for name in ("input_0.pb", "host.xplane.pb", "x.pb", "keras_metadata.pb"):
            (here / name).write_bytes(b"\xffno graph")
        (here / "x.pb").write_bytes(b"\x89HDF\r\n\x1a\n")
        clean(here / "a.pb")
        kinds = ["HDF5 file of Keras", "metadata of Keras", "profile of TensorFlow"]
        kinds.append("tensor of a test of ONNX")
        _, _, (line,) = run(".", *FETCH)
        assert sorted(re.findall(r"[:,] (\w[^(]+) \(1\)", line)) == kinds

    def test_only_graphs_skips_what_is_given_and_no_graph(self, here):
        (here / "labels.pbtxt").write_text(LABELS)
        assert run("labels.pbtxt", "--only-graphs") == (
            CLEAN,
            [],
            ["Skipped 1 file of other kinds: label map (1)"],
        )
        drifting(here / "b.pb")
        assert run("b.pb", "labels.pbtxt", "--only-graphs", *FETCH)[0] == FOUND
        damaged(here / "c.pb")
        assert run("c.pb", "labels.pbtxt", "--only-graphs")[0] == FAILED
        (here / "empty").mkdir()
        assert run("empty", "--only-graphs")[0] == FAILED

    def test_a_folder_that_cannot_be_read_fails_unless_something_was_found(self, here, monkeypatch):
        refuse_to_list("secret", monkeypatch)
        (here / "secret").mkdir()
        clean(here / "a.pb")
        status, lines, errors = run(".", *FETCH)
        assert status == FAILED
        assert errors == [
            f"Error: {os.path.join('.', 'secret')}: cannot be searched (Permission denied); "
            "make it readable, or exclude it"
        ]
        assert lines[-1] == "Total: 1 graph in 1 file: nothing found; 1 path could not be read"
        assert run(".", "--exclude", "secret", *FETCH)[0] == CLEAN
        drifting(here / "b.pb")
        assert run(".", *FETCH)[0] == FOUND
        for name in ("a.pb", "b.pb"):
            (here / name).write_text(LABELS)
        status, _, errors = run(".", *FETCH)
        assert (status, errors[0]) == (FAILED, "Skipped 2 files of other kinds: label map (2)")
        assert len(errors) == 2  # nothing says that there is no graph: it may be in the folder

    def test_exit_zero_is_about_findings_only(self, here):
        drifting(here / "a.pb")
        assert run("a.pb", "--exit-zero", *FETCH)[0] == CLEAN
        damaged(here / "b.pb")
        assert run("a.pb", "b.pb", "--exit-zero", *FETCH)[0] == FAILED

    def test_the_help_tells_them(self):
        text = " ".join(CliRunner().invoke(commands.cli, ["audit", "--help"]).output.split())
        assert " ".join(audit_command.epilog.split()) in text
        for words in ("0 if nothing was found", "1 if a defect was found", "2 if nothing was"):
            assert words in text

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--config", "x.toml"], "x.toml: cannot be read (No such file or directory)"),
            (["--config", "x.toml", "--no-config"], "--config and --no-config exclude each other"),
            (["--baseline", "x.json"], "x.json: the baseline cannot be read (No such file"),
            (["--write-baseline", "no/x"], "no/x: the baseline cannot be written (No such file"),
            (["--output", "no/x"], "--output no/x: cannot be written (No such file or directory)"),
            (["--output", ""], "--output"),
            (["--select", "BN9"], "no rule's code begins with 'BN9'"),
        ],
    )
    def test_bad_usage_is_one_line(self, arguments, message, here):
        drifting(here / "a.pb")
        status, _, errors = run("a.pb", *FETCH[:2], *arguments)
        assert status == FAILED
        (line,) = [line for line in errors if line.startswith("Error: ")]
        assert message in line


class TestFiles:
    @pytest.fixture
    def repository(self, here):
        """Make one with exports, a label map, a pointer, equal graphs and what is not searched."""
        subprocess.run(["git", "init"], check=True, capture_output=True)
        for folder in ("export/1", "runs", "ignored", ".venv"):
            os.makedirs(folder)
        (here / ".gitignore").write_text("ignored/\n")
        (here / "labels.pbtxt").write_text(LABELS)
        (here / "pointer.meta").write_text(LFS)
        clean(here / "export" / "1" / "a.pb")
        for folder in ("ignored", ".venv"):
            drifting(here / folder / "a.pb")
        for step in range(6):
            drifting(here / "runs" / f"model.ckpt-{step}00.meta")
        return here

    @pytest.mark.parametrize("jobs", ["1", "2"])
    def test_each_graph_is_judged_once_and_the_rest_is_counted(self, jobs, repository):
        status, lines, errors = run(".", "--jobs", jobs, *FETCH)
        assert status == FOUND
        assert sum(line.startswith("BN101") for line in lines) == 1
        (listed,) = [line for line in lines if line.startswith("the same graph: ")]
        names = [f"runs/model.ckpt-{step}00.meta" for step in range(6)]
        rest = lines[lines.index(listed) + 1]
        assert f"{listed} {rest.strip()}" == f"the same graph: {', '.join(names[1:])}"
        assert f"{names[0]}: nothing assumed" in "\n".join(lines)
        assert errors == ["Skipped 2 files of other kinds: label map (1), Git LFS pointer (1)"]
        assert lines[-1] == "Total: 2 graphs in 7 files: 1 defect"
        reports = document(".", "--jobs", jobs, *FETCH)["reports"]
        assert [report["copies"] for report in reports] == [[], names[1:]]

    def test_equal_files_that_are_no_graphs_are_counted_one_by_one(self, here):
        for name in ("a", "b", "c"):
            (here / f"{name}.pbtxt").write_text(LABELS)
            damaged(here / f"{name}.pb")
        status, _, errors = run(".")
        assert status == FAILED
        assert errors[0] == "Skipped 3 files of other kinds: label map (3)"
        assert [line.split(":")[1].strip() for line in errors[1:]] == ["a.pb", "b.pb", "c.pb"]

    def test_equal_graphs_with_other_options_are_judged_apart(self, here):
        (here / "bnguard.toml").write_text("[paths.'a.pb']\nignore = 'BN101'\n")
        for name in ("a.pb", "b.pb", "c.pb"):
            drifting(here / name)
        reports = document("a.pb", "b.pb", "c.pb", *FETCH)["reports"]
        assert [report["source"] for report in reports] == ["a.pb", "b.pb"]
        assert [len(report["findings"]) for report in reports] == [0, 1]
        assert [report["copies"] for report in reports] == [[], ["c.pb"]]

    def test_exclusions_are_counted_and_hold_for_given_files_too(self, here):
        os.makedirs("old")
        for name in ("a.pb", "b.pb", "old/c.pb"):
            drifting(here / name)
        status, lines, errors = run(".", "--exclude", "old", "--exclude", "b.*", *FETCH)
        assert lines[-1] == "Total: 1 graph in 1 file: 1 defect"
        assert (status, errors) == (FOUND, ["Excluded 1 file"])
        assert run("b.pb", "old/c.pb", "--exclude", "old", "--exclude", "b.*", *FETCH) == (
            CLEAN,
            [],
            ["Excluded 2 files"],
        )

    def test_a_file_with_two_names_is_one_file(self, here):
        os.makedirs("real")
        drifting(here / "real" / "a.pb")
        (here / "real" / "labels.pbtxt").write_text(LABELS)
        os.symlink("real", "link")
        names = ("real", "./real/a.pb", str(here / "real" / "a.pb"), "link/a.pb", "real/")
        status, lines, errors = run(*names, *FETCH)
        assert (status, errors) == (FOUND, ["Skipped 1 file of other kinds: label map (1)"])
        assert lines[0].startswith("real/a.pb: nothing assumed")
        assert not any(line.startswith("the same graph: ") for line in lines)
        assert lines[-1] == "Total: 1 graph in 1 file: 1 defect"
        os.makedirs("far/off")
        drifting_too(here / "far" / "a.pb")
        os.symlink("far/off", "away")  # so that away/../a.pb is far/a.pb
        clean(here / "a.pb")
        assert [one["source"] for one in document("a.pb", "away/../a.pb", *FETCH)["reports"]] == [
            "a.pb",
            "away/../a.pb",
        ]

    @pytest.mark.parametrize(
        ("path", "options", "reason"),
        [
            (
                "empty",
                [],
                "; expected saved_model.pb, or files that end with .meta, .pb or .pbtxt.",
            ),
            ("labels", [], ", but 1 file of other kinds: label map (1)"),
            ("models", ["--exclude", "*.pb"], ", but 1 file excluded"),
            (".", ["--exclude", "*"], ", but 4 folders excluded"),
            ("kept", [], ", but what git ignores, which is audited only if you name it"),
        ],
    )
    def test_a_folder_without_graphs_fails_and_says_why(self, path, options, reason, here):
        subprocess.run(["git", "init"], check=True, capture_output=True)
        for folder in ("empty", "labels", "models", "kept"):
            (here / folder).mkdir()
        (here / "labels" / "a.pbtxt").write_text(LABELS)
        drifting(here / "models" / "a.pb")
        drifting(here / "kept" / "a.tmp.pb")
        (here / "kept" / "notes.txt").write_text("")
        (here / ".gitignore").write_text("*.tmp.pb\n")
        status, lines, errors = run(path, *options)
        assert (status, lines) == (FAILED, [])
        assert errors[-1].startswith(f"Error: {path}: no graph here{reason}")

    def test_a_folder_may_be_deep_and_a_path_need_not_be_utf_8(self, here):
        drifting(here / os.fsdecode(b"\xff [a](b).pb"))
        drifting_too(here / "x.pb")
        with moved_deep("x.pb") as deep:
            status, lines, errors = run(".", "--format", "sarif", *FETCH)
        assert (status, errors) == (FOUND, [])
        (log,) = json.loads("\n".join(lines))["runs"]
        places = [result["locations"][0]["physicalLocation"] for result in log["results"]]
        uris = {place["artifactLocation"]["uri"] for place in places}
        assert uris == {deep, "%FF%20%5Ba%5D%28b%29.pb"}


class TestOutput:
    def test_the_report_goes_to_a_file_and_the_total_to_stdout(self, here):
        drifting(here / "a.pb")
        _, report, _ = run("a.pb", "--format", "sarif", *FETCH)
        status, lines, errors = run("a.pb", "--format", "sarif", "--output", "a.sarif", *FETCH)
        assert (status, errors) == (FOUND, [])
        assert lines == ["Total: 1 graph in 1 file: 1 defect"]
        assert (here / "a.sarif").read_text() == "\n".join(report) + "\n"

    def test_the_file_called_minus_is_stdout(self, here):
        drifting(here / "a.pb")
        assert run("a.pb", "--output", "-", *FETCH) == run("a.pb", *FETCH)
        assert os.listdir(str(here)) == ["a.pb"]

    @pytest.mark.parametrize("form", ["json", "sarif"])
    def test_what_programs_read_is_valid_whatever_else_is_said(self, form, here):
        drifting(here / "a.pb")
        damaged(here / "b.pb")
        (here / "c.pbtxt").write_text(LABELS)
        _, lines, errors = run(".", "--statistics", "--format", form, *FETCH)
        assert set(json.loads("\n".join(lines))) >= {"version"}
        assert [line.split()[0] for line in errors] == ["Skipped", "Error:", "1"]

    def test_json_is_valid_by_its_schema_and_names_what_was_not_read(self, here):
        drifting(here / "a.pb")
        damaged(here / "b.pb")
        with open(os.path.join(ROOT, "docs", "schema", "report.json"), encoding="utf-8") as file:
            schema = json.load(file)
        for arguments in (["."], ["a.pb"], ["b.pb"]):
            found = document(*arguments, *FETCH)
            jsonschema.validate(found, schema)
            assert len(found["errors"]) == (arguments != ["a.pb"])
            assert len(found["reports"]) == (arguments != ["b.pb"])

    def test_where_nothing_could_be_read_sarif_is_an_empty_run(self, here):
        damaged(here / "a.pb")
        status, lines, errors = run("a.pb", "--format", "sarif")
        (log,) = json.loads("\n".join(lines))["runs"]
        assert (status, log["results"]) == (FAILED, [])
        (invocation,) = log["invocations"]
        assert invocation["executionSuccessful"] is False
        (notification,) = invocation["toolExecutionNotifications"]
        assert errors == [f"Error: {notification['message']['text']}"]

    def test_statistics_count_causes_and_graphs_by_rule(self, here):
        drifting(here / "a.pb")
        drifting_too(here / "b.pb")
        _, lines, _ = run("a.pb", "b.pb", "--statistics", "--fetch", "bn/y", "--select", "BN101")
        assert lines[-3:] == [
            "",
            "2  BN101 statistics-written-at-inference, in 2 graphs",
            "Total: 2 graphs in 2 files: 2 defects",
        ]

    def test_one_file_has_no_total(self, here):
        drifting(here / "a.pb")
        assert not any(line.startswith("Total") for line in run("a.pb", *FETCH)[1])
        assert run(".", *FETCH)[1][-1].startswith("Total: 1 graph in 1 file: ")


class TestConfiguration:
    def test_the_report_says_which_file_configured_it(self, here, monkeypatch):
        drifting(here / "a.pb")
        (here / "pyproject.toml").write_text(
            "[tool.bnguard]\nselect = ['BN101']\n[tool.bnguard.paths.'a.*']\nfetch = 'bn/y'\n"
        )
        status, lines, _ = run("a.pb")
        assert (status, lines[0]) == (
            FOUND,
            "a.pb: nothing assumed, found no train op (--train-op), configured by pyproject.toml",
        )
        assert document("a.pb")["reports"][0]["configured_by"] == "pyproject.toml"
        (here / "in").mkdir()
        monkeypatch.chdir("in")
        (report,) = document("../a.pb")["reports"]
        assert report["configured_by"] == os.path.join("..", "pyproject.toml")
        assert {one["rule"] for one in report["findings"]} == {"BN101"}
        _, lines, _ = run("../a.pb", "--no-config")
        assert "configured by" not in "\n".join(lines)
        assert document("../a.pb", "--no-config")["reports"][0]["configured_by"] == ""

    def test_an_option_replaces_what_the_file_says(self, here):
        drifting(here / "a.pb")
        (here / "bnguard.toml").write_text("format = 'json'\nselect = 'BN3'\n")
        _, lines, _ = run("a.pb", "--fetch", "bn/y")
        (report,) = json.loads("\n".join(lines))["reports"]
        assert report["findings"] == []
        _, lines, _ = run("a.pb", *FETCH, "--format", "text")
        assert "BN101 statistics-written-at-inference (error)" in lines

    def test_a_mistake_in_the_file_is_one_line_and_exit_2(self, here):
        drifting(here / "a.pb")
        (here / "bnguard.toml").write_text("exlude = []\n")
        status, lines, errors = run("a.pb")
        assert (status, lines) == (FAILED, [])
        assert errors == [
            "Error: bnguard.toml: unknown key 'exlude'; did you mean 'exclude'? "
            "The keys are exclude, select, ignore, baseline, format, paths"
        ]


class TestBaseline:
    def test_known_findings_pass_and_new_ones_do_not(self, here):
        drifting(here / "a.pb")
        status, lines, errors = run("a.pb", "--write-baseline", "known.json", *FETCH)
        assert (status, lines, errors) == (CLEAN, ["Recorded 1 finding in known.json"], [])
        status, lines, errors = run("a.pb", "--baseline", "known.json", *FETCH)
        assert (status, errors) == (CLEAN, [])
        assert lines[1].endswith(": nothing new, 1 finding known by the baseline")
        (report,) = document("a.pb", "--baseline", "known.json", *FETCH)["reports"]
        assert (report["findings"], report["known"]) == ([], 1)
        drifting(here / "b.pb", scope="other")
        assert run("b.pb", "--baseline", "known.json", "--fetch", "other/y")[0] == FOUND

    def test_an_entry_that_no_longer_occurs_is_said(self, here):
        drifting(here / "a.pb")
        run("a.pb", "--write-baseline", "known.json", *FETCH)
        clean(here / "a.pb")
        status, _, errors = run("a.pb", "--baseline", "known.json", *FETCH)
        assert status == CLEAN
        assert errors == ["known.json: 1 entry found in none of these graphs: BN101 bn/moving_mean"]
        _, _, errors = run("a.pb", "--baseline", "known.json", "--select", "BN3")
        assert errors == []

    @pytest.mark.parametrize(
        "line", ['fetch = "bn/yy"', 'feed = "nosuch=1"', 'train-op = "no"', 'checkpoint = "lost"']
    )
    def test_an_error_names_the_file_that_configured_what_is_wrong(self, line, here):
        drifting(here / "a.pb")
        (here / "bnguard.toml").write_text(f"[paths.'a.pb']\n{line}\n")
        status, _, errors = run("a.pb")
        (error,) = errors
        assert status == FAILED
        assert error.startswith("Error: a.pb: ")
        assert error.endswith(" (configured by bnguard.toml)")
        (here / "b.pb").write_bytes(b"damaged")
        assert "configured" not in run("b.pb")[2][0]

    def test_a_configured_baseline_applies_and_is_not_applied_when_one_is_recorded(self, here):
        drifting(here / "a.pb")
        (here / "bnguard.toml").write_text("baseline = 'known.json'\n")
        status, _, errors = run("a.pb", *FETCH)
        assert (status, len(errors)) == (FAILED, 1)
        for _ in range(2):
            _, lines, _ = run("a.pb", "--write-baseline", "known.json", *FETCH)
            assert lines == ["Recorded 1 finding in known.json"]
        assert run("a.pb", *FETCH)[0] == CLEAN

    def test_nothing_is_recorded_where_nothing_could_be_read(self, here):
        damaged(here / "a.pb")
        assert run("a.pb", "--write-baseline", "known.json")[0] == FAILED
        assert not (here / "known.json").exists()
        drifting(here / "b.pb")
        assert run("a.pb", "b.pb", "--write-baseline", "known.json", *FETCH)[0] == FAILED
        assert len(json.loads((here / "known.json").read_text())["findings"]) == 1


class TestDocs:
    """What docs/audit.md shows of a repository."""

    @pytest.fixture
    def section(self):
        with open(os.path.join(ROOT, "docs", "audit.md"), encoding="utf-8") as file:
            return file.read().partition("## In a repository")[2]

    def test_the_summary(self, section, here):
        networks = os.path.join(ROOT, "tests", "data", "networks")
        os.makedirs("runs")
        for path, name in (("a.meta", "two_branch"), ("runs/b.meta", "updates_never_run")):
            with lzma.open(os.path.join(networks, f"resnet_v2_50-{name}.meta.xz")) as file:
                (here / path).write_bytes(file.read())
        for number in range(5):
            shutil.copy("runs/b.meta", f"runs/{number}.meta")
        (here / "labels.pbtxt").write_text(LABELS)
        (here / "pointer.meta").write_text(LFS)
        _, lines, errors = run(".", "--statistics")
        block = re.search(
            r"```console\n\$ bnguard audit \. --statistics\n\.\.\.\n(.*?)```", section, re.DOTALL
        )
        assert block.group(1).splitlines() == [*errors, *lines[-4:]]

    def test_the_configuration(self, section, here):
        (table,) = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)
        (here / "pyproject.toml").write_text(table)
        configuration = load_configuration(None)
        assert configuration.excludes("third_party/a.pb")
        options = configuration.options_for("models/detector/a.meta", AuditOptions())
        assert options == AuditOptions(
            fetches=("scores", "boxes"),
            feeds={"is_training": False},
            train_op=("train",),
            checkpoint=os.path.join("models", "detector", "model.ckpt-5000"),
            select=("BN1", "BN2"),
            ignore=("BN206", "BN301"),
        )
        assert configuration.baseline == "bnguard-baseline.json"

    def test_the_step_of_a_workflow(self, section, here):
        (command,) = re.findall(r"^- run: bnguard audit (.*)$", section, re.MULTILINE)
        drifting(here / "a.pb")
        assert run(*command.split(), "--fetch", "bn/y")[0] == CLEAN
        (file,) = re.findall(r"sarif_file: ([\w.]+)", section)
        assert json.loads((here / file).read_text())["version"] == "2.1.0"

    def test_the_shells(self, section):
        assert set(re.findall(r"_BNGUARD_COMPLETE=(\w+)_source", section)) == set(SHELLS)

    def test_every_option_exists(self, section):
        known = {name for parameter in audit_command.params for name in parameter.opts}
        assert set(re.findall(r"--[a-z][a-z-]*", section)) <= known


class TestCompletion:
    """What the scripts of the shells ask the command, and get."""

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ("bnguard exp", ["explain"]),
            ("bnguard audit --bas", ["--baseline"]),
            ("bnguard audit --format js", ["json"]),
            ("bnguard explain bn30", ["BN301", "BN302", "BN303", "BN304"]),
            ("bnguard audit mod", ["mod"]),
        ],
    )
    def test_bash_gets_what_completes_a_word(self, words, expected):
        environment = {
            "_BNGUARD_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        lines = in_process(environment=environment).stdout.decode().splitlines()
        assert [line.partition(",")[2] for line in lines] == expected

    @pytest.mark.parametrize("shell", SHELLS)
    def test_there_is_a_script_for_each_shell(self, shell):
        process = in_process(environment={"_BNGUARD_COMPLETE": f"{shell}_source"})
        assert re.search(rb"_bnguard_completion", process.stdout)
