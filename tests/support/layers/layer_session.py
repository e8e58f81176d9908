"""Run a layer in a session: feed batches, train, infer, read the variables."""

import numpy as np
import tensorflow.compat.v1 as tf


class LayerSession:
    """Runs a layer built in the default graph, its variables initialized.

    Args:
      x: the placeholder for the inputs.
      y: the outputs.
      training: the placeholder or the variable for the mode, or None.
      updates: the update ops; by default all of UPDATE_OPS.
    """

    def __init__(self, x, y, training=None, updates=None):
        self.x, self.y, self.training = x, y, training
        if updates is None:
            updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        self.updates = updates
        self.session = tf.Session(graph=y.graph)
        self.session.run(tf.global_variables_initializer())

    def train(self, x):
        """Run the outputs and the updates once in training mode; return the outputs."""
        return self._run(x, True)

    def infer(self, x):
        """Run the outputs and the updates once in inference mode; return the outputs."""
        return self._run(x, False)

    def run(self, fetch, x, training=True):
        feed = {self.x: x}
        if isinstance(self.training, tf.Variable):
            self.training.load(training, self.session)
        elif self.training is not None:
            feed[self.training] = training
        return self.session.run(fetch, feed)

    def variables(self):
        """Return a copy of every variable's value, by the last part of its name."""
        variables = {
            variable.op.name.split("/")[-1]: variable for variable in tf.global_variables()
        }
        values = self.session.run(variables)
        return {name: np.array(value) for name, value in values.items()}

    def _run(self, x, training):
        outputs, _ = self.run([self.y, self.updates], x, training)
        return outputs


def batches(shape, count=3, seed=0):
    """Return random batches whose channels differ in mean and spread."""
    random = np.random.RandomState(seed)
    scale = 1 + np.arange(np.prod(shape[1:])).reshape(shape[1:]) % 5
    return [(random.randn(*shape) * scale + scale).astype(np.float32) for _ in range(count)]
