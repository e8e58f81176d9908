"""Every case on both sides: the guard that detects the defect, and no alarm on the fix.

The default run has a third of the fixes; BNGUARD_CASES=all has all.
"""

from functools import lru_cache, partial

from conftest import COMBINATIONS
import numpy as np
import pytest
from support.graphs import build_with
from support.samples import EVERY, combinations
import tensorflow.compat.v1 as tf

import bnguard
from bnguard.harness.cases import catalogue, loading
from bnguard.harness.cases.errors import UnavailableError
from bnguard.harness.results.terms import SIDES

pytestmark = pytest.mark.slow

CASES = catalogue.names()

AT_INFERENCE = {
    "evaluator_on_parameter_server",
    "training_flag_placeholder_defaults_to_true",
    "two_branch_cond",
    "updates_attached_to_loss",
}
# The scope that the first run of a training step must not change.
IN_TRAINING = {
    "frozen_layer_stats_drift": "bn",
    "gan_mixed_stats": "g",
    "stats_in_trainable_collection": "bn",
}
# The scope of the statistics that training does not move.
NEVER_MOVES = {
    "control_dependency_noop": "bn",
    "keras_updates_not_in_collection": "bn",
    "target_network_statistics_not_copied": "target/bn",
    "training_flag_default_false": "bn",
    "unshared_inference_statistics": "BatchNorm_1",
    "update_ops_never_run": "bn",
}
AFTER_RESTORE = {"restore_misses_stats", "saver_trainable_only"}
FAILS = {"update_ops_pull_other_inputs"}
# The guards see correct statistics; another rule detects the defect.
ELSEWHERE = {
    "cold_statistics": "BN304: they move, and too slowly",
    "freeze_keeps_assign": "BN302: importing the frozen graph fails",
    "frozen_layer_uses_batch_statistics": "BN207: training does not read them",
    "gradient_accumulation_updates": "BN204: they change, but from the last micro-batch only",
    "multi_tower_updates": "BN201: they change, but from the data of one tower only",
    "statistics_updated_twice": "BN105: they change twice in a step",
    "training_flag_true_at_inference": "BN103: inference does not read them",
    "update_ops_in_control_flow": "BN203: the train op is dead where their branch is not taken",
    "weight_decay_on_statistics": "BN205: the weight decay moves them, too",
}
UNMOVED = {  # on purpose
    "frozen_layer_stats_drift",
    "frozen_layer_uses_batch_statistics",
    "stats_in_trainable_collection",
}


CLUSTER = "evaluator_on_parameter_server"


class Program:
    """The graph of a case in a session, run as in its own program."""

    def __init__(self, make, variables, control_flow):
        self._graph = tf.Graph()
        with self._graph.as_default(), build_with(variables, control_flow):
            self._model = make()
            self.saver = self._model.saver or tf.train.Saver()
            initializer = tf.global_variables_initializer()
        self._graph.finalize()
        self.session = tf.Session(self._model.target, self._graph)
        self.session.run(initializer)
        self.evaluating = self.session
        if self._model.inference.target is not None:  # an evaluator in the same cluster
            self.evaluating = tf.Session(self._model.inference.target, self._graph)
        shape = [4, *self._model.x.shape.as_list()[1:]]
        self._data = np.random.RandomState(0).normal(10, 3, shape)

    def __enter__(self):
        self.session.__enter__()  # makes its graph the default, which a Saver needs
        return self

    def __exit__(self, *exc):
        self.session.__exit__(*exc)
        self.session.close()
        self.evaluating.close()

    def train(self, runs=None):
        for run in self._model.training[:runs]:
            self.session.run(run.fetch, {self._model.x: self._data, **run.feed})

    def infer(self):
        self.evaluating.run(*self._inference())

    def audit(self, step, scope=None):
        """Audit a step with the static hook, without running it."""
        hook = bnguard.FrozenStatisticsHook(scope=scope)
        hook.begin()
        hook.after_create_session(self.session, None)
        arguments = tf.train.SessionRunArgs(*step)
        hook.before_run(tf.train.SessionRunContext(arguments, self.session))

    def audit_inference(self):
        self.audit(self._inference())

    def audit_training(self, scope):
        run = self._model.training[0]
        self.audit((run.fetch, {self._model.x: self._data, **run.feed}), scope)

    def _inference(self):
        run = self._model.inference
        return [run.output, list(run.beside)], {self._model.x: self._data, **run.feed}


