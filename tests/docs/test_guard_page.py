"""The output that docs/guard.md shows is that of the program below."""

import os

from support import forked
from support.paths import ROOT

PROGRAM = """import bnguard
from bnguard import batch_norm
import tensorflow.compat.v1 as tf

tf.disable_v2_behavior()
OPTIONS = {"updates_collections": None, "scope": "bn"}


def conv_block(x, is_training):
    train = batch_norm(x, is_training=True, decay=0.9, **OPTIONS)
    infer = batch_norm(x, is_training=False, reuse=True, **OPTIONS)
    return tf.cond(is_training, lambda: train, lambda: infer)


x = tf.placeholder(tf.float32, [None, 2], name="x")
is_training = tf.placeholder(tf.bool, [], name="is_training")
y = tf.identity(conv_block(x, is_training), name="y")
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    with bnguard.frozen(session):
        session.run(y, {x: [[3.0, 2.0], [3.0, 4.0]], is_training: False})
"""


def test_the_message_of_frozen_is_that_of_the_page(tmp_path):
    (tmp_path / "net.py").write_text(PROGRAM, encoding="utf-8")
    _, _, errors = forked.run(tmp_path, "run", "net.py", cwd=tmp_path)
    message = errors[errors.index("frozen: ") : errors.index("bnguard: net.py\n")]
    with open(os.path.join(ROOT, "docs", "guard.md"), encoding="utf-8") as page:
        assert message.strip() in page.read()
