"""`bnguard run --logdir`: its events, read back as TensorBoard reads them."""

import os

import pytest
from support import forked
from support.analysis.networks import dense, inputs, layer, loss_of, optimizer
import tensorflow.compat.v1 as tf

from bnguard.analysis.rules import RULES
from bnguard.errors import BnguardError
from bnguard.watch import tensorboard
from bnguard.watch.call_history import MAX_CALLS, Call, CallHistory, merged
from bnguard.watch.watcher import Watcher

pytestmark = pytest.mark.slow

FEED = [[1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 0.0, 5.0]]


def read(folder):
    """Tag to the pairs of step and value in the only file of events of a folder."""
    (name,) = [name for name in os.listdir(str(folder)) if "tfevents" in name]
    found = {}
    for event in tf.train.summary_iterator(os.path.join(str(folder), name)):
        for value in event.summary.value:
            number = value.simple_value
            if value.metadata.plugin_data.plugin_name == "text":
                number = tf.make_ndarray(value.tensor).item().decode()
            found.setdefault(value.tag, []).append((event.step, number))
    return found


def watched(program, **options):
    """Return the report on steps of a graph: an initializer, and then those of `program`."""
    x = inputs()
    y = layer(dense(x), True, updates_collections=None)
    train_op = optimizer().minimize(loss_of(y))
    initializer = tf.global_variables_initializer()
    feed = {x: FEED, "label:0": FEED}
    watcher = Watcher(RULES, False, None, **options)
    with watcher.hooks.installed(), tf.Session() as session:
        session.run(initializer)
        program(session, lambda: session.run(train_op, feed), lambda: session.run(y, feed))
    return watcher.report("train.py")


def two_epochs(session, train, infer):
    for _ in range(2):
        for _ in range(3):
            train()
        infer()


def test_each_step_shows_how_often_and_when_it_moved_each_statistic(graph, tmp_path):
    report = watched(two_epochs, keeps_calls=True)
    tensorboard.write(report, str(tmp_path))
    folders = sorted(name for name in os.listdir(str(tmp_path)) if "tfevents" not in name)
    loads, trains, infers = (
        next(folder for folder in folders if folder.startswith(kind))
        for kind in ("loads", "trains", "infers")
    )
    assert folders == sorted([loads, trains, infers])
    variables = [v.op.name for v in tf.global_variables() if "/moving_" in v.op.name]
    tags = ["runs", *(f"updates/{name}" for name in variables)]
    assert len(tags) == 3
    expected = {
        loads: [(1, 1)],
        trains: [(2, 1), (3, 2), (4, 3), (6, 4), (7, 5), (8, 6)],
        infers: [(5, 1), (9, 2)],  # which moves them, too: the defect
    }
    for folder, points in expected.items():
        assert read(tmp_path / folder) == dict.fromkeys(tags, points)
    texts = read(tmp_path)
    ((_, steps),) = texts["steps"]
    lines = steps.splitlines()
    assert lines[0] == "| runs | step | called at | what it does | statistics that it writes |"
    row = next(line for line in lines if "infers" in line)
    assert row.startswith("| 2 |")
    assert all(name.replace("_", "\\_") in row for name in variables)
    ((_, findings),) = texts["findings"]
    assert "    BN101 statistics-written-at-inference (error)" in findings.splitlines()


PROGRAM = """
import bnguard
import tensorflow.compat.v1 as tf

tf.disable_v2_behavior()
x = tf.placeholder(tf.float32, [None, 2], name="x")
y = tf.identity(bnguard.batch_norm(x, updates_collections=None, scope="bn"), name="y")
for _ in range(2):
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(y, {x: [[1.0, 2.0], [3.0, 5.0]]})
"""


def test_the_option_writes_a_folder_for_each_process(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    command = ["run", "--logdir=logs/%p", "--json=report-%p.json", "program.py"]
    status, _, errors = forked.run(tmp_path, *command, cwd=tmp_path)
    assert status == 1, errors
    (report,) = tmp_path.glob("report-*.json")
    folder = tmp_path / "logs" / report.stem[len("report-") :]
    (run,) = [name for name in os.listdir(str(folder)) if name.startswith("infers y")]
    assert read(folder / run)["updates/bn/moving_mean"] == [(2, 1), (4, 2)]
    assert "calls" not in report.read_text()


def test_a_folder_that_cannot_be_created_stops_before_the_program(tmp_path):
    (tmp_path / "program.py").write_text("print('ran')", encoding="utf-8")
    command = ["run", "--logdir=program.py/logs", "program.py"]
    status, printed, errors = forked.run(tmp_path, *command, cwd=tmp_path)
    assert (status, printed) == (2, "")
    assert errors.startswith("Error: --logdir program.py/logs: cannot be written (Not a directory)")


def test_a_report_keeps_no_calls_unless_asked(graph):
    (found,) = watched(two_epochs).graphs
    assert {step.calls for step in found.steps} == {()}
    assert "calls" not in found.to_dict()["steps"][0]


def test_a_folder_in_the_way_is_one_line(graph, tmp_path):
    report = watched(two_epochs, keeps_calls=True)
    (tmp_path / "logs").write_text("in the way")
    with pytest.raises(BnguardError, match=r"--logdir .*logs: cannot be written"):
        tensorboard.write(report, str(tmp_path / "logs"))


@pytest.mark.parametrize("count", [1, 2, MAX_CALLS, MAX_CALLS + 1, 10_000])
def test_some_calls_of_many_are_kept_with_the_last(count):
    history = CallHistory()
    for number in range(1, count + 1):
        history.add(Call(3 * number, float(number), number))
    calls = history.calls
    assert calls[-1] == Call(3 * count, float(count), count)
    assert [call.runs for call in calls] == sorted({call.runs for call in calls})
    assert min(count, MAX_CALLS // 2) <= len(calls) <= MAX_CALLS + 1
    assert all(call.number == 3 * call.runs for call in calls)
    gaps = [later.runs - call.runs for call, later in zip(calls, calls[1:-1])]
    assert len(set(gaps)) <= 1
    written = merged([history])
    assert min(count, MAX_CALLS // 2) <= len(written) <= MAX_CALLS
    assert written[-1] == calls[-1]


def test_steps_that_are_alike_are_one_curve():
    """As of a program that feeds another learning rate to each step."""
    histories = [CallHistory() for _ in range(2 * MAX_CALLS)]
    for number, history in enumerate(histories, start=1):
        history.add(Call(number, 0.0, 1))
    calls = merged(histories)
    assert all(call.number == call.runs for call in calls)
    assert calls[-1].runs == 2 * MAX_CALLS
    assert MAX_CALLS // 2 <= len(calls) <= MAX_CALLS
    assert merged([]) == ()
