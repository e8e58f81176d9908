"""## What it does
Says which constants ops still assign to: variables, before the graph was frozen.

## Why is this bad
The graph cannot be imported: "Input 0 of node AssignMovingAvg was passed float from
moving_mean:0 incompatible with expected float_ref". Converters and runtimes for inference
refuse it, too.

## Example
```python
y = batch_norm(x, is_training=True, updates_collections=None)
frozen = tf.graph_util.convert_variables_to_constants(session, graph_def, ["y"])
```
The output depends on the updates, so that they are kept, and what they update is now constant.

## Use instead
```python
with tf.Graph().as_default():
    y = batch_norm(x, is_training=False)
    saver.restore(session, checkpoint)
    frozen = tf.graph_util.convert_variables_to_constants(session, graph_def, ["y"])
```
Freeze the graph that infers, not the one that trains.

## Known false positives
None: nothing can assign to a constant.

## References
- https://github.com/tensorflow/tensorflow/issues/3628
- https://github.com/davidsandberg/facenet/issues/161
- https://github.com/onnx/tensorflow-onnx/issues/77
"""

from __future__ import annotations

from typing import Iterator

from bnguard.analysis.findings import ERROR, Finding
from bnguard.analysis.ir.op_types import is_write
from bnguard.analysis.scenario.scenario import Scenario

CODE = "BN302"
REMEDY = "Build the graph again with is_training=False, restore the checkpoint, and freeze that"


def check(scenario: Scenario) -> Iterator[Finding]:
    """One finding for each op that assigns to a constant."""
    recognized = scenario.recognized
    graph = recognized.graph
    to_variables = {write.node for writes in recognized.writes.values() for write in writes}
    for node in graph.of_types(filter(is_write, list(graph.present_types()))):
        if node in to_variables:
            continue
        origins = recognized.provenance.origins(graph.data_inputs(node)[0])
        if not origins.all_are(lambda origin: graph.types[origin.node] == "Const"):
            continue
        name = graph.names[origins.tensors[0].node]
        step = next((one for one in scenario.inference if one.execution.needs(node)), None)
        yield Finding(
            rule=CODE,
            severity=ERROR,
            certain=True,
            variable=name,
            layer=name.rpartition("/")[0],
            op=graph.names[node],
            path=step.path(node) if step else (),
            fetch=step.fetch if step else "",
            problem=f"a constant now, and still assigned to by {graph.types[node]}",
            remedy=REMEDY,
        )
