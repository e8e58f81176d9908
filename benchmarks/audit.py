"""What `bnguard audit` takes: time, memory, growth; and what a user would do instead.

    python benchmarks/audit.py [--repeats N] [--largest NODES]

The network is tests/data/networks/resnet_v1_152-trainable_saver: 27,209 nodes, 10 MB. Everything
is run in processes of its own; what is compared is run in turn, and medians are taken. The CPU
time is that of user and system: it varies less than the wall time where other work is going on.
"""

from __future__ import annotations

import argparse
import importlib.util
import lzma
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any, Dict, List, NamedTuple, Sequence

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NETWORK = os.path.join(ROOT, "tests", "data", "networks", "resnet_v1_152-trainable_saver.meta.xz")
MIB = 1 << 20
SMALLEST = 1000  # nodes
NODES_IN_LAYER = 16

AUDIT = "from bnguard.analysis.api import AuditOptions, audit_all"
PARSE = "from bnguard.analysis.ir import protos; MetaGraphDef = protos.message('MetaGraphDef')"
TIMED = """
import sys, time
{setup}
for _ in range(4):
    start = time.process_time()
    {action}
    print(time.process_time() - start)
"""
ACTIONS = {
    "audit": TIMED.format(setup=AUDIT, action="audit_all(sys.argv[1], AuditOptions())"),
    "parse": TIMED.format(
        setup=PARSE, action="MetaGraphDef.FromString(open(sys.argv[1], 'rb').read())"
    ),
    "parse, names, inputs": TIMED.format(
        setup=PARSE,
        action="""
    graph = MetaGraphDef.FromString(open(sys.argv[1], 'rb').read()).graph_def
    names = [(node.name, node.op, list(node.input)) for node in graph.node]
    """,
    ),
}
if importlib.util.find_spec("tensorflow"):
    ACTIONS["parse, TensorFlow's"] = TIMED.format(
        setup="from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef",
        action="MetaGraphDef.FromString(open(sys.argv[1], 'rb').read())",
    )
IMPORT_META_GRAPH = """
import sys
import tensorflow.compat.v1 as tf
tf.disable_v2_behavior()
tf.train.import_meta_graph(sys.argv[1])
"""


