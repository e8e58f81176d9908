"""The programs of examples/ as their docstrings run them: found, fixed and guarded."""

import json
import os
import re
import signal

import numpy as np
import pytest
from support import forked
from support.paths import ROOT, TESTS
import tensorflow.compat.v1 as tf

import bnguard
from bnguard import checkpoint_reader
from bnguard.harness.cases import cluster

pytestmark = pytest.mark.slow

DECAY, STEPS, EPSILON = 0.9, 40, 1e-3
MEAN, VARIANCE = "bn/moving_mean", "bn/moving_variance"


def example(name):
    return os.path.join(ROOT, "examples", f"{name}.py")


def start(folder, name, *arguments, output=""):
    """Start `bnguard run EXAMPLE ARGUMENTS` in the folder."""
    outputs = folder / f"output{output}"
    outputs.mkdir(exist_ok=True)
    return forked.Command(outputs, "run", example(name), *map(str, arguments), cwd=folder)


def run(folder, name, *arguments):
    """Return the exit status, the numbers it printed, and what it and the report said."""
    status, printed, errors = start(folder, name, *arguments).wait()
    return status, list(map(float, printed.split())), errors


def statistics(path):
    """Return the statistics of a checkpoint, as the reader of TensorFlow has them."""
    return {name: tf.train.load_checkpoint(str(path)).get_tensor(name) for name in (MEAN, VARIANCE)}


def recurrence(batches):
    """Return the running statistics of a layer after batches, in closed form.

    The fused kernel corrects the variance of a batch by n / (n - 1).
    """
    mean, variance = 0.0, 1.0
    for batch in batches:
        rows = np.asarray(batch, np.float64)
        mean = DECAY * mean + (1 - DECAY) * rows.mean(0)
        variance = DECAY * variance + (1 - DECAY) * rows.var(0, ddof=1)
    return {MEAN: mean, VARIANCE: variance}


def check(found, expected, rtol=1e-5):
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=rtol, err_msg=name)


def normal(seed, shift=3.0):
    return np.random.RandomState(seed).normal(shift, 2.0, [32, 4]).astype(np.float32)


def autoencoder_loss(images, path):
    """Return the loss in inference mode with a checkpoint's variables, by NumPy."""
    values = {name: np.float64(value) for name, value in checkpoint_reader.read(str(path)).items()}
    net = (images - values[MEAN]) / np.sqrt(values[VARIANCE] + EPSILON) + values["bn/beta"]
    return np.mean((net @ values["weights"] - images) ** 2)


def test_a_plain_loop(tmp_path):
    status, _, errors = run(tmp_path, "plain_loop", tmp_path, "--broken")
    assert status == 1
    assert "StatisticsDidNotMove: must_move: running statistics stayed bit-identical" in errors
    assert "BN201 update-ops-never-run (error)" in errors
    assert f"built at {example('plain_loop')}:" in errors
    assert not list(tmp_path.glob("model*"))
    status, accuracies, errors = run(tmp_path, "plain_loop", tmp_path)
    assert status == 0
    assert "2 running statistics: nothing found" in errors
    assert len(accuracies) == 2
    assert accuracies[-1] > 0.8
    batches = []
    for epoch in range(2):
        random = np.random.RandomState(epoch)
        batches += [random.normal(3.0, 2.0, [32, 4]).astype(np.float32) for _ in range(20)]
    check(statistics(tmp_path / "model"), recurrence(batches))


def test_a_monitored_training_session(tmp_path):
    for argument, expected in (("--broken", 1), (None, 0)):
        folder = tmp_path / (argument or "fixed")
        arguments = [folder, *([argument] if argument else [])]
        status, losses, errors = run(tmp_path, "monitored_training_session", *arguments)
        assert status == expected
        check(statistics(folder / "model.ckpt-40"), recurrence(map(normal, range(STEPS))))
        built = f"built at {example('monitored_training_session')}:"
        for text in ("StatisticsChanged: ", built):
            assert (text in errors) is (argument is not None)
        if argument is None:
            assert errors.count("2 running statistics: nothing found") == 2  # of two graphs
            expected_loss = autoencoder_loss(normal(100), folder / "model.ckpt-40")
            assert losses == pytest.approx([expected_loss], rel=1e-5)


@pytest.mark.skipif(not hasattr(tf, "estimator"), reason="this TensorFlow has no tf.estimator")
def test_train_and_evaluate(tmp_path):
    name = "estimator_train_and_evaluate"
    status, _, errors = run(tmp_path, name, tmp_path / "broken", "--broken")
    assert status == 1
    assert "StatisticsDidNotMove: MustMoveStatisticsHook" in errors
    assert "BN201 update-ops-never-run (error)" in errors
    status, _, errors = run(tmp_path, name, tmp_path / "fixed")
    assert status == 0
    assert "(error)" not in errors
    images = np.random.RandomState(0).normal(3.0, 2.0, [32 * STEPS, 4]).astype(np.float32)
    batches = np.split(images, STEPS)
    check(statistics(tmp_path / "fixed" / "model.ckpt-40"), recurrence(batches))


