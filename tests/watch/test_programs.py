"""Programs with TensorFlow under `bnguard run`: how they end, their files, and the report."""

import json
import os

import jsonschema
import pytest
from support import forked
from support.paths import ROOT
import tensorflow.compat.v1 as tf

pytestmark = pytest.mark.slow

NETWORK = """import os
import sys
import threading

import bnguard
import tensorflow.compat.v1 as tf

tf.disable_eager_execution()
x = tf.placeholder(tf.float32, [None, 2], name="x")
with tf.variable_scope("net"):
    y = bnguard.batch_norm(x, is_training=True, decay=0.9, updates_collections=None, scope="bn")
FEED = {x: [[1.0, 2.0], [3.0, 4.0]]}
loss = tf.reduce_mean(tf.square(y))
train_op = tf.train.GradientDescentOptimizer(0.1).minimize(loss, name="train_op")
session = tf.Session()
session.run(tf.global_variables_initializer())
for _ in range(12):
    session.run(train_op, FEED)
"""
LINE = NETWORK.splitlines().index("    session.run(train_op, FEED)") + 1
INFERENCE = "session.run(y, FEED)\n"


class Run:
    """The end of a program under `bnguard run`."""

    def __init__(self, folder, text, *options, arguments=()):
        self.path = folder / "program.py"
        self.path.write_text(text, encoding="utf-8")
        self.status, self.output, errors = forked.run(
            folder, "run", *options, str(self.path), *arguments
        )
        own, _, self.report = errors.partition(f"bnguard: {self.path}\n")
        self.errors = [line for line in own.splitlines() if "0000 00:" not in line]
        self.rows = self.report.partition("\n\n")[0].splitlines()


def test_a_healthy_program_ends_with_its_steps_and_status_0(tmp_path):
    run = Run(tmp_path, f"{NETWORK}print('done', sys.argv[1:])\n", arguments=("--stop", "x"))
    assert (run.status, run.output) == (0, "done ['--stop', 'x']\n")
    columns = [row.split("  ") for row in run.rows]
    assert [[cell.strip() for cell in row if cell] for row in columns] == [
        ["1 x", "init", f"{run.path}:{LINE - 2}", "loads 2 statistics"],
        ["12 x", "train_op", f"{run.path}:{LINE}", "trains; writes 2 statistics"],
    ]


def test_findings_have_the_line_and_set_the_status(tmp_path):
    json_file, sarif_file = tmp_path / "report.json", tmp_path / "report-%p.sarif"
    run = Run(tmp_path, NETWORK + INFERENCE, f"--json={json_file}", f"--sarif={sarif_file}")
    assert run.status == 1
    assert "BN101 statistics-written-at-inference (error)" in run.report
    line = NETWORK.splitlines().index('with tf.variable_scope("net"):') + 2
    assert f"    built at {run.path}:{line}: y = bnguard.batch_norm(" in run.report
    report = json.loads(json_file.read_text())
    with open(os.path.join(ROOT, "docs", "schema", "report.json"), encoding="utf-8") as schema:
        jsonschema.validate(report, json.load(schema))
    steps = report["reports"][0]["steps"]
    assert [step["kind"] for step in steps] == ["loads", "trains", "infers"]
    assert steps[2]["location"]["line"] == LINE + 1
    assert steps[2]["location"]["text"] == INFERENCE.strip()
    assert steps[2]["written"] == ["net/bn/moving_mean", "net/bn/moving_variance"]
    (path,) = tmp_path.glob("report-*.sarif")
    (sarif,) = json.loads(path.read_text())["runs"]
    for result in sarif["results"]:
        (location,) = result["locations"]
        place = location["physicalLocation"]
        assert place["artifactLocation"]["uri"] == run.path.as_uri()
        assert place["region"]["startLine"] == line
        kinds = [logical["kind"] for logical in location["logicalLocations"]]
        assert kinds == ["module", "object"]


