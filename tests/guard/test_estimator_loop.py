"""Training with evaluation between, killed half way and resumed: bit for bit as if never killed."""

import os
import signal
import subprocess
import sys

import pytest
from support.programs import estimator_loop

import bnguard
from bnguard import checkpoint_reader

KILLED_AFTER = 7  # steps: three after a checkpoint was saved, one after an evaluation


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Where the uninterrupted run and the killed one, resumed, left their checkpoints."""
    whole, killed = (str(tmp_path_factory.mktemp(name)) for name in ("whole", "killed"))
    (outputs,) = estimator_loop.run(whole, report=lambda step: None)
    assert [one.shape for one in outputs] == [(8, 8, 8, 4)] * 2
    run_and_kill(killed)
    resumed = []
    estimator_loop.run(killed, report=resumed.append)
    saved = KILLED_AFTER - KILLED_AFTER % estimator_loop.SAVE_EVERY
    assert resumed == list(range(saved + 1, estimator_loop.STEPS + 1))
    return whole, killed


def run_and_kill(folder):
    root = os.path.dirname(os.path.dirname(bnguard.__file__))
    with subprocess.Popen(
        [sys.executable, estimator_loop.__file__, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": root},
        universal_newlines=True,
    ) as program:
        for step in range(1, KILLED_AFTER + 1):
            assert int(program.stdout.readline()) == step
            if step < KILLED_AFTER:
                print(file=program.stdin, flush=True)
        program.kill()  # SIGKILL: no handler, no clean-up, no last checkpoint
    assert program.returncode == -signal.SIGKILL


def test_the_statistics_are_those_of_a_run_that_was_never_killed(folders):
    whole, killed = folders
    difference = bnguard.diff(whole, killed)
    assert len(difference.changes) == 2 * estimator_loop.LAYERS
    assert not difference, difference


def test_all_else_is_too(folders):
    whole, killed = map(checkpoint_reader.read, folders)
    assert sorted(whole) == sorted(killed)
    assert whole["global_step"] == estimator_loop.STEPS
    for name, value in whole.items():
        assert value.tobytes() == killed[name].tobytes(), name


def test_training_moved_every_statistic(folders):
    assert not any(one.problems for one in bnguard.snapshot(folders[0]).health())


def test_an_evaluation_in_training_mode_is_heard_of(folders):
    buggy = {"is_training": True, "updates_collections": None}
    with pytest.raises(bnguard.StatisticsChanged, match="bn_0/moving_mean would change"):
        estimator_loop.evaluate(folders[0], **buggy)