def main() -> None:
    options = _options()
    if options.make is not None:
        _make(options.make, options.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        meta, saved_model = (
            os.path.join(folder, "network.meta"),
            os.path.join(folder, "saved_model"),
        )
        _make_elsewhere(0, folder)
        _report_processes(meta, saved_model, options.repeats)
        _report_calls(meta, options.repeats)
        _report_growth(folder, options.largest)


def _report_processes(meta: str, saved_model: str, repeats: int) -> None:
    cli = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli"]
    commands = {
        "bnguard audit, .meta": _audit(meta),
        "bnguard audit, SavedModel": _audit(saved_model),
        "python -c 'import tensorflow'": [sys.executable, "-c", "import tensorflow"],
        "import_meta_graph": [sys.executable, "-c", IMPORT_META_GRAPH, meta],
        "saved_model_cli show --all": [*cli, "show", "--all", "--dir", saved_model],
    }
    print(f"whole processes, median of {repeats}        wall      CPU    memory  exit status")
    rounds = [[_run(command) for command in commands.values()] for _ in range(1 + repeats)]
    runs = dict(zip(commands, zip(*rounds[1:])))
    for name, times in runs.items():
        wall, cpu, peak = (median(column) for column in list(zip(*times))[:3])
        print(f"  {name:32} {wall:6.2f} s {cpu:6.2f} s {peak / MIB:5.0f} MiB  {times[0].status}")
    audited, imported = runs["bnguard audit, .meta"], runs["python -c 'import tensorflow'"]
    for clock in ("wall", "cpu"):
        ratios = [getattr(a, clock) / getattr(b, clock) for a, b in zip(audited, imported)]
        print(f"  audit / import tensorflow, {clock}: {median(ratios):.3f}")
    print()


def _report_calls(meta: str, repeats: int) -> None:
    """In processes of their own, whose first call is a user's; imports do not count."""
    print(f"one call, CPU time, medians of {repeats} processes")
    print("                                 first   audit / this     later   audit / this")
    rounds: List[List[List[float]]] = []
    for _ in range(repeats):
        commands = ([sys.executable, "-c", script, meta] for script in ACTIONS.values())
        rounds.append([_times(command) for command in commands])
    for name, times in zip(ACTIONS, zip(*rounds)):
        cells = []
        for column in (0, 1):
            ratio = median([row[0][column] / own[column] for row, own in zip(rounds, times)])
            cells.append(f"{1e3 * median([own[column] for own in times]):7.1f} ms {ratio:11.1f}")
        print(f"  {name:25} {'    '.join(cells)}")
    print()


def _times(command: Sequence[str]) -> List[float]:
    """Return what the first call in a process took, and the median of its later calls."""
    output = subprocess.check_output(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    first, *later = map(float, output.split())
    return [first, median(later)]


def _report_growth(folder: str, largest: int) -> None:
    print("growth, whole processes      size      CPU   us/node    memory   / (6 x size + 60 MB)")
    path = os.path.join(folder, "graph.pb")
    nodes = SMALLEST
    while nodes <= largest:
        _make_elsewhere(nodes, folder)
        size, run = os.path.getsize(path), _run(_audit(path))
        print(
            f"  {nodes:9,} nodes      {size / 1e6:7.1f} MB {run.cpu:6.2f} s "
            f"{1e6 * run.cpu / nodes:7.1f}   {run.peak / MIB:5.0f} MiB   "
            f"{run.peak / (6 * size + 60e6):.2f}"
        )
        nodes *= 10


def _make_elsewhere(nodes: int, folder: str) -> None:
    """In a process of its own: what this one has held would count as a child's memory."""
    here = [sys.executable, os.path.abspath(__file__), "--make", str(nodes), "--folder", folder]
    subprocess.check_call(here, env=_environment())


def _audit(path: str) -> List[str]:
    return [sys.executable, "-m", "bnguard", "audit", path]


class Run(NamedTuple):
    """What one process took: seconds, and bytes at the peak."""

    wall: float
    cpu: float
    peak: float
    status: int


def _run(command: Sequence[str]) -> Run:
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, status >> 8)


def _environment() -> Dict[str, str]:
    environment = {**os.environ, "PYTHONPATH": ROOT, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled, too
    return environment


def _make(nodes: int, folder: str) -> None:
    """Write graph.pb of so many nodes; or, of 0, the network in its two forms."""
    if nodes:
        _write_chain(nodes, os.path.join(folder, "graph.pb"))
        return
    with lzma.open(NETWORK) as packed:
        data = packed.read()
    with open(os.path.join(folder, "network.meta"), "wb") as file:
        file.write(data)
    _write_saved_model(data, os.path.join(folder, "saved_model"))


def _write_saved_model(meta_graph: bytes, folder: str) -> None:
    """Write the network again, with a signature."""
    from bnguard.analysis.ir import protos

    message = protos.message("MetaGraphDef").FromString(meta_graph)
    message.meta_info_def.tags.append("serve")
    signature = message.signature_def["serving_default"]
    signature.inputs["x"].name, signature.outputs["logits"].name = "x:0", "logits:0"
    saved = protos.message("RawSavedModel")(meta_graphs=[message.SerializeToString()])
    os.mkdir(folder)
    with open(os.path.join(folder, "saved_model.pb"), "wb") as file:
        file.write(b"\x08\x01" + saved.SerializeToString())  # saved_model_schema_version: 1


def _write_chain(nodes: int, path: str) -> None:
    """Return a GraphDef of so many nodes: a chain of layers that update in place."""
    from bnguard.analysis.ir import protos

    graph = protos.message("GraphDef")()

    def add(name: str, op_type: str, *inputs: str, **types: int) -> str:
        node = graph.node.add(name=name, op=op_type, input=inputs)
        for key, value in {"T": 1, **types}.items():
            node.attr[key].type = value
        node.attr["_output_shapes"].list.i.extend([32, 14, 14, 256])
        node.attr["_class"].s = f"loc:@{name}".encode()
        node.attr["is_training"].b = True
        return name

    features = add("x", "Placeholder", dtype=1)
    for number in range(nodes // NODES_IN_LAYER):
        scope = f"network/block{number % 7}/unit{number}/BatchNorm"
        names = ("weights", "gamma", "beta", "moving_mean", "moving_variance", "decay")
        variables = [add(f"{scope}/{name}", "VariableV2", dtype=1) for name in names]
        kernel, gamma, beta, mean, variance, decay = variables
        convolved = add(f"{scope}/Conv2D", "Conv2D", features, kernel)
        fused = add(f"{scope}/Fused", "FusedBatchNormV3", convolved, gamma, beta, mean, variance)
        updates = []
        for port, statistic in ((1, mean), (2, variance)):
            difference = add(f"{statistic}/sub", "Sub", statistic, f"{fused}:{port}")
            step = add(f"{statistic}/mul", "Mul", difference, decay)
            updates.append(add(f"{statistic}/AssignSub", "AssignSub", statistic, step))
        features = add(f"{scope}/Relu", "Relu", fused)
        features = add(f"{scope}/out", "Identity", features, *(f"^{update}" for update in updates))
    with open(path, "wb") as file:
        file.write(graph.SerializeToString())


median = statistics.median


def _options() -> Any:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--largest", type=int, default=10**6, help="nodes, of the growth's graphs")
    parser.add_argument("--make", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
