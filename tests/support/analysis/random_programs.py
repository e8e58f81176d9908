"""Random graph-mode programs: a recipe drawn by hypothesis, and the graph built from it.

A recipe is nested tuples, so that a failing one prints as what it is. Every program has the same
few running statistics, recognised by their names, and each write moves its statistic by an amount
that no other undoes, so that after a step it can be seen which writes have run.
"""

from __future__ import annotations

from hypothesis import strategies as st
import numpy as np
import tensorflow.compat.v1 as tf

from bnguard import batch_norm
from support.graphs import build_with

STATISTICS = ("a", "b", "c")
LAYER = "layer"
WIDTH = 2

# What is fed, and whether the audit gets its value.
_FED = {
    "known_true": (True, True),
    "known_false": (False, True),
    "unknown_true": (True, False),
    "unknown_false": (False, False),
}
_INTEGER = 2
_BATCH = np.random.RandomState(0).normal(3.0, 2.0, [4, WIDTH]).astype(np.float32)


def predicates():
    leaves = st.one_of(
        st.tuples(st.sampled_from(["constant", "default"]), st.booleans()),
        st.tuples(st.just("fed"), st.sampled_from(sorted(_FED))),
        st.tuples(st.just("integer_is"), st.integers(1, 3)),
        st.tuples(st.just("variable"), st.booleans()),
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.tuples(st.just("not"), inner),
            st.tuples(st.sampled_from(["and", "or"]), inner, inner),
            st.tuples(st.just("if"), inner, inner, inner),
        ),
        max_leaves=3,
    )


def statements(functions):
    statistic = st.sampled_from(STATISTICS)
    simple = st.one_of(
        st.tuples(st.sampled_from(["write", "idle", "read", "collect", "aside"]), statistic),
        st.tuples(st.just("layer"), st.booleans() | predicates(), st.booleans()),
        st.tuples(st.sampled_from(["barrier", "cut", "deconvolve"])),
    )

    def compound(inner):
        block = st.lists(inner, min_size=1, max_size=3)
        choices = [
            st.tuples(st.sampled_from(["cond", "two_branch"]), predicates(), block, block),
            st.tuples(st.just("while"), st.integers(0, 2) | st.just("secret"), block),
        ]
        if functions:
            choices.append(st.tuples(st.just("call"), block))
            index = st.integers(-1, 3) | st.just("secret")
            choices.append(st.tuples(st.just("case"), index, block, block))
        return st.one_of(choices)

    return st.recursive(simple, compound, max_leaves=8)


@st.composite
def recipes(draw):
    """A whole program: how TensorFlow is set up, and its statements."""
    variables, control_flow = draw(
        st.sampled_from([("ref", "v1"), ("resource", "v1"), ("resource", "v2")])
    )
    body = draw(st.lists(statements(functions=variables == "resource"), min_size=1, max_size=5))
    return {"variables": variables, "control_flow": control_flow, "body": body}


