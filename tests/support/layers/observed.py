"""Everything that a caller can see of a layer, for comparing two implementations of it."""

import numpy as np
import tensorflow.compat.v1 as tf

from support.layers.layer_session import LayerSession, batches

STATISTICS = ("moving_mean", "moving_variance")


def observe(function, shape, mode, **options):
    """Build a layer in a graph of its own; train it, use it, train it on; tell what is seen.

    Args:
      function: the layer.
      shape: of the inputs.
      mode: the name of its argument for the mode, to True, False, "tensor" or "variable".
      options: its other arguments.
    """
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, shape)
        ((argument, training),) = mode.items()
        switch = _switch(training)
        y = function(x, **{argument: training if switch is None else switch}, **options)
        sources = [x, *tf.trainable_variables()]
        # Weighted by constants: what y is off by in its last digit moves no gradient.
        weights = np.sin(np.arange(np.prod(shape), dtype=np.float32)).reshape(shape)
        gradients = tf.gradients(tf.reduce_sum(y * weights), sources)
        fetches = {
            "gradient of " + source.op.name.split("/")[-1]: gradient
            for source, gradient in zip(sources, gradients)
        }
        fetches["outputs"] = y  # with what waits for them, which no gradient needs
        losses = tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)
        fetches.update({loss.op.name: loss for loss in losses})
        return {
            "variables": {
                (v.op.name, tuple(v.shape.as_list()), v.dtype.name) for v in tf.global_variables()
            },
            "collections": _collections(),
            "aliases": getattr(y, "aliases", []),
            "steps": list(_steps(LayerSession(x, y, switch), fetches, shape)),
        }


def _switch(training):
    """What the mode can be switched by, if it can."""
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
    """Names in each collection; of ops whose names vary, their number or their aliases."""
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
        if before is not None and _is_spoilt(their_step):
            for name in STATISTICS:
                np.testing.assert_array_equal(our_step[name], before[name])
            return
        for name, value in their_step.items():
            # Sums of large terms may be small: what counts is the largest that is about.
            largest = max(1.0, np.abs(value).max())
            np.testing.assert_allclose(
                our_step[name], value, rtol=1e-6, atol=1e-6 * largest, err_msg=name
            )
        before = our_step


def _is_spoilt(step):
    """Whether an original's update ops, run at inference, have made a statistic NaN.

    Where they are fused and the mode is a tensor they add 0 times the kernel's moments, which it
    leaves unset at inference: what is in that memory may be NaN. So the originals have two possible
    outcomes there, and ours has one, the statistics as they were.
    """
    return any(np.isnan(step[name]).any() for name in STATISTICS)
