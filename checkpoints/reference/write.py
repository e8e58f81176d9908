"""Write contrib.ckpt: the source's program under TensorFlow 1.15, up to the end of training.

Run with Python 3.7 and TensorFlow 1.15; imports nothing of this project. The statistics are
to be m = (-0.024, 99.818), v = (0.908, 0.654), as the source's first printed row implies.
"""

import os

import numpy as np
from scipy import stats
import tensorflow as tf

np.random.seed(1006)
x = tf.placeholder(tf.float32, [None, 2])
y = tf.contrib.layers.batch_norm(
    x,
    decay=0.9,
    center=True,
    scale=True,
    updates_collections=None,
    is_training=True,
    fused=False,
    scope="bn",
)
normal = stats.multivariate_normal([0, 100])
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    for _ in range(100):
        session.run(y, {x: normal.rvs(4)})
    prefix = os.path.join(os.path.dirname(os.path.abspath(__file__)), "contrib.ckpt")
    tf.train.Saver().save(session, prefix, write_meta_graph=False, write_state=False)
    for variable in tf.global_variables():
        print(variable.op.name, session.run(variable))
