"""The steps of action.yml, run as shell, as GitHub's runner does."""

import json
import lzma
import os
import re
import sys

import pytest
from support.installation import copy_repository, offline
from support.paths import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.version_info < (3, 11), reason="the extra `test` has PyYAML for Python 3.11 and later"
    ),
]

NETWORKS = os.path.join(ROOT, "tests", "data", "networks")
LABELS = "item {\n  id: 1\n}\n"


@pytest.fixture(scope="module")
def act(tmp_path_factory):
    """Return a function that runs the action in a folder."""
    from support.composite_action import ActionRun

    action, temporary = (tmp_path_factory.mktemp(name) for name in ("action", "runner"))
    copy_repository(action, "action.yml")
    environment = {
        **offline(),
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]),
    }

    def run(workspace, **inputs):
        is_installed = (temporary / "bnguard" / "bin" / "bnguard").exists()
        without = ["Install bnguard"] if is_installed else []  # the step takes seconds
        return ActionRun(str(action), workspace, temporary, environment, without, **inputs)

    return run


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A checkout with a network that is right, one that is not, and a label map."""
    folder = tmp_path_factory.mktemp("workspace")
    for side in ("right", "wrong ones"):
        (folder / side).mkdir()
        write_network(folder / side / "model.meta", is_right=side == "right")
    (folder / "wrong ones" / "labels.pbtxt").write_text(LABELS)
    (folder / "damaged.pb").write_bytes(b"\xffno graph")
    return folder


def write_network(path, is_right):
    """Write a graph of a layer that is given the flag, or of the source's two branches."""
    from support.graphs import build_with
    import tensorflow.compat.v1 as tf

    from bnguard import batch_norm

    options = {"updates_collections": None, "scope": "bn"}
    with tf.Graph().as_default(), build_with("ref", "v1"):
        x = tf.placeholder(tf.float32, [None, 4], name="x")
        is_training = tf.placeholder(tf.bool, [], name="is_training")
        if is_right:
            y = batch_norm(x, is_training=is_training, **options)
        else:
            trained = batch_norm(x, is_training=True, **options)
            inferred = batch_norm(x, is_training=False, reuse=True, **options)
            y = tf.cond(is_training, lambda: trained, lambda: inferred)
        tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_mean(tf.square(y)))
        tf.train.export_meta_graph(str(path))


def test_the_steps_of_the_action(act, workspace):
    run = act(workspace, paths="right", upload_sarif="true")
    assert (run.status, run.outputs["status"]) == (0, "0"), run.output
    assert "2 running statistics: nothing found" in run.output
    assert run.summary == "## bnguard: nothing found in 1 graph\n"
    ((uses, given),) = run.uploaded
    assert uses.startswith("github/codeql-action/upload-sarif@")
    assert results(run) == []
    assert given == {"sarif_file": run.outputs["sarif"], "category": "bnguard"}

    run = act(workspace, paths=" right \r\n\n  wrong ones\r\n")
    assert (run.status, run.outputs["status"], run.uploaded) == (1, "1", [])
    assert "BN101 statistics-written-at-inference (error)" in run.output
    assert "Skipped 1 file of other kinds: label map (1)" in run.output
    assert "Total: 2 graphs in 2 files: 2 defects" in run.output
    lines = run.summary.splitlines()
    assert lines[0] == "## bnguard: 2 defects in 2 graphs"
    assert sum(line.startswith("| [BN10") for line in lines) == 2
    assert lines[lines.index("```mermaid") + 1] == "flowchart LR"
    uri = "wrong%20ones/model.meta"
    assert [(result["ruleId"], place(result)) for result in results(run)] == [
        ("BN101", uri),
        ("BN102", uri),
    ]

    options = "--ignore BN102 --exclude 'wrong ones' --statistics"
    run = act(workspace, args=options, paths="\n")  # the whole repository
    assert run.status == 2, run.output  # the damaged file
    assert "damaged.pb: not a graph, or damaged" in run.output
    assert "could not be read: damaged.pb" in run.summary

    run = act(workspace, args="--exclude 'wrong ones", upload_sarif="true")
    assert (run.status, run.summary, run.uploaded) == (2, "", [])
    assert "Error: args: a quote is not closed: --exclude 'wrong ones" in run.output.splitlines()

    run = act(workspace, args="--no-such-option", upload_sarif="true")
    assert (run.status, run.summary, run.uploaded) == (2, "", [])
    assert "No such option" in run.output


def test_the_workflow_passes_on_this_repositorys_networks(act, tmp_path):
    name = "resnet_v2_50-updates_never_run.meta"
    with lzma.open(os.path.join(NETWORKS, f"{name}.xz")) as file:
        (tmp_path / name).write_bytes(file.read())
    baseline = os.path.join(NETWORKS, "baseline.json")
    run = act(tmp_path, paths=str(tmp_path), args="--no-config", baseline=baseline)
    assert run.status == 0, run.output
    assert "* 98 more findings known by the baseline" in run.summary.splitlines()


def test_workflows_give_the_action_inputs_that_it_has():
    """That of this repository, and the one of docs/ci.md."""
    page = re.search("```yaml\n(name: bnguard.*?)```", read("docs", "ci.md"), re.DOTALL).group(1)
    inputs = parsed(read("action.yml"))["inputs"]
    workflows = {"./": read(".github", "workflows", "networks.yml"), "bnguard/bnguard@v": page}
    for action, workflow in workflows.items():
        (job,) = parsed(workflow)["jobs"].values()
        (step,) = [step for step in job["steps"] if step.get("uses", "").startswith(action)]
        assert set(step["with"]) <= set(inputs)
    baseline = parsed(workflows["./"])["jobs"]["audit"]["steps"][-1]["with"]["baseline"]
    assert os.path.isfile(os.path.join(ROOT, baseline))
    rows = re.findall(r"^\| `([\w-]+)` \|", read("docs", "ci.md"), re.MULTILINE)
    assert rows == list(inputs)


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


def parsed(text):
    import yaml

    return yaml.safe_load(text)


def results(run):
    with open(run.outputs["sarif"], encoding="utf-8") as file:
        (first,) = json.load(file)["runs"]
    return first["results"]


def place(result):
    return result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
