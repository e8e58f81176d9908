"""Random healthy programs: what people train, with nothing wrong in it.

Encoders and decoders of convolutions and layers, with flags or with a second network for inference,
adversarial pairs, metrics, averages of weights, summaries, and the names of TensorFlow 1.4.
"""

from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf

from bnguard import batch_norm
from support.graphs import build_with

BUILDS = [("ref", "v1"), ("resource", "v1"), ("resource", "v2")]
SIZE = 8


class HealthyProgram:
    """A program.

    Args:
      random: a `random.Random`, which draws the program.

    Attributes:
      meta: the MetaGraphDef.
      outputs: the names of the tensors that the program may fetch at inference.
      train_ops: the names of its training steps.
      description: what was drawn.
    """

    def __init__(self, random):
        self._random = random
        self.description = []
        self.outputs, self.train_ops = set(), set()
        build = self._draw("build", BUILDS)
        with build_with(*build), tf.Graph().as_default():
            self._modes()
            if self._draw("adversarial", [False, False, True]):
                self._adversaries()
            else:
                self._network()
            self._beside()
            self.meta = tf.train.export_meta_graph(saver_def=tf.train.Saver().as_saver_def())
        if self._draw("old names", [False, True]):
            self._rename_seeds()

    def _draw(self, what, choices):
        choice = self._random.choice(choices)
        self.description.append(f"{what}={choice}")
        return choice

    def _modes(self):
        """The modes in which the network is built: one that is fed, or one for each purpose."""
        mode = self._draw("mode", ["placeholder", "default", "variable", "two networks"])
        if mode == "placeholder":
            self._training, self._inference = tf.placeholder(tf.bool, [], "is_training"), None
        elif mode == "default":
            flag = tf.placeholder_with_default(False, [], "is_training")
            self._training, self._inference = flag, None
        elif mode == "variable":
            flag = tf.get_variable("is_training", initializer=False, trainable=False)
            tf.assign(flag, True), tf.assign(flag, False)
            self._training, self._inference = flag, None
        else:
            self._training, self._inference = True, False
        self._in_place = self._draw("in place", [False, True])
        self._fused = self._draw("fused", [None, False])

    def _source(self, name, shape, dtype=tf.float32, source=None):
        """Data: a placeholder, or the outlet of a pipeline."""
        if (source or self._draw(f"{name} from", ["placeholder", "iterator", "queue"])) == (
            "placeholder"
        ):
            return tf.placeholder(dtype, [None, *shape], name)
        value = np.zeros([2, *shape], dtype.as_numpy_dtype)
        if self.description[-1].endswith("queue"):
            return tf.FIFOQueue(8, [dtype], [value.shape]).dequeue()
        dataset = tf.data.Dataset.from_tensors(value).repeat()
        return tf.data.make_one_shot_iterator(dataset).get_next()

    def _layer(self, x, training, scope, update=True):
        in_place = {"updates_collections": None if update else ["not run"]}
        options = in_place if self._in_place or not update else {}
        return batch_norm(
            x,
            scale=True,
            is_training=training,
            fused=self._fused,
            reuse=tf.AUTO_REUSE,
            scope=scope,
            **options,
        )

    def _network(self):
        x = self._source("x", [SIZE, SIZE, 3])
        plan = self._plan()
        y = self._output(self._apply(x, plan, self._training), "train_output")
        loss = self._loss(y)
        if self._inference is None:
            self._predict(y)
        else:
            x_test = tf.placeholder(tf.float32, [None, SIZE, SIZE, 3], "x_test")
            self._predict(self._apply(x_test, plan, self._inference))
        self.train_ops.add(self._minimize(loss, "train"))

    def _plan(self):
        """The network's blocks, so that it can be built twice."""
        blocks = self._random.choices(["convolution", "decoder", "residual", "gate"], k=3)
        plan = [
            (block, self._random.choice([tf.nn.relu, tf.tanh, tf.nn.elu, tf.sigmoid]))
            for block in blocks
        ]
        self.description.append(f"blocks={[(block, act.__name__) for block, act in plan]}")
        return plan

    def _apply(self, x, plan, training, scope="net", update=True):
        with tf.variable_scope(scope, reuse=tf.AUTO_REUSE):
            for number, (block, activation) in enumerate(plan):
                before = x
                if block == "decoder":
                    x = _deconvolution(x[:, ::2, ::2], 4, f"w{number}")
                else:
                    x = _convolution(x, 4, f"w{number}")
                h = activation(self._layer(x, training, f"bn{number}", update))
                if block == "residual" and before.shape[-1] == h.shape[-1]:
                    h += before
                x = h * tf.sigmoid(_convolution(h, 4, f"g{number}")) if block == "gate" else h
            return _convolution(x, 3, "head")

    def _output(self, y, name):
        return tf.reduce_mean(y, [1, 2], name=name)

    def _predict(self, y):
        """Name what inference fetches."""
        if y.shape.rank == 4:
            y = self._output(y, "features")
        form = self._draw("prediction", ["softmax", "sigmoid", "argmax", "none"])
        if form == "none":
            y = tf.identity(y, name="logits") if self._inference is False else y
            self.outputs.add(y.name)
        else:
            predict = {"softmax": tf.nn.softmax, "sigmoid": tf.sigmoid, "argmax": tf.argmax}[form]
            axis = {"axis": 1} if form == "argmax" else {}
            self.outputs.add(predict(y, name="prediction", **axis).name)

    def _loss(self, y):
        label = self._source("label", [3])
        loss = {
            "square": lambda: tf.square(y - label),
            "sigmoid": lambda: tf.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=y),
            "softmax": lambda: tf.nn.softmax_cross_entropy_with_logits_v2(label, y),
            "hinge": lambda: tf.nn.relu(1.0 - y * label),
        }[self._draw("loss", ["square", "sigmoid", "softmax", "hinge"])]()
        loss = tf.reduce_mean(loss)
        if self._draw("weight decay", [False, True]):
            loss += 1e-4 * tf.add_n([tf.nn.l2_loss(v) for v in tf.trainable_variables()])
        if self._draw("metric", [False, True]):
            tf.metrics.mean_squared_error(label, y)
        return loss

    def _minimize(self, loss, name, variables=None, scope=None):
        optimizer = self._draw(
            "optimizer",
            [tf.train.GradientDescentOptimizer(0.1), tf.train.AdamOptimizer()],
        )
        updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS, scope)
        averages = self._draw("averages", [False, True])
        with tf.control_dependencies(updates):
            gradients = optimizer.compute_gradients(loss, variables)
            if self._draw("clip", [False, True]):
                clipped, _ = tf.clip_by_global_norm([g for g, _ in gradients], 1.0)
                gradients = list(zip(clipped, (v for _, v in gradients)))
            step = optimizer.apply_gradients(gradients, name=f"{name}_step" if averages else name)
        if averages:
            average = tf.train.ExponentialMovingAverage(0.9, name=f"{name}_average")
            with tf.control_dependencies([step]):
                applied = average.apply(variables or tf.trainable_variables())
            with tf.control_dependencies([applied]):
                tf.no_op(name=name)
        return name

    def _adversaries(self):
        """A generator with a decoder, and a discriminator on real and generated images."""
        noise = self._source("noise", [SIZE, SIZE, 3])
        photo = self._source("photo", [SIZE, SIZE, 3])
        g_plan, d_plan = self._plan(), self._plan()
        image = tf.tanh(self._apply(noise, g_plan, self._training, "g"), name="image")
        scores = []
        for name, x in (("real", photo), ("fake", image)):
            with tf.name_scope(name):
                score = self._apply(x, d_plan, self._training, "d", update=name == "real")
                scores.append(tf.reduce_mean(score, [1, 2], name="score"))
        self.outputs |= {"real/score:0", "fake/score:0", "image:0"}
        if self._inference is not None:
            for scope, plan, source in (("g", g_plan, "z"), ("d", d_plan, "image_test")):
                x = tf.placeholder(tf.float32, [None, SIZE, SIZE, 3], source)
                y = self._apply(x, plan, False, scope)
                self.outputs = {*self.outputs, tf.tanh(y, name=f"{scope}_test").name}
        self._in_place = True  # no further layer
        d_loss = tf.reduce_mean(tf.nn.softplus(-scores[0]) + tf.nn.softplus(scores[1]))
        g_loss = tf.reduce_mean(tf.nn.softplus(-scores[1]))
        for name, loss, scope in (("d", d_loss, "real"), ("g", g_loss, "g/")):
            variables = tf.trainable_variables(f"{name}/")
            self.train_ops.add(self._minimize(loss, f"train_{name}", variables, scope))

    def _beside(self):
        if self._draw("summaries", [False, True]):
            for variable in tf.trainable_variables():
                tf.summary.histogram(variable.op.name, variable)
            tf.summary.merge_all()

    def _rename_seeds(self):
        """Name the seeds of gradients as TensorFlow did before 1.5."""
        for node in self.meta.graph_def.node:
            node.name = node.name.replace("grad_ys_", "Const_")
            inputs = [name.replace("grad_ys_", "Const_") for name in node.input]
            del node.input[:]
            node.input.extend(inputs)


def _convolution(x, channels, name):
    weights = tf.get_variable(name, [3, 3, int(x.shape[-1]), channels])
    return tf.nn.conv2d(x, weights, 1, "SAME")


def _deconvolution(x, channels, name):
    weights = tf.get_variable(name, [3, 3, channels, int(x.shape[-1])])
    return tf.nn.conv2d_transpose(x, weights, [tf.shape(x)[0], SIZE, SIZE, channels], 2)
