"""Both sides of every case as an ordinary program that is watched, with nothing given.

The default run watches the programs in this process; BNGUARD_CASES=all runs each by `bnguard run`.
`freeze_keeps_assign` is not here: what is wrong is a frozen graph, which no session runs.
"""

from contextlib import suppress
import json
import os
import runpy
import subprocess
import sys

import pytest
from support.covering_rules import covering_rules
from support.graphs import build_with
from support.paths import ROOT
from support.samples import EVERY
import tensorflow.compat.v1 as tf

from bnguard.analysis.rules import RULES
from bnguard.harness.cases import catalogue, loading
from bnguard.harness.cases.errors import UnavailableError
from bnguard.watch.watcher import Watcher

pytestmark = pytest.mark.slow

CASES = sorted(set(catalogue.names()) - {"freeze_keeps_assign"})
REPRO, FIXED = ([(case, side) for case in CASES] for side in ("repro", "fixed"))
SERVED = {"restore_misses_stats"}  # in a program of its own
FAILS = {("update_ops_pull_other_inputs", "repro")}  # in its first training step
# What else is found in the case as it runs, and is true; see tests/analysis/test_catalogue.py.
ALSO = {
    "evaluator_on_parameter_server": {"BN103"},
    "training_flag_placeholder_defaults_to_true": {"BN101", "BN103"},
    "updates_attached_to_loss": {"BN102"},
}
# The calls of which one is on the line that built the op at fault.
LAYERS = ("batch_norm(", "batch_normalization(", "layer(")
AT_FAULT = {
    "frozen_layer_stats_drift": ("create_train_op(",),
    "stats_in_trainable_collection": ("minimize(",),
    "training_flag_placeholder_defaults_to_true": ("placeholder_with_default(", *LAYERS),
    "weight_decay_on_statistics": ("tf.assign(",),
}

TRAINS = """

import numpy as np

random = np.random.RandomState(0)


def batch(model, rows):
    return random.normal(10.0, 3.0, [rows, *model.x.shape.as_list()[1:]])


def infer(session, model):
    fetches = [model.inference.output, *model.inference.beside]
    session.run(fetches, {model.x: batch(model, 1), **model.inference.feed})


model = build(False)
saver = model.saver or tf.train.Saver()
with tf.Session(model.target) as session:
    session.run(tf.global_variables_initializer())
    for _ in range(40):  # with a decay of 0.9, less than 2 % of the initial values is left
        for training in model.training:
            session.run(training.fetch, {model.x: batch(model, 8), **training.feed})
    prefix = saver.save(session, PREFIX)
"""
INFERS = """    if model.inference.target is None:
        infer(session, model)
if model.inference.target is not None:
    with tf.Session(model.inference.target) as session:
        infer(session, model)
"""
SERVES = """
with tf.Graph().as_default(), tf.Session() as session:
    served = serve(False, prefix)
    session.run(tf.global_variables_initializer())
    served.saver.restore(session, prefix)
    infer(session, served)
"""


def write_program(case, side, folder):
    """Write a program that builds as the case does, trains, saves, and infers."""
    with open(catalogue.find(case, side).path, encoding="utf-8") as file:
        before, _, after = file.read().partition('if __name__ == "__main__":\n')
    _, _, body = after.partition("main(__file__)\n")
    prefix = f"PREFIX = {str(folder / 'model')!r}\n"
    loop = TRAINS + (SERVES if case in SERVED else INFERS)
    path = folder / "program.py"
    path.write_text(before + prefix + body + loop, encoding="utf-8")
    return path


def watch(path, fails):
    """The report, in its JSON form, on a program in a process of its own, or in this one."""
    if EVERY:
        report = path.with_name("report.json")
        run = subprocess.run(
            [sys.executable, "-m", "bnguard", "run", f"--json={report}", str(path)],
            env={**os.environ, "PYTHONPATH": ROOT},
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        found = json.loads(report.read_text())
        has_errors = any(
            finding["severity"] == "error"
            for graph in found["reports"]
            for finding in graph["findings"]
        )
        assert run.returncode == int(fails or has_errors), run.stderr
        return found
    watcher = Watcher(RULES, stops=False, steps=None)
    refused = tf.errors.InvalidArgumentError if fails else ()
    with tf.Graph().as_default(), build_with("ref", "v1"), watcher.hooks.installed():
        with suppress(refused):
            runpy.run_path(str(path), run_name="__main__")
            assert not fails
    return json.loads(watcher.report("program").to_json())


@pytest.mark.parametrize(("case", "side"), [*REPRO, *(FIXED if EVERY else FIXED[::4])])
def test_the_rules_of_a_case_fire_on_repro_only_with_its_line(case, side, tmp_path):
    try:
        loading.load(catalogue.find(case, side))
    except UnavailableError as unavailable:
        pytest.skip(str(unavailable))
    path = write_program(case, side, tmp_path)
    fails = (case, side) in FAILS
    graphs = watch(path, fails)["reports"]
    found = [finding for graph in graphs for finding in graph["findings"]]
    defects = [finding for finding in found if finding["severity"] != "note"]
    expected = covering_rules(case) | ALSO.get(case, set()) if side == "repro" else set()
    assert {finding["rule"] for finding in defects} == expected
    lines = path.read_text(encoding="utf-8").splitlines()
    for finding in found:
        location = finding["location"]
        assert location["file"] == str(path)
        assert location["text"] == lines[location["line"] - 1].strip()
        assert any(call in location["text"] for call in AT_FAULT.get(case, LAYERS))
    steps = [step for graph in graphs for step in graph["steps"]]
    for step in steps:
        assert step["location"]["file"] == str(path)
        assert lines[step["location"]["line"] - 1].split("(")[0].split()[-1] in (
            "session.run",
            "saver.save",
            "served.saver.restore",
        )
    kinds = {step["kind"] for step in steps}
    assert ("infers" in kinds) is not fails
    assert ("trains" in kinds) is (case != "two_branch_cond")  # only its statistics are trained
