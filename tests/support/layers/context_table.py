"""The table in docs/layers.md of what the layers do in each context, by version of TensorFlow.

A test calls `held` with what a layer computed in a context and with the expected values. The table
has the largest error of each context, rounded up to a power of ten, and a later run must not exceed
it. `python tools/layer_contexts.py` measures all contexts and fills in the column of the installed
TensorFlow.
"""

import math
import os

import numpy as np
import tensorflow.compat.v1 as tf

from support.paths import ROOT

PAGE = os.path.join(ROOT, "docs", "layers.md")
BEGIN, END = "<!-- contexts:begin -->", "<!-- contexts:end -->"
RECORD = "BNGUARD_CONTEXTS"  # names the file to record all errors in, instead of judging them
VERSION = tf.__version__.partition("-")[0]
NONE = "-"
SMALLEST = 1e-6  # what rounding may do anywhere

_DERIVED = "against the gradient of the same layer written by hand, in a known mode"
_SAVED = "what `Saver.save` stores, against the mean over replicas of the closed form"
ROWS = {
    "plain": "outputs and statistics of four steps against NumPy, as in all rows up to `mirrored`",
    "without grappler": "the graph runs as it was built",
    "clustered": "XLA, `global_jit_level` 2: a compiled cluster is in the graph that ran",
    "in a branch": "inside a `tf.cond` of the program",
    "in a loop": "two iterations of a `tf.while_loop`, each on the outputs of the one before",
    "in a loop once": "one iteration",
    "mapped": "`tf.map_fn` over a single batch",
    "mixed precision": "`auto_mixed_precision_cpu`: the graph that ran has casts to float16",
    "wrapped function": "`tf.wrap_function`",
    "partitioned": "a partitioner, and `AUTO_REUSE` by a second call for inference",
    "half precision": "float16 inputs, and a custom getter that casts parameters",
    "averaged": "an optimizer, and `ExponentialMovingAverage` of the parameters",
    "mirrored": "two replicas of a `MirroredStrategy`, with equal inputs",
    "map_fn": "five batches in place, `parallel_iterations=1`: five updates",
    "scan": "the same with `tf.scan`",
    "while_loop": "the same with `tf.while_loop`",
    "gradient": _DERIVED,
    "gradient beside its op": "the same with `colocate_gradients_with_ops`",
    "gradient built in a branch": "`tf.gradients` inside a `tf.cond`",
    "gradient built in a loop": "`tf.gradients` inside a `tf.while_loop`",
    "gradient of a branch": "of a layer inside a `tf.cond`",
    "gradient of a loop": "of a layer inside a `tf.while_loop`",
    "second derivative": "the gradient of the gradient",
    "second derivative beside its op": "the same with `colocate_gradients_with_ops`",
    "compiled": "a frozen graph of a known mode, in a `tf.function` that XLA compiles",
    "MirroredStrategy": f"two replicas with unequal inputs: {_SAVED}",
    "OneDeviceStrategy": "the same, one replica",
    "ParameterServerStrategy": "the same, one replica",
    "CentralStorageStrategy": "the same, two replicas that share their variables; with a fed mode "
    "by UPDATE_OPS only",
    "MultiWorkerMirroredStrategy": "the same, two workers with a server each",
}


def held(context, actual, expected):
    """Check that values are as near to those expected as the table says; or record how near."""
    expected = np.asarray(expected, np.float64)
    largest = np.abs(expected).max()
    error = float(np.abs(np.asarray(actual, np.float64) - expected).max() / (largest or 1))
    record = os.environ.get(RECORD)
    if record:
        with open(record, "a", encoding="utf-8") as file:
            file.write(f"{error!r} {context}\n")
        return
    bound = bounds(VERSION).get(context)
    assert bound is not None, f"{context}: docs/layers.md has no figure of it"
    assert error <= bound, f"{context}: the error is {error:.2g}, above {bound:g} in docs/layers.md"


def bounds(version):
    """Return the largest error of each context in the column of a version, or in all others."""
    head, rows = _read()
    columns = [head.index(version)] if version in head else range(2, len(head))
    found = {}
    for name, cells in rows.items():
        figures = [float(cells[column]) for column in columns if cells[column] != NONE]
        if figures:
            found[name] = max(figures)
    return found


def filled(text, version, errors):
    """Return the text of the page with the errors of a version in its column.

    Args:
      text: the page.
      version: of TensorFlow.
      errors: the largest error of each context that was measured.
    """
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    head, rows = _read(text)
    versions = sorted({version, *head[2:]}, key=lambda found: tuple(map(int, found.split("."))))
    lines = [
        _line(["context", "what is built, and what is compared", *versions]),
        _line(["---"] * (2 + len(versions))),
    ]
    for name, what in ROWS.items():
        cells = dict(zip(head, rows.get(name, [])))
        cells[version] = f"{rounded_up(errors[name]):.0e}" if name in errors else NONE
        lines.append(_line([name, what, *(cells.get(found, NONE) for found in versions)]))
    return "\n".join([f"{before}{BEGIN}", *lines, f"{END}{after}"])


def rounded_up(error):
    """Return the power of ten above twice an error, which differs a little between machines."""
    return max(SMALLEST, 10.0 ** math.ceil(math.log10(2 * error))) if error else SMALLEST


def _read(text=None):
    if text is None:
        with open(PAGE, encoding="utf-8") as file:
            text = file.read()
    table = text.partition(BEGIN)[2].partition(END)[0].strip().splitlines()
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    head = lines[0] if lines else ["", ""]
    return head, {cells[0]: cells for cells in lines[2:]}


def _line(cells):
    return f"| {' | '.join(cells)} |"