def test_the_name_of_a_file_has_the_rank(tmp_path, monkeypatch):
    text = f"import os\nos.environ['OMPI_COMM_WORLD_RANK'] = '3'\n{NETWORK}"
    Run(tmp_path, text, f"--json={tmp_path}/%p.json")
    assert (tmp_path / "3.json").exists()


@pytest.mark.parametrize(
    ("end", "status", "said"),
    [
        ("sys.exit(7)\n", 7, ""),
        ("raise ValueError('of its own')\n", 1, "ValueError: of its own"),
        ("session.run(y)\n", 1, "InvalidArgumentError"),
        ("threading.Thread(target=session.run, args=(train_op, FEED)).start()\n", 0, ""),
    ],
)
def test_the_end_of_the_program_is_its_own_and_the_report_follows(tmp_path, end, status, said):
    run = Run(tmp_path, NETWORK + end)
    assert run.status == status
    assert said in "\n".join(run.errors)
    assert [line for line in run.errors if f"bnguard{os.sep}watch" in line] == []
    runs = 13 if "Thread" in end else 12
    assert any(row.startswith(f"{runs} x  train_op") for row in run.rows)


def test_stop_ends_the_program_before_the_first_error(tmp_path):
    thread = "infers = threading.Thread(target=session.run, args=(y, FEED))\n"
    start = f"{NETWORK}{thread}infers.start()\ninfers.join()\nprint('joined')\n"
    run = Run(tmp_path, f"{start}try:\n    {INFERENCE}finally:\n    print('end')\n", "--stop")
    assert (run.status, run.output) == (1, "joined\nend\n")
    assert [line for line in run.errors if "Exception" in line] == []  # in the thread
    assert run.report.splitlines()[-1] == "stopped before this step ran: net/bn/FusedBatchNorm_1:0"
    ignored = Run(tmp_path, NETWORK + INFERENCE, "--stop", "--ignore=BN1")
    assert ignored.status == 0


def test_for_ends_watching_and_lets_the_program_run_on(tmp_path):
    run = Run(tmp_path, f"{NETWORK}{INFERENCE}print('end')\n", "--for=5")
    assert (run.status, run.output) == (0, "end\n")
    assert any(row.lstrip().startswith("4 x  train_op") for row in run.rows)
    assert run.report.splitlines()[-1] == "only the first 5 steps were watched"


def test_a_forked_child_is_not_reported(tmp_path):
    fork = "if os.fork() == 0:\n    print('child', flush=True)\n    sys.exit(5)\n"
    run = Run(tmp_path, f"{NETWORK}{fork}os.wait()\nprint('parent', flush=True)\n")
    assert (run.status, run.output) == (0, "child\nparent\n")
    assert run.report.count("train_op") == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tf.placeholder(tf.float32)\n", "the program ran no step of a session"),
        ("if True:\n    raise SystemExit\n", "the program ran no step of a session"),
    ],
)
def test_a_program_without_a_session_is_told_so(tmp_path, text, told):
    start = "import tensorflow.compat.v1 as tf\ntf.disable_eager_execution()\n"
    run = Run(tmp_path, start + text)
    assert (run.status, run.report) == (0, f"nothing to watch: {told}\n")


@pytest.mark.skipif(tf.__version__.startswith("1."), reason="eager execution is the default of 2.x")
def test_an_eager_program_is_told_in_one_line(tmp_path):
    run = Run(
        tmp_path,
        "import tensorflow as tf\ntf.compat.v1.enable_eager_execution()\n"
        "print(int(tf.constant(3)))\n",
    )
    assert (run.status, run.output) == (0, "3\n")
    assert run.report == "nothing to watch: TensorFlow ran eagerly, without a session\n"


def test_a_file_that_cannot_be_written_is_status_2(tmp_path):
    run = Run(tmp_path, NETWORK, f"--json={tmp_path}/missing/report.json")
    assert run.status == 2
    assert run.report.splitlines()[-1].startswith(f"Error: --json {tmp_path}/missing/report.json: ")