class Program:
    """The graph of a recipe.

    Attributes:
      graph, fetch: what to run.
      statistics: the variables, by name.
      fed: what a step feeds.
      known_feeds: the same, but None for what the audit does not get.
      is_decided: whether the audit gets enough to know which branches are taken.
      is_decided_as_run: the same for who knows every value that is fed.
    """

    def __init__(self, recipe):
        self.graph = tf.Graph()
        self.fed, self.known_feeds = {}, {}
        self.is_decided = self.is_decided_as_run = True
        self._depth = 0
        kinds = recipe["variables"], recipe["control_flow"]
        with build_with(*kinds), self.graph.as_default():
            self._create_variables()
            self._create_inputs()
            self.fetch = tf.identity(self._block(recipe["body"], self._x), name="fetch")

    def changed_by_a_session(self):
        """The names of the statistics that change when a real Session runs the fetch."""
        with tf.Session(graph=self.graph) as session:
            session.run(self._initializer)
            before = session.run(self.statistics)
            session.run(self.fetch, self.fed)
            after = session.run(self.statistics)
        return {name for name in before if not np.array_equal(before[name], after[name])}

    def _create_variables(self):
        names = [f"{scope}/moving_mean" for scope in (*STATISTICS, LAYER)]
        self.statistics = {
            name: tf.get_variable(name, initializer=tf.fill([WIDTH], 7.25), trainable=False)
            for name in [*names, f"{LAYER}/moving_variance"]
        }
        # Not where the statistics start, or a layer after a layer would find nothing to move.
        for name, value in (("beta", 1.5), ("gamma", 0.75)):
            tf.get_variable(f"{LAYER}/{name}", initializer=tf.fill([WIDTH], value))

    def _create_inputs(self):
        self._x = tf.placeholder(tf.float32, [None, WIDTH], name="x")
        self._feed(self._x, _BATCH, None)
        self._predicates = {}
        for name, (value, is_known) in _FED.items():
            self._predicates[name] = tf.placeholder(tf.bool, [], name=name)
            self._feed(self._predicates[name], value, value if is_known else None)
        self._defaults = {
            value: tf.placeholder_with_default(value, [], name=f"default_{value}")
            for value in (True, False)
        }
        self._variables = {
            value: tf.get_variable(f"variable_{value}", initializer=value, trainable=False)
            for value in (True, False)
        }
        self._initializer = tf.global_variables_initializer()
        self._integer = tf.placeholder(tf.int32, [], name="integer")
        self._feed(self._integer, _INTEGER, _INTEGER)
        self._secret = tf.placeholder(tf.int32, [], name="secret")
        self._feed(self._secret, 1, None)

    def _feed(self, tensor, value, known_value):
        self.fed[tensor] = value
        self.known_feeds[tensor.name] = known_value

    def _block(self, body, h):
        collected = []
        for name, *arguments in body:
            h = getattr(self, f"_{name}")(h, collected, *arguments)
        return h

    def _inner(self, body):
        """A block for the inside of a branch, a loop or a function."""

        def build(h):
            self._depth += 1
            try:
                return tf.identity(self._block(body, h))
            finally:
                self._depth -= 1

        return build

    # Statements. Each takes the tensor so far, and what the block has collected.

    def _write(self, h, collected, statistic):
        return _after([self._increment(statistic, 1.0)], h)

    def _idle(self, h, collected, statistic):
        return _after([self._increment(statistic, 0.0)], h)

    def _aside(self, h, collected, statistic):
        self._increment(statistic, 1.0)
        return h

    def _collect(self, h, collected, statistic):
        collected.append(self._increment(statistic, 1.0))
        return h

    def _barrier(self, h, collected):
        return _after(collected, h)

    def _read(self, h, collected, statistic):
        return h + self.statistics[f"{statistic}/moving_mean"]

    def _cut(self, h, collected):
        if self._depth or h in self.fed:
            return h
        h = tf.identity(h)
        self._feed(h, _BATCH, None)
        return h

    def _deconvolve(self, h, collected):
        """An op of the forward pass that has the type of a gradient."""
        images = tf.reshape(h, [-1, 1, 1, WIDTH])
        weights = tf.reshape(tf.eye(WIDTH), [1, 1, WIDTH, WIDTH])
        images = tf.nn.conv2d_transpose(images, weights, tf.shape(images), 1)
        return tf.reshape(images, [-1, WIDTH])

    def _layer(self, h, collected, training, in_place):
        training = training if isinstance(training, bool) else self._predicate(training)
        before = len(tf.get_collection("updates"))
        h = batch_norm(
            h,
            decay=0.5,
            scale=True,
            is_training=training,
            updates_collections=None if in_place else "updates",
            reuse=True,
            fused=False,
            scope=LAYER,
        )
        collected += tf.get_collection("updates")[before:]
        return h

    def _cond(self, h, collected, predicate, then, otherwise):
        then, otherwise = self._inner(then), self._inner(otherwise)
        return tf.cond(self._predicate(predicate), lambda: then(h), lambda: otherwise(h))

    def _two_branch(self, h, collected, predicate, then, otherwise):
        then, otherwise = self._block(then, h), self._block(otherwise, h)
        return tf.cond(self._predicate(predicate), lambda: then, lambda: otherwise)

    def _case(self, h, collected, index, *branches):
        branches = [self._inner(branch) for branch in branches]
        functions = [lambda branch=branch: branch(h) for branch in branches]
        return tf.switch_case(self._number(index), functions)

    def _while(self, h, collected, times, body):
        times, body = self._number(times), self._inner(body)
        _, h = tf.while_loop(
            lambda step, _: step < times,
            lambda step, h: (step + 1, body(h)),
            (tf.constant(0), h),
            shape_invariants=(tf.TensorShape([]), tf.TensorShape([None, WIDTH])),
        )
        return h

    def _call(self, h, collected, body):
        return tf.function(self._inner(body), autograph=False)(h)

    # What statements are made of.

    def _increment(self, statistic, amount):
        variable = self.statistics[f"{statistic}/moving_mean"]
        updated = variable.assign_add(tf.fill([WIDTH], amount))
        return updated if isinstance(updated, tf.Operation) else updated.op

    def _number(self, number):
        if number == "secret":
            self.is_decided = False
            return self._secret
        return tf.constant(number)

    def _predicate(self, predicate):
        form, *arguments = predicate
        if form == "constant":
            # The optimizer may cut the dead branch off, or not.
            self.is_decided = self.is_decided_as_run = False
            return tf.constant(arguments[0])
        if form == "variable":
            # If the audit takes it for no training flag.
            self.is_decided = self.is_decided_as_run = False
            return self._variables[arguments[0]]
        if form == "default":
            return self._defaults[arguments[0]]
        if form == "fed":
            self.is_decided = self.is_decided and _FED[arguments[0]][1]
            return self._predicates[arguments[0]]
        if form == "integer_is":
            return tf.equal(self._integer, arguments[0])
        if form == "not" and arguments[0][0] == "not":
            # Grappler moves what depends on it out of a loop; see tests/analysis/test_grappler.py.
            return self._predicate(arguments[0][1])
        inner = [self._predicate(argument) for argument in arguments]
        if form == "if":
            return tf.cond(inner[0], lambda: inner[1], lambda: inner[2])
        return {"not": tf.logical_not, "and": tf.logical_and, "or": tf.logical_or}[form](*inner)


def _after(operations, h):
    with tf.control_dependencies(operations):
        return tf.identity(h)
