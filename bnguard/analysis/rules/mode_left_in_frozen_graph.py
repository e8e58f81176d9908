"""## What it does
Finds frozen graphs, without any variable, in which the choice between training and inference is
left: a training flag that still selects a branch, or a branch that takes what freezing has made a
constant for a resource variable, which TensorFlow refuses to import.

## Why is this bad
Converters and inference runtimes, such as those of TFLite, ONNX and OpenVINO, expect the mean and
the variance of a batch normalization to be constants. They fail on the branches, or convert the one
for training. Where the flag has a default or is fed wrongly, the graph normalizes with its own
batch.

## Example
```python
is_training = tf.placeholder(tf.bool, [], name="phase_train")
embeddings = network(images, is_training=is_training)
frozen = tf.graph_util.convert_variables_to_constants(session, graph_def, ["embeddings"])
```

## Use instead
```python
with tf.Graph().as_default():
    embeddings = network(images, is_training=False)
    saver.restore(session, checkpoint)
    frozen = tf.graph_util.convert_variables_to_constants(session, graph_def, ["embeddings"])
```
With Keras, call `tf.keras.backend.set_learning_phase(0)`, build the model anew, and load its
weights.

## Known false positives
A runtime of TensorFlow itself that is fed the flag.

## References
- https://github.com/tensorflow/tensorflow/issues/23253
- https://github.com/keras-team/keras/issues/11032
- https://github.com/tensorflow/tensorflow/issues/31331
"""

from __future__ import annotations

from typing import Dict, Iterator

from bnguard.analysis.findings import ERROR, WARNING, Finding
from bnguard.analysis.ir.graph import Graph
from bnguard.analysis.ir.op_types import SWITCHES, VARIABLES
from bnguard.analysis.ir.protos import DATA_TYPES
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.analysis.rules.rule import Rule
from bnguard.analysis.scenario.scenario import Scenario

_RESOURCE = DATA_TYPES["DT_RESOURCE"]


def check(scenario: Scenario) -> Iterator[Finding]:
    """Yield a finding for each flag, and for each op that takes a constant for a variable."""
    graph = scenario.recognized.graph
    if not VARIABLES.isdisjoint(graph.present_types()):
        return
    for flag in scenario.training_flags if scenario.recognized.normalizations else ():
        yield RULE.finding(
            scenario.recognized,
            "is left in the frozen graph: it still selects between training and inference",
            flag.tensor.node,
            severity=WARNING,
        )
    yield from _refused(scenario.recognized)


def _refused(recognized: RecognizedGraph) -> Iterator[Finding]:
    """Yield a finding for each op that expects a resource variable, and is given a constant."""
    graph = recognized.graph
    found: Dict[int, int] = {}
    for node in graph.of_types([*SWITCHES, "ReadVariableOp"]):
        if _takes_resource(graph, node):
            origin = recognized.provenance.origins(graph.data_input(node, 0)).only
            if origin is not None and graph.types[origin.node] == "Const":
                found.setdefault(origin.node, node)
    for constant, node in found.items():
        name = graph.names[constant]
        yield RULE.finding(
            recognized,
            "is taken for a resource variable, although freezing made constants of variables: "
            "TensorFlow refuses to import the graph",
            node,
            variable=name,
            layer=name.rpartition("/")[0],
        )


def _takes_resource(graph: Graph, node: int) -> bool:
    if graph.types[node] == "ReadVariableOp":
        return True
    attributes = graph.attributes(node)  # none, of a Switch that lowering made
    return "T" in attributes and bool(attributes["T"].type == _RESOURCE)


RULE = Rule(
    "BN303",
    __name__,
    __doc__,
    ERROR,
    "Build the graph again with is_training=False, restore the checkpoint, and freeze that graph",
    check,
    about="variable",
)
