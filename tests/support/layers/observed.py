"""Observe everything a caller can see of a layer, to compare two implementations."""

import numpy as np
import tensorflow.compat.v1 as tf

from support.layers.layer_session import LayerSession, batches

STATISTICS = ("moving_mean", "moving_variance")


def observe(function, shape, mode, **options):
    """Build a layer in a new graph, run four steps (train, train, infer, train), and observe it.

    Args:
      function: the layer.
      shape: the shape of the inputs.
      mode: the name of the layer's mode argument -> True, False, "tensor" or "variable".
      options: the other arguments of the layer.

    Returns:
      A dict of variables, collections, aliases, and steps: fetched values by name.
    """
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, shape)
        ((argument, training),) = mode.items()
        switch = _switch(training)
        y = function(x, **{argument: training if switch is None else switch}, **options)
        sources = [x, *tf.trainable_variables()]
        # Constant weights: an error in the last digit of y does not change the gradients.
        weights = np.sin(np.arange(np.prod(shape), dtype=np.float32)).reshape(shape)
        gradients = tf.gradients(tf.reduce_sum(y * weights), sources)
        fetches = {
            "gradient of " + source.op.name.split("/")[-1]: gradient
            for source, gradient in zip(sources, gradients)
        }
        fetches["outputs"] = y  # no gradient depends on in-place updates, the outputs do
        losses = tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)
        fetches.update({loss.op.name: loss for loss in losses})
        return {
            "variables": {
                (variable.op.name, tuple(variable.shape.as_list()), variable.dtype.name)
                for variable in tf.global_variables()
            },
            "collections": _collections(),
            "aliases": getattr(y, "aliases", []),
            "steps": list(_steps(LayerSession(x, y, switch), fetches, shape)),
        }


def _switch(training):
    """Return the placeholder or variable that switches the mode, or None."""
    if training == "tensor":
        return tf.placeholder(tf.bool, [])
    if training == "variable":
        return tf.Variable(True, trainable=False, name="is_training")
    return None


def _steps(layer, fetches, shape):
    for training, batch in zip([True, True, False, True], batches(shape, count=4)):
        step = layer.run(fetches, batch, training)
        step["outputs once more"] = layer.train(batch) if training else layer.infer(batch)
        step.update(layer.variables())
        yield step


def _collections():
    """Return the names in each collection; where names vary, the number or the aliases."""
    found = {}
    for key in tf.get_default_graph().get_all_collection_keys():
        members = tf.get_collection(key)
        if key == tf.GraphKeys.UPDATE_OPS:
            found[key] = len(members)
        elif key == "outputs":
            found[key] = [member.aliases for member in members]
        elif key not in ("cond_context", tf.GraphKeys.GLOBAL_VARIABLES):
            found[key] = {member.op.name for member in members}
    return {key: value for key, value in found.items() if value}


def assert_same(ours, theirs):
    for part in ("variables", "collections", "aliases"):
        assert ours[part] == theirs[part]
    before = None
    for our_step, their_step in zip(ours["steps"], theirs["steps"]):
        assert our_step.keys() == their_step.keys()
        if before is not None and _is_corrupted(their_step):
            for name in STATISTICS:
                np.testing.assert_array_equal(our_step[name], before[name])
            return
        for name, value in their_step.items():
            # A sum of large terms may be small, so the tolerance follows the largest value.
            largest = max(1.0, np.abs(value).max())
            np.testing.assert_allclose(
                our_step[name], value, rtol=1e-6, atol=1e-6 * largest, err_msg=name
            )
        before = our_step


def _is_corrupted(step):
    """Return whether an original's update ops, run in inference, made a statistic NaN.

    With the fused kernel and a tensor mode, the original adds 0 times the kernel's moments. The
    kernel leaves these unset in inference, so the memory may contain NaN. The original has two
    possible outcomes there; bnguard has one, the unchanged statistics.
    """
    return any(np.isnan(step[name]).any() for name in STATISTICS)
