"""Both sides of every case as an ordinary program that is watched, with nothing given.

`freeze_keeps_assign` is not here: what is wrong is a frozen graph, which no session runs.
"""

import os

import numpy as np
import pytest
from support.covering_rules import covering_rules
from support.graphs import build_with
import tensorflow.compat.v1 as tf

from bnguard.analysis.findings import defects
from bnguard.analysis.rules import RULES
from bnguard.harness.cases import catalogue, loading
from bnguard.harness.cases.errors import UnavailableError
from bnguard.harness.results.terms import SIDES
from bnguard.watch.watcher import Watcher

pytestmark = pytest.mark.slow

CASES = sorted(set(catalogue.names()) - {"freeze_keeps_assign"})
SERVED = {"restore_misses_stats"}  # in a program of its own
FAILS = {("update_ops_pull_other_inputs", "repro")}  # in its first training step
STEPS = 40  # with a decay of 0.9, less than 2 % of the initial values is left
# What else is found in the case as it runs, and is true; see tests/analysis/test_catalogue.py.
ALSO = {
    "evaluator_on_parameter_server": {"BN103"},
    "training_flag_placeholder_defaults_to_true": {"BN101", "BN103"},
    "updates_attached_to_loss": {"BN102"},
}


def run(case, folder):
    """Train, save, and infer: in the same session, or in a program that restores."""
    model = case.build(False)
    saver = model.saver or tf.train.Saver()
    random = np.random.RandomState(0)
    shape = [int(size) for size in model.x.shape[1:]]
    with tf.Session(model.target) as session:
        session.run(tf.global_variables_initializer())
        for _ in range(STEPS):
            for training in model.training:
                batch = random.normal(10.0, 3.0, [8, *shape])
                session.run(training.fetch, {model.x: batch, **training.feed})
        prefix = saver.save(session, os.path.join(folder, "model"))
        if case.file.name not in SERVED:
            infer(session, model, random.normal(10.0, 3.0, [1, *shape]))
            return
    with tf.Graph().as_default(), tf.Session() as session:
        served = case.serve(False, prefix)
        saver = served.saver or tf.train.Saver()
        session.run(tf.global_variables_initializer())
        saver.restore(session, prefix)
        infer(session, served, random.normal(10.0, 3.0, [1, *shape]))


def infer(session, model, batch):
    fetches = [model.inference.output, *model.inference.beside]
    if model.inference.target is not None:
        with tf.Session(model.inference.target) as evaluating:
            evaluating.run(fetches, {model.x: batch, **model.inference.feed})
    else:
        session.run(fetches, {model.x: batch, **model.inference.feed})


def watch(case, side, folder):
    loaded = loading.load(catalogue.find(case, side))
    watcher = Watcher(RULES, stops=False, steps=None)
    with tf.Graph().as_default(), build_with("ref", "v1"), watcher.hooks.installed():
        if (case, side) in FAILS:
            with pytest.raises(tf.errors.InvalidArgumentError, match="You must feed"):
                run(loaded, str(folder))
        else:
            run(loaded, str(folder))
    return watcher.report("program")


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("case", CASES)
def test_the_rules_of_a_case_fire_on_repro_only_with_its_file(case, side, tmp_path):
    try:
        report = watch(case, side, tmp_path)
    except UnavailableError as unavailable:
        pytest.skip(str(unavailable))
    found = [finding for graph in report.reports for finding in defects(graph.findings)]
    rules = {finding.rule for finding in found}
    assert rules == (covering_rules(case) | ALSO.get(case, set()) if side == "repro" else set())
    assert report.has_errors is any(finding.severity == "error" for finding in found)
    file = catalogue.find(case, side).path
    for finding in found:
        assert os.path.samefile(finding.location.file, file)
        with open(file, encoding="utf-8") as lines:
            assert finding.location.text == lines.readlines()[finding.location.line - 1].strip()
    kinds = {step.kind for graph in report.graphs for step in graph.steps}
    assert ("infers" in kinds) is ((case, side) not in FAILS)
    assert ("trains" in kinds) is (case != "two_branch_cond")  # only its statistics are trained
