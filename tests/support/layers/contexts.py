"""Unusual contexts in which a layer is built and run."""

from typing import Any, NamedTuple

import tensorflow
import tensorflow.compat.v1 as tf

from support.samples import EVERY

_MIXED_PRECISION = "auto_mixed_precision_cpu"
_REWRITES = tf.ConfigProto().graph_options.rewrite_options
_ON = _REWRITES.ON
# AutoGraph would convert the layer with all that it calls, which takes seconds and changes nothing.
_as_written = tf.autograph.experimental.do_not_convert


class Built(NamedTuple):
    """A layer in its context.

    Args:
      outputs: the outputs, of the shape of the inputs.
      variables: all variables.
      config: a ConfigProto for the session, or None.
      updates: what a step runs to move the statistics, beside the outputs.
      shown_by: an op in the graph that ran, if a rewrite must have made it: its type, or `Cast to`
        a type.
      calls: how often one step applies the layer, each time to the outputs of the call before.
    """

    outputs: tf.Tensor
    variables: Any
    config: Any = None
    updates: Any = ()
    shown_by: str = ""
    calls: int = 1


def built(outputs, **options):
    return Built(outputs, tf.global_variables(), **options)


def plain(layer, x, training):
    return built(layer(x, training))


def without_grappler(layer, x, training):
    return built(layer(x, training), config=without_optimizers())


def clustered(layer, x, training):
    return built(layer(x, training), config=jit(2), shown_by="_XlaCompile")


def in_a_branch(layer, x, training):
    takes = tf.placeholder_with_default(True, [])
    return built(tf.cond(takes, lambda: layer(x, training), lambda: x))


def in_a_loop(layer, x, training):
    return built(repeated(layer, x, training, 2), calls=2)


def in_a_loop_once(layer, x, training):
    return built(repeated(layer, x, training, 1))


def mapped(layer, x, training):
    """Apply the layer to the same batch, once."""
    function = _as_written(lambda batch: layer(batch, training))
    return built(tf.map_fn(function, x[None], parallel_iterations=1)[0])


def converted(layer, x, training):
    """Apply the layer to the same batch, once, in a function that AutoGraph converts."""
    elements = tf.map_fn(lambda batch: layer(batch, training), x[None], parallel_iterations=1)
    return built(elements[0])


def mixed_precision(layer, x, training):
    weights = tf.get_variable("w", initializer=tf.eye(5), trainable=False)
    outputs = layer(tf.matmul(x, weights), training)
    config = tf.ConfigProto()
    setattr(config.graph_options.rewrite_options, _MIXED_PRECISION, _ON)
    return built(outputs, config=config, shown_by="Cast to float16")


def wrapped_function(layer, x, training):
    signature = [tf.TensorSpec([None, 5], tf.float32), tf.TensorSpec([], tf.bool)]
    function = tf.wrap_function(layer, signature)
    outputs = function(x, training)
    return Built(outputs, [*function.graph.variables, *tf.global_variables()])


def partitioned(layer, x, training):
    partitioner = tf.fixed_size_partitioner(2)
    with tf.variable_scope("s", partitioner=partitioner, reuse=tf.AUTO_REUSE):
        outputs = layer(x, training)
        layer(x, False)
    return built(outputs)


def half_precision(layer, x, training):
    def getter(getter, name, shape=None, dtype=None, *arguments, **options):
        if not options.get("trainable", True):
            return getter(name, shape, dtype, *arguments, **options)
        return tf.cast(getter(name, shape, tf.float32, *arguments, **options), dtype)

    with tf.variable_scope("s", custom_getter=getter):
        outputs = layer(tf.cast(x, tf.float16), training)
    return built(outputs)


def mirrored(layer, x, training):
    """Build the layer in two replicas, with the same inputs."""
    strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
    with strategy.scope():
        run = getattr(strategy, "run", None) or strategy.experimental_run_v2
        outputs = run(lambda: layer(x, training))
    first, second = strategy.experimental_local_results(outputs)
    config = tf.ConfigProto(device_count={"CPU": 2})
    return built(first, config=config, updates=[second])


def averaged(layer, x, training):
    outputs = layer(x, training)
    averages = tf.train.ExponentialMovingAverage(0.9)
    step = tf.train.MomentumOptimizer(0.0, 0.9).minimize(tf.reduce_mean(outputs**2))
    with tf.control_dependencies([step]):
        return built(outputs, updates=[averages.apply(tf.trainable_variables())])


# How the outputs are built and run -> a function from a layer, inputs and a mode to a Built.
CONTEXTS = {
    context.__name__: context
    for context in (
        plain,
        without_grappler,
        clustered,
        in_a_branch,
        in_a_loop,
        in_a_loop_once,
        mapped,
        *([converted] if EVERY else []),
        # Older rewrites do nothing without a GPU.
        *([mixed_precision] if hasattr(_REWRITES, _MIXED_PRECISION) else []),
        wrapped_function,
        partitioned,
        half_precision,
        averaged,
        mirrored,
    )
}


def without_optimizers():
    """Return the configuration of a session that runs a graph as it was built."""
    config = tf.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = -1
    return config


def jit(level):
    """Return the configuration of a session that compiles clusters with XLA."""
    config = tf.ConfigProto()
    config.graph_options.optimizer_options.global_jit_level = level
    return config


def over_elements(kind, layer, elements, parallel_iterations=1):
    """Apply a function to each of the elements, in a loop, and return all outputs.

    Args:
      kind: `map_fn`, `scan` or `while_loop`.
      layer: the function.
      elements: a tensor whose first dimension is known.
      parallel_iterations: the number of iterations that may run at once.
    """
    options = {"parallel_iterations": parallel_iterations}
    layer = _as_written(layer)
    first = tf.zeros_like(elements[0])
    if kind == "map_fn":
        return tf.map_fn(layer, elements, **options)
    if kind == "scan":
        function = _as_written(lambda _, element: layer(element))
        return tf.scan(function, elements, first, **options)
    return tf.while_loop(
        lambda index, _: index < elements.shape.as_list()[0],
        lambda index, _: (index + 1, layer(elements[index])),
        [0, first],
        **options,
    )[1]


def repeated(layer, x, training, times):
    """Apply the layer to its own outputs, in a loop."""
    _, outputs = tf.while_loop(
        lambda index, _: index < times,
        lambda index, values: (index + 1, layer(values, training)),
        [0, x],
        shape_invariants=[tf.TensorShape([]), x.shape],
        parallel_iterations=1,
    )
    return outputs


def compiled(graph_def, feed, outputs):
    """Import a graph into a function that XLA compiles, and return its outputs.

    Args:
      graph_def: a graph without variables.
      feed: the name of a placeholder, and the tensor that is fed.
      outputs: the names of tensors.
    """
    name, tensor = feed

    def imported(argument):
        return tf.import_graph_def(graph_def, {name: argument}, outputs)

    version = tuple(map(int, tensorflow.__version__.split(".")[:2]))
    options = {"jit_compile" if version >= (2, 5) else "experimental_compile": True}
    return tensorflow.function(imported, autograph=False, **options)(tensor)
