"""Training with evaluations, killed and resumed, is bit-identical to an uninterrupted run."""

import multiprocessing
import signal

import pytest
from support import forked
from support.programs import estimator_loop

import bnguard
from bnguard import checkpoint_reader

pytestmark = pytest.mark.slow  # training, killed and resumed, takes seconds

BOUND = 120  # seconds
KILLED_AFTER = 7  # steps: three after a checkpoint was saved, one after an evaluation


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return the checkpoint folders of an uninterrupted run, and of a killed and resumed run."""
    complete, killed = (str(tmp_path_factory.mktemp(name)) for name in ("complete", "killed"))
    (outputs,) = estimator_loop.run(complete, report=lambda step: None)
    assert [output.shape for output in outputs] == [(8, 8, 8, 4)] * 2
    run_and_kill(killed, tmp_path_factory.mktemp("outputs"))
    resumed = []
    estimator_loop.run(killed, report=resumed.append)
    saved = KILLED_AFTER - KILLED_AFTER % estimator_loop.SAVE_EVERY
    assert resumed == list(range(saved + 1, estimator_loop.STEPS + 1))
    return complete, killed


def run_and_kill(folder, outputs):
    connection, other = multiprocessing.Pipe()
    program = forked.Command(outputs, folder, other, function=estimator_loop.run_in_lockstep)
    for step in range(1, KILLED_AFTER + 1):
        assert connection.poll(BOUND)
        assert connection.recv() == step
        if step < KILLED_AFTER:
            connection.send(None)
    status, _, _ = program.send(signal.SIGKILL)  # no handler, no clean-up, no last checkpoint
    assert status == -signal.SIGKILL


def test_the_statistics_are_bit_identical_to_an_uninterrupted_run(folders):
    complete, killed = folders
    difference = bnguard.diff(complete, killed)
    assert len(difference.changes) == 2 * estimator_loop.LAYERS
    assert not difference, difference


def test_all_variables_are_bit_identical_to_an_uninterrupted_run(folders):
    complete, killed = map(checkpoint_reader.read, folders)
    assert sorted(complete) == sorted(killed)
    assert complete["global_step"] == estimator_loop.STEPS
    for name, value in complete.items():
        assert value.tobytes() == killed[name].tobytes(), name


def test_training_changes_every_statistic(folders):
    left, steps = 0.9**estimator_loop.STEPS, estimator_loop.STEPS
    cold = f"cold: {100 * left:.0f} % of its initial value is left after {steps} updates"
    for health in bnguard.snapshot(folders[0]).health():
        (problem,) = health.problems
        assert problem == f"{cold} with a decay of 0.9"


def test_an_evaluation_in_training_mode_is_refused(folders):
    buggy = {"is_training": True, "updates_collections": None}
    with pytest.raises(bnguard.StatisticsChanged, match="running statistics would change"):
        estimator_loop.evaluate(folders[0], **buggy)
