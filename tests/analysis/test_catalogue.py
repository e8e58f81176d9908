"""Every case on both sides: the rules that its docstring names fire on repro, none on fixed.

The default run has each case in one or two builds; BNGUARD_CASES=all has each in all.
"""

from functools import lru_cache

from conftest import COMBINATIONS
import numpy as np
import pytest
from support.covering_rules import covering_rules
from support.graphs import build_with
from support.samples import combinations
import tensorflow.compat.v1 as tf

import bnguard
from bnguard.analysis.findings import ALREADY_TRAINED, defects
from bnguard.analysis.formatters import format_reports
from bnguard.harness.cases import catalogue, loading
from bnguard.harness.cases.errors import UnavailableError
from bnguard.harness.results.terms import SIDES

pytestmark = pytest.mark.slow

CASES = catalogue.names()
# Where inference fetches the very output that training normalizes, only its author can know.
FETCHES_WHAT_IT_TRAINS = {"training_flag_true_at_inference"}
# What else is found, and is true: of the graph alone, and with fetches and feeds given.
ALSO = {
    ("evaluator_on_parameter_server", "repro"): {"alone": {"BN103"}, "given": {"BN103"}},
    # The teacher is in training mode, and no step here trains it: who else may fetch it?
    ("update_ops_pull_other_inputs", "fixed"): {"alone": {"BN103"}, "given": set()},
    # The flag is at its default when the case infers: the model trains on its users.
    ("training_flag_placeholder_defaults_to_true", "repro"): {
        "alone": set(),
        "given": {"BN101", "BN103"},
    },
    # Its network for validation reads what its own loss writes.
    ("updates_attached_to_loss", "repro"): {"alone": {"BN102"}, "given": {"BN102"}},
}
LEAD_TO_RESCUE = {"BN101", "BN201", "BN202", "BN205", "BN206", "BN301"}
REFUSED = {  # an op of a branch cannot be referred to from outside: only v2 knows that
    ("update_ops_in_control_flow", "repro", "ref", "v2"),
    ("update_ops_in_control_flow", "repro", "resource", "v2"),
}


@lru_cache(maxsize=None)
def load(case, side):
    return loading.load(catalogue.find(case, side))


def rules(report):
    return {finding.rule for finding in defects(report.findings)}


class Subject:
    """What one side of a case has for the audit: its graph, as it is and as a file."""

    def __init__(self, make, folder, checkpoint=None):
        self.graph = tf.Graph()
        with self.graph.as_default():
            self._model = make()
            saver = self._model.saver or tf.train.Saver()
            self.meta = str(folder / "model.meta")
            saver.export_meta_graph(self.meta)
        self._checkpoint = checkpoint

    def audit(self, source):
        """Audit with nothing given that can be found."""
        return bnguard.audit(source, checkpoint=self._checkpoint)

    def audit_output(self, source):
        """Audit with the output given, and nothing else."""
        output = self._model.inference.output.name
        return bnguard.audit(source, output, checkpoint=self._checkpoint)

    def audit_as_run(self, source):
        """Audit with the case's own fetches and feeds, and its training step if there is one."""
        run = self._model.inference
        feeds = {self._model.x.name: None, **{key.name: feed for key, feed in run.feed.items()}}
        steps = [training.fetch for training in self._model.training]
        return bnguard.audit(
            source,
            [run.output.name, *(fetch.name for fetch in run.beside)],
            feeds,
            steps[0] if steps and all(step is steps[0] for step in steps) else None,
            checkpoint=self._checkpoint,
        )


def trained(case, side, folder, steps=0):
    """The prefix of a checkpoint of the program that trains, after some steps."""
    with tf.Graph().as_default(), tf.Session() as session:
        model = load(case, side).build(False)
        session.run(tf.global_variables_initializer())
        shape = [4, *model.x.shape.as_list()[1:]]
        batches = np.random.RandomState(0).normal(10, 3, [steps, *shape])
        for batch in batches:
            for run in model.training:
                session.run(run.fetch, {model.x: batch, **run.feed})
        return tf.train.Saver().save(session, str(folder / "trained"), write_meta_graph=False)


def built_case(case, side, folder):
    if case == "restore_misses_stats":  # what is wrong is the program that restores
        prefix = trained(case, side, folder)
        return Subject(lambda: load(case, side).serve(False, prefix), folder, prefix)
    prefix = None
    if case == "cold_statistics":  # what is wrong is the number of steps
        prefix = trained(case, side, folder, steps=50)
    return Subject(lambda: load(case, side).build(False), folder, prefix)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("case", "variables", "control_flow"),
    [
        (case, *build)
        for case, build in combinations(sorted({*CASES} - {"freeze_keeps_assign"}), COMBINATIONS)
    ],
)
def test_the_rules_of_a_case_fire_on_repro_and_on_repro_only(
    case, variables, control_flow, side, tmp_path
):
    try:
        load(case, side)
    except UnavailableError as unavailable:
        pytest.skip(str(unavailable))
    with build_with(variables, control_flow):
        if (case, side, variables, control_flow) in REFUSED:
            with pytest.raises(ValueError, match="is not an element of this graph"):
                built_case(case, side, tmp_path)
            return
        built = built_case(case, side, tmp_path)
    expected = covering_rules(case) if side == "repro" else set()
    also = ALSO.get((case, side), {"alone": set(), "given": set()})
    find = built.audit_output if case in FETCHES_WHAT_IT_TRAINS else built.audit
    for source in (built.graph, built.meta):
        report = find(source)
        assert rules(report) == expected | also["alone"]
        assert rules(built.audit_as_run(source)) == expected | also["given"]
        assert all(finding.certain for finding in report.findings)
        for finding in defects(report.findings):
            leads_there = finding.remedy.endswith(f". {ALREADY_TRAINED}")
            assert leads_there == (finding.rule in LEAD_TO_RESCUE), finding.rule


@pytest.mark.parametrize("case", sorted(FETCHES_WHAT_IT_TRAINS))
def test_the_report_notes_what_a_program_may_fetch_for_inference(case, tmp_path):
    built = built_case(case, "repro", tmp_path)
    report, given = built.audit(built.meta), built.audit_output(built.meta)
    assert report.ok
    assert report.assumed.fetches == ()
    (possible,) = report.assumed.possible_fetches
    assert f"perhaps fetch {possible} (--fetch)" in format_reports([report], "text").splitlines()[0]
    found, noted = (
        {(finding.rule, finding.variable) for finding in audited.findings}
        for audited in (given, report)
    )
    assert noted == found
    assert {finding.severity for finding in report.findings} == {"note"}
    assert all("`bnguard run PROGRAM`" in finding.remedy for finding in report.findings)


@pytest.mark.sampled
@pytest.mark.parametrize(("variables", "control_flow"), COMBINATIONS)
def test_the_frozen_graph_of_repro_has_an_assignment_and_that_of_fixed_has_none(
    variables, control_flow, tmp_path
):
    case = "freeze_keeps_assign"
    for side, expected in (("repro", covering_rules(case)), ("fixed", set())):
        with build_with(variables, control_flow):
            # Not `serve`, which imports it: TensorFlow refuses that of repro.
            freeze = load(case, side).serve.__globals__["freeze"]
            frozen = freeze(False, trained(case, side, tmp_path))
        (tmp_path / "frozen.pb").write_bytes(frozen.SerializeToString())
        for source in (frozen, tmp_path / "frozen.pb"):
            assert rules(bnguard.audit(source)) == expected
            assert rules(bnguard.audit(source, "output")) == expected


def test_every_case_is_covered_by_a_rule():
    assert all(map(covering_rules, CASES))
