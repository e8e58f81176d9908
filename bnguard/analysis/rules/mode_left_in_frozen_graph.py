"""## What it does
Finds frozen graphs, without any variable, in which the choice between training and inference is
left: a training flag that still selects a branch, or a branch that takes what freezing has made a
constant for a resource variable, which TensorFlow refuses to import. The flag may be a constant:
what freezing makes of a flag that was a variable.

## Why is this bad
Converters and inference runtimes, such as those of TFLite, ONNX and OpenVINO, expect the mean and
the variance of a batch normalization to be constants. They fail on the branches, or convert the one
for training. Where the flag has a default or is fed wrongly, the graph normalizes with its own
batch.

## Example
```python
is_training = tf.placeholder(tf.bool, [], name="phase_train")
embeddings = tf.identity(network(images, is_training=is_training), name="embeddings")
frozen = tf.graph_util.convert_variables_to_constants(session, graph_def, ["embeddings"])
```

## Use instead
```python
with tf.Graph().as_default():
    embeddings = tf.identity(network(images, is_training=False), name="embeddings")
    saver.restore(session, checkpoint)
    frozen = tf.graph_util.convert_variables_to_constants(session, graph_def, ["embeddings"])
```
With Keras, call `tf.keras.backend.set_learning_phase(0)`, build the model anew, and load its
weights.

## Known false positives
A runtime of TensorFlow itself that is fed the flag. A flag that no normalization depends on, such
as one of dropout alone, is ignored.

## References
- https://github.com/tensorflow/tensorflow/issues/23253
- https://github.com/keras-team/keras/issues/11032
- https://github.com/tensorflow/tensorflow/issues/31331
"""

from __future__ import annotations

from typing import Dict, Iterator, Set

from bnguard.analysis.dataflow.constant_propagation import ConstantPropagation
from bnguard.analysis.dataflow.reachability import closure
from bnguard.analysis.findings import ERROR, WARNING, Finding
from bnguard.analysis.ir.graph import MERGES, Graph
from bnguard.analysis.ir.op_types import SWITCHES, VARIABLES
from bnguard.analysis.ir.protos import DATA_TYPES
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.analysis.rules.rule import Rule
from bnguard.analysis.scenario.scenario import Scenario
from bnguard.analysis.scenario.training_flags import TrainingFlag

_RESOURCE = DATA_TYPES["DT_RESOURCE"]


def check(scenario: Scenario) -> Iterator[Finding]:
    """Yield a finding for each flag, and for each op that takes a constant for a variable."""
    graph = scenario.recognized.graph
    if not VARIABLES.isdisjoint(graph.present_types()):
        return
    flags = {
        flag.tensor.node for flag in scenario.training_flags if _selects_moments(scenario, flag)
    }
    for node in sorted(flags | _constant_flags(scenario.recognized)):
        yield RULE.finding(
            scenario.recognized,
            "is left in the frozen graph: it still selects between training and inference",
            node,
            severity=WARNING,
        )
    yield from _refused(scenario.recognized)


def _selects_moments(scenario: Scenario, flag: TrainingFlag) -> bool:
    """Return whether a layer uses its batch at one value of a flag, and not at the other."""
    if not scenario.inference:
        return bool(scenario.recognized.normalizations)
    flags = {other.tensor: other.at_inference for other in scenario.training_flags}
    return any(
        step.with_feeds({**scenario.feeds, **flags, flag.tensor: True}).uses_moments(layer)
        != step.with_feeds({**scenario.feeds, **flags, flag.tensor: False}).uses_moments(layer)
        for step in scenario.inference
        for layer in step.recognized.normalizations
    )


def _constant_flags(recognized: RecognizedGraph) -> Set[int]:
    """Return the constants that select a branch with a normalization, or with its moments."""
    graph = recognized.graph
    constants, merges = ConstantPropagation(graph, {}), set(graph.of_types(MERGES))
    layers = {
        node
        for layer in recognized.normalizations
        if layer.moments
        for node in (layer.node, *(moment.node for moment in layer.moments))
    }
    return {
        constants.selector_origin(selector)[0].node
        for selector, switches in graph.decided_by.items()
        if graph.types[constants.selector_origin(selector)[0].node] == "Const"
        and not layers.isdisjoint(closure(switches, graph.consumers, merges))
    }


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
