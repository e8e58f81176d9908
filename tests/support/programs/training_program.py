"""Weights, and a session in which create_train_op trains them."""

import numpy as np
import tensorflow.compat.v1 as tf

RATE = 0.5


def optimizer():
    """Return plain gradient descent."""
    return tf.train.GradientDescentOptimizer(RATE)


def weight(name, value=1.0, **options):
    """Create a variable with this initial value."""
    return tf.get_variable(name, initializer=tf.constant(value), **options)


class Training:
    """A session with initialized variables, in which `step` runs the train op."""

    def __init__(self, train_op):
        self.train_op = train_op
        self.session = tf.Session()
        self.session.run(tf.global_variables_initializer())

    def step(self, feed=None):
        """Run the train op, and return its value."""
        return self.session.run(self.train_op, feed)

    def values(self):
        """Return the value of every global variable, by name."""
        return {
            variable.op.name: np.array(self.session.run(variable))
            for variable in tf.global_variables()
        }