def test_an_estimator_that_is_not_there_is_one_line(tmp_path):
    if hasattr(tf, "estimator"):
        return
    status, _, errors = run(tmp_path, "estimator_train_and_evaluate", tmp_path)
    assert status == 1
    assert errors.startswith(f"TensorFlow {tf.__version__} has no tf.estimator; install 2.15 or be")


def test_a_cluster_with_a_parameter_server(tmp_path):
    jobs = cluster.spec()
    addresses = ",".join(f"{job}={jobs[job][0]}" for job in jobs)
    server = start(tmp_path, "parameter_server", "ps", addresses, tmp_path, output="-ps")
    try:
        status, _, errors = run(tmp_path, "parameter_server", "trainer", addresses, tmp_path)
        assert status == 0, errors
        check(statistics(tmp_path / "model"), recurrence(map(normal, range(STEPS))))
        expected = autoencoder_loss(normal(100), tmp_path / "model")
        evaluator = ("evaluator", addresses, tmp_path)
        status, losses, errors = run(tmp_path, "parameter_server", *evaluator, "--broken")
        assert (status, losses) == (1, [])
        assert "StatisticsChanged: " in errors
        assert "bn: moving_mean, moving_variance" in errors
        status, losses, errors = run(tmp_path, "parameter_server", *evaluator)
        assert status == 0, errors
        assert losses == pytest.approx([expected], rel=1e-5)  # the refused step changed nothing
    finally:
        server.send(signal.SIGKILL)


def run_ranks(folder, *options):
    ranks = [
        start(
            folder.parent, "horovod_ranks", rank, folder, *options, output=f"-{folder.name}-{rank}"
        )
        for rank in range(2)
    ]
    for rank in ranks:
        status, _, errors = rank.wait()
        assert status == 0, errors
    return [str(folder / f"rank-{rank}" / "model") for rank in range(2)]


def rank_data(rank):
    return [normal(100 * rank + step, 3.0 + 4.0 * rank) for step in range(STEPS)]


def test_ranks_of_horovod(tmp_path):
    broken = run_ranks(tmp_path / "broken", "--broken")
    status, printed, _ = forked.run(tmp_path, "diff", *broken)
    assert status == 1
    assert "0 of 2 common variables are bit-identical" in printed
    weights = [checkpoint_reader.read(path)["weights"] for path in broken]
    np.testing.assert_array_equal(*weights)
    ranks = [recurrence(rank_data(rank)) for rank in range(2)]
    for path, expected in zip(broken, ranks):
        check(statistics(path), expected)
    means = np.array([rank[MEAN] for rank in ranks])
    pooled = {
        MEAN: means.mean(0),
        VARIANCE: np.mean([rank[VARIANCE] for rank in ranks], 0) + means.var(0),
    }
    check(bnguard.average(broken), pooled)

    fixed = run_ranks(tmp_path / "fixed")
    status, _, _ = forked.run(tmp_path, "diff", *fixed)
    assert status == 0
    check(statistics(fixed[0]), pooled)

    data = np.concatenate([*rank_data(0), *rank_data(1)])
    np.savez(str(tmp_path / "data.npz"), images=data)
    command = ["reestimate", broken[0], "--data", str(tmp_path / "data.npz")]
    status, _, errors = forked.run(tmp_path, *command)
    assert status == 0, errors
    expected = {MEAN: data.mean(0, np.float64), VARIANCE: data.var(0, np.float64)}
    check(statistics(f"{broken[0]}-reestimated"), expected)


def test_a_port_computes_what_contrib_did(tmp_path):
    """The numbers are of contrib_lenet.py on TensorFlow 1.15.5."""
    with open(os.path.join(TESTS, "data", "port", "contrib_lenet.json"), encoding="utf-8") as file:
        original = json.load(file)
    for name in ("contrib_port", *(["contrib_lenet"] if tf.__version__ < "2" else [])):
        folder = tmp_path / name
        folder.mkdir()
        status, losses, errors = run(folder, name, folder)
        assert status == 0, errors
        assert "4 running statistics: nothing found" in errors
        np.testing.assert_allclose(losses, original["losses"], rtol=1e-4)
        found = bnguard.snapshot(str(folder / "model"))
        check(found, original["statistics"], rtol=1e-4)
    status, losses, errors = run(tmp_path, "contrib_port", tmp_path, "--broken")
    assert status == 1
    np.testing.assert_allclose(losses, original["losses"], rtol=1e-4)  # which say nothing
    assert "StatisticsDidNotMove: " in errors
    assert "BN201 update-ops-never-run (error)" in errors


def test_the_page_shows_the_lines_of_the_example():
    with open(os.path.join(ROOT, "docs", "guard.md"), encoding="utf-8") as file:
        (block,) = re.findall(r"```python\n(everyone = .*?)```", file.read(), re.DOTALL)
    with open(example("horovod_ranks"), encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    start = lines.index(block.splitlines()[0])
    assert lines[start : start + 2] == block.splitlines()