@lru_cache(maxsize=None)
def load(case, side):
    return loading.load(catalogue.find(case, side))


def program(case, side, variables="ref", control_flow="v1"):
    try:
        make = partial(load(case, side).build, False)
    except UnavailableError as unavailable:
        pytest.skip(str(unavailable))
    return Program(make, variables, control_flow)


def changed(action, *args):
    """Return the variables that, according to a guard, the action changes."""
    try:
        action(*args)
    except bnguard.StatisticsChanged as error:
        return {statistic.variable for statistic in error.moved}
    return set()


def frozen(session, action, scope=None):
    with bnguard.frozen(session, scope):
        action()


def unmoved(program):
    """Return the variables that, according to a guard, training does not change."""
    try:
        with bnguard.must_move(program.session):
            program.train()
    except bnguard.StatisticsDidNotMove as error:
        return {statistic.variable for statistic in error.unmoved}
    return set()


def statistics(scope):
    return {f"{scope}/moving_mean", f"{scope}/moving_variance"}


def test_every_case_is_in_one_group():
    groups = [AT_INFERENCE, IN_TRAINING, NEVER_MOVES, AFTER_RESTORE, FAILS, ELSEWHERE]
    assert sorted(case for cases in groups for case in cases) == CASES


@pytest.mark.parametrize(
    ("case", "side"),
    [(case, "repro") for case in CASES]
    + [(case, "fixed") for case in (CASES if EVERY else CASES[::3])],
)
def test_the_guards_detect_the_defect_and_pass_the_fix(case, side):
    is_broken = side == "repro"
    with program(case, side) as running:
        at_inference = statistics("bn") if is_broken and case in AT_INFERENCE else set()
        assert changed(running.audit_inference) == at_inference
        assert changed(frozen, running.evaluating, running.infer) == at_inference
        if case not in UNMOVED | FAILS:
            never = statistics(NEVER_MOVES[case]) if is_broken and case in NEVER_MOVES else set()
            assert unmoved(running) == never


@pytest.mark.parametrize(
    ("case", "side", "variables", "control_flow"),
    [
        (case, side, *build)
        for case, build in combinations(sorted(AT_INFERENCE - {CLUSTER}), COMBINATIONS[1:])
        for side in SIDES
    ],
)
def test_the_guards_detect_the_defect_with_every_variable_class_and_control_flow(
    case, side, variables, control_flow
):
    expected = statistics("bn") if side == "repro" else set()
    with program(case, side, variables, control_flow) as running:
        assert changed(running.audit_inference) == expected
        assert changed(frozen, running.evaluating, running.infer) == expected


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("case", "scope"), sorted(IN_TRAINING.items()))
def test_a_training_step_that_changes_a_frozen_layer_is_detected(case, scope, side):
    with program(case, side) as running:
        layer = set(bnguard.snapshot(running.session, scope))
        expected = layer if side == "repro" else set()
        assert changed(running.audit_training, scope) == expected
        assert changed(frozen, running.session, partial(running.train, 1), scope) == expected


@pytest.mark.parametrize("case", sorted(FAILS))
def test_an_error_of_the_program_propagates_through_a_guard(case):
    fails = pytest.raises(tf.errors.InvalidArgumentError, match="teacher/x")
    with program(case, "repro") as running, fails, bnguard.must_move(running.session):
        running.train()
    with program(case, "fixed") as running, bnguard.must_move(running.session, "student"):
        running.train()


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("case", sorted(AFTER_RESTORE))
def test_statistics_missing_from_a_checkpoint_are_unhealthy_after_restore(case, side, tmp_path):
    with program(case, side) as running:
        running.train()
        path = running.saver.save(
            running.session, str(tmp_path / "model.ckpt"), write_meta_graph=False
        )
    make = partial(load(case, side).serve, False, path)
    with Program(make, "ref", "v1") as restored:
        restored.saver.restore(restored.session, path)
        problems = [health.problems for health in bnguard.snapshot(restored.session).health()]
    lost = [("never moved from its initial value 0",), ("never moved from its initial value 1",)]
    assert problems == (lost if side == "repro" else [(), ()])
