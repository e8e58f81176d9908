"""The hook of .pre-commit-hooks.yaml, in a repository of its own, by `pre-commit try-repo`.

pre-commit clones this repository, makes an environment and installs bnguard there with pip. The
build backend and the dependencies are those of the environment of the tests, so no registry is
asked.
"""

import lzma
import os
import re
import subprocess
import sys

from click.testing import CliRunner
import pytest
from support.commands import write_graph
from support.installation import copy_repository, offline
from support.paths import ROOT

from bnguard.analysis.ir import protos
from bnguard.cli import commands
from bnguard.cli.audit import audit_command

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.version_info < (3, 11),
        reason="the extra `test` has pre-commit for Python 3.11 and later",
    ),
]

LABELS = 'item {\n  id: 1\n  name: "cat"\n}\n'


def git(folder, *arguments):
    settings = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main")
    subprocess.run(["git", *settings, *arguments], cwd=str(folder), check=True, capture_output=True)


def commit_all(folder):
    git(folder, "init")
    git(folder, "add", "--all")
    git(folder, "commit", "--message", "all")


@pytest.fixture(scope="module")
def hooks(tmp_path_factory):
    """A repository with what an installation of this one takes, and the hooks."""
    folder = tmp_path_factory.mktemp("bnguard")
    copy_repository(folder, ".pre-commit-hooks.yaml")
    commit_all(folder)
    return folder


def try_hook(hooks, folder):
    """Run the hook on all files of a repository; return its status and output."""
    command = [sys.executable, "-m", "pre_commit", "try-repo", str(hooks), "bnguard-audit"]
    result = subprocess.run(
        [*command, "--verbose", "--all-files"],
        cwd=str(folder),
        env={**offline(), "PRE_COMMIT_HOME": str(folder / "home")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    return result.returncode, result.stdout


@pytest.fixture
def repository(tmp_path):
    """A repository with a graph, two SavedModels and a label map."""
    network = os.path.join(ROOT, "tests", "data", "networks", "resnet_v2_50-two_branch.meta.xz")
    with lzma.open(network) as file:
        meta_graph = protos.message("MetaGraphDef").FromString(file.read())
    (tmp_path / "model.meta").write_bytes(meta_graph.SerializeToString())
    (tmp_path / "export" / "1").mkdir(parents=True)
    saved_model = protos.message("SavedModel")(meta_graphs=[meta_graph])
    version = b"\x08\x01"  # the first field of a SavedModel, which ours leaves out
    content = version + saved_model.SerializeToString()
    (tmp_path / "export" / "1" / "saved_model.pb").write_bytes(content)
    (tmp_path / "export" / "2").mkdir()
    text = 'meta_graphs { graph_def { node { name: "x" op: "Placeholder" } } }'
    (tmp_path / "export" / "2" / "saved_model.pbtxt").write_text(text)
    write_graph(tmp_path / "clean.pb", ("x", "Placeholder"), ("y", "Identity", "x"))
    (tmp_path / "labels.pbtxt").write_text(LABELS)
    (tmp_path / "notes.txt").write_text("none of the hook's files")
    commit_all(tmp_path)
    return tmp_path


def test_the_hook_audits_graphs_and_skips_other_files(repository, hooks):
    status, output = try_hook(hooks, repository)
    assert status == 1, output
    assert "audit running statistics of batch norm" in output
    for name in ("model.meta", "export/1/saved_model.pb"):
        assert f"{name}: assumed" in output
    assert "BN101 statistics-written-at-inference (error)" in output
    assert "Skipped 1 file of other kinds: label map (1)" in output
    assert "notes.txt" not in output


def test_the_command_of_the_hook_passes_what_is_no_graph_or_is_excluded(repository, monkeypatch):
    """Its exit status is what pre-commit goes by; pre-commit installs it in seconds each time."""
    with open(os.path.join(ROOT, ".pre-commit-hooks.yaml"), encoding="utf-8") as file:
        ((program, *options),) = [line.split() for line in re.findall("entry: (.*)", file.read())]
    assert program == "bnguard"
    monkeypatch.chdir(repository)

    def run(*paths):
        result = CliRunner().invoke(commands.cli, [*options, *paths])
        return result.exit_code, result.output

    status, output = run("model.meta", "labels.pbtxt")
    assert status == 1, output
    debug_info = "export/1/debug/saved_model_debug_info.pb"  # which a commit has beside the model
    (repository / debug_info).parent.mkdir()
    (repository / debug_info).write_bytes(b"\n\x09/a/net.py\x12\x05\n\x01a\x12\0")
    status, output = run("labels.pbtxt", "clean.pb", "export/2/saved_model.pbtxt", debug_info)
    assert status == 0, output
    (repository / "bnguard.toml").write_text('exclude = ["model.meta", "export"]\n')
    status, output = run("model.meta", "labels.pbtxt")
    assert status == 0, output
    assert "Excluded 1 file" in output


def test_the_configuration_of_the_page_is_one(tmp_path):
    """docs/ci.md names a hook that there is, with options that there are."""
    with open(os.path.join(ROOT, "docs", "ci.md"), encoding="utf-8") as file:
        block = re.search("```yaml\n(repos:.*?)```", file.read(), re.DOTALL).group(1)
    path = tmp_path / "config.yaml"
    path.write_text(block)
    command = [sys.executable, "-m", "pre_commit", "validate-config", str(path)]
    subprocess.run(command, check=True)
    ((_, hook),) = re.findall(r"(- )id: (\S+)", block)
    with open(os.path.join(ROOT, ".pre-commit-hooks.yaml"), encoding="utf-8") as file:
        assert f"- id: {hook}\n" in file.read()
    (args,) = re.findall(r"args: \[(.*)\]", block)
    known = {option for parameter in audit_command.params for option in parameter.opts}
    assert {word for word in args.split(", ") if word.startswith("--")} <= known
