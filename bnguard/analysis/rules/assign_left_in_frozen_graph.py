"""## What it does
Finds ops that assign to a constant: to what was a variable before the graph was frozen.

## Why is this bad
The graph cannot be imported: "Input 0 of node AssignMovingAvg was passed float from moving_mean:0
incompatible with expected float_ref". Converters and inference runtimes refuse it, too.

## Example
```python
y = tf.identity(batch_norm(x, is_training=True, updates_collections=None), name="y")
frozen = tf.graph_util.convert_variables_to_constants(session, graph_def, ["y"])
```
The output depends on the updates, so freezing keeps them, and makes a constant of what they update.

## Use instead
```python
with tf.Graph().as_default():
    y = tf.identity(batch_norm(x, is_training=False), name="y")
    saver.restore(session, checkpoint)
    frozen = tf.graph_util.convert_variables_to_constants(session, graph_def, ["y"])
```
Freeze the graph for inference, not the one for training.

## Known false positives
None: no op can assign to a constant.

## References
- https://github.com/tensorflow/tensorflow/issues/3628
- https://github.com/davidsandberg/facenet/issues/161
- https://github.com/onnx/tensorflow-onnx/issues/77
"""

from __future__ import annotations

from typing import Iterator

from bnguard.analysis.findings import ERROR, Finding
from bnguard.analysis.ir.op_types import is_write
from bnguard.analysis.rules.rule import Rule
from bnguard.analysis.scenario.scenario import Scenario


def check(scenario: Scenario) -> Iterator[Finding]:
    """Yield a finding for each op that assigns to a constant."""
    recognized = scenario.recognized
    graph, types = recognized.graph, recognized.graph.types
    to_variables = {write.node for writes in recognized.writes.values() for write in writes}
    for node in graph.of_types(filter(is_write, list(graph.present_types()))):
        if node in to_variables:
            continue
        origins = recognized.provenance.origins(graph.data_inputs(node)[0])
        if not origins.all_are(lambda origin: types[origin.node] == "Const"):
            continue
        name = graph.names[origins.tensors[0].node]
        yield RULE.finding(
            recognized,
            f"is still assigned to by {types[node]}, although freezing made constants of variables",
            node,
            step=next((step for step in scenario.inference if step.execution.needs(node)), None),
            path_to=node,
            variable=name,
            layer=name.rpartition("/")[0],
        )


RULE = Rule(
    "BN302",
    __name__,
    __doc__,
    ERROR,
    "Build the graph again with is_training=False, restore the checkpoint, and freeze that graph",
    check,
    about="variable",
)
