"""Build the examples of a rule's page, with the names that they assume; audit what they built."""

from contextlib import ExitStack, suppress
import os
import tempfile

import tensorflow.compat.v1 as tf

import bnguard
from support.docs.blocks import blocks
from support.docs.setting import ROWS, Names
from support.graphs import build_with

BEFORE = {  # what the program has built above the lines that a page shows
    "BN201": ["y"],
    "BN301": ["y"],
    "actor_updates": ["actor_loss", "actor_variables"],
}


def judge(code, number):
    """Execute block `number` of the page of a rule; return the codes of the rules that find it."""
    block = blocks(f"docs/rules/{code}.md")[number]
    tf.disable_v2_behavior()
    with build_with("ref", "v1"), tf.Graph().as_default(), ExitStack() as stack:
        names = RuleNames(stack, code, block.text)
        for key, needed in BEFORE.items():
            if key in (code, block.text.split(" ")[0]) and "batch_norm(" not in block.text:
                for name in needed:
                    names[name]
        exec(compile(block.text, str(block), "exec"), names)
        return {finding.rule for finding in names.report().findings}


class RuleNames(Names):
    """The names of an example: networks that it calls, losses, and what it saves."""

    def __init__(self, stack, code, source):
        super().__init__(stack)
        self._code, self._source = code, source
        self._folder = stack.enter_context(tempfile.TemporaryDirectory())

    def report(self):
        """Train if the example does not, and audit the graph with what it built or saved."""
        if "frozen" in self:
            return bnguard.audit(self["frozen"])
        fetches = next((self[name] for name in ("y", "logits", "features") if name in self), None)
        checkpoint = None
        if self._code == "BN304":
            self["train_op"]
            if "range(100)" not in self._source:
                for _ in range(100):
                    self["session"].run(self["train_op"], {self["is_training"]: True})
            checkpoint = self["checkpoint"]
        elif self._code not in ("BN103", "BN301") and not {"train_op", "actor_step"} & set(self):
            self["train_op"]
        saver = self.get("saver")
        meta = tf.train.export_meta_graph(saver_def=saver and saver.as_saver_def())
        asks = {}
        if self._code.startswith("BN1") and fetches is not None:
            asks = {"fetches": fetches.name}
        return bnguard.audit(meta, checkpoint=checkpoint, **asks)

    def _x(self):
        return tf.placeholder_with_default(ROWS, [None, 4], name="x")

    def _input(self):
        return tf.placeholder(tf.float32, [None, 4])

    _x_left = _x_right = _train_images = _validation_images = _images = _input

    def _network(self):
        def network(inputs, is_training, trainable=True, reuse=None, **options):
            if self._code == "BN206":
                options["updates_collections"] = None
            with tf.variable_scope("network", reuse=reuse or tf.AUTO_REUSE):
                weights = tf.get_variable("weights", [4, 4], trainable=trainable)
                return bnguard.batch_norm(
                    tf.matmul(inputs, weights),
                    is_training=is_training,
                    trainable=trainable,
                    scope="bn",
                    **options,
                )

        return network

    def _distance(self):
        return lambda left, right: tf.reduce_mean(tf.square(left - right))

    def _shortcut(self):
        return lambda inputs: 2 * inputs

    def _y(self):
        if "moving_mean" not in self:
            return super()._y()
        variance = tf.get_variable("moving_variance", [4], trainable=False)
        inputs = tf.matmul(self["x"], tf.get_variable("weights", [4, 4]))
        return tf.nn.batch_normalization(inputs, self["moving_mean"], variance, None, None, 1e-3)

    def _train_op(self):
        if self._code == "BN205":
            return self["optimizer"].minimize(self["loss"])
        return super()._train_op()

    def _session(self):
        if self._code == "BN304":
            self["train_op"]  # it has a variable, too
        return super()._session()

    def _head(self):
        with suppress(ValueError), tf.variable_scope("head"):
            tf.get_variable("weights", [4, 2])
        with tf.variable_scope("head", reuse=True):
            return tf.get_variable("weights")

    def _head_variables(self):
        return [self["head"]]

    def _loss(self):
        if "features" in self and "logits" not in self:
            return tf.reduce_mean(tf.square(tf.matmul(self["features"], self["head"]) - 1))
        return super()._loss()

    _train_loss = _loss

    def _actor_loss(self):
        with tf.variable_scope("actor"):
            return tf.reduce_mean(tf.square(bnguard.batch_norm(self["x"], is_training=True)))

    def _actor_variables(self):
        return tf.trainable_variables("actor")

    def _saver(self):
        return tf.train.Saver()

    def _checkpoint(self):
        return self["saver"].save(self["session"], os.path.join(self._folder, "model.ckpt"))

    def _graph_def(self):
        return tf.get_default_graph().as_graph_def()
