"""Each rule on a graph with the defect and on its healthy twin, however TensorFlow is set up."""

import os
import re

from conftest import COMBINATIONS
import pytest
from support.analysis.networks import (
    PAIRS,
    chooses_moments,
    dense,
    flag,
    fresh_graph,
    inputs,
    layer,
    loss_of,
    optimizer,
)
from support.paths import ROOT
from support.samples import combinations
import tensorflow.compat.v1 as tf

import bnguard
from bnguard.analysis.errors import AuditError
from bnguard.analysis.findings import defects
from bnguard.analysis.rules import RULES, SECTIONS, choose, page

pytestmark = pytest.mark.slow

PAGES = os.path.join(ROOT, "docs", "rules")
BROKEN, HEALTHY = 1, 2

# A ref variable cannot be written in a branch of control flow v2, nor a tensor inside one be
# waited for outside: with these builds TensorFlow itself keeps the defect from happening.
REFUSED = {
    ("dead_in_a_branch", BROKEN, "ref", "v2"),
    ("dead_in_a_branch", BROKEN, "resource", "v2"),
    ("dead_in_a_loop", BROKEN, "ref", "v2"),
    ("dead_in_a_loop", HEALTHY, "ref", "v2"),
    ("dead_in_a_loop", BROKEN, "resource", "v2"),
}


def audit(build, variables="ref", control_flow="v1", **options):
    with fresh_graph(variables, control_flow) as graph:
        options = {"graph_or_path": graph, **(build() or {}), **options}
    return bnguard.audit(**options)


@pytest.mark.parametrize(
    ("name", "variables", "control_flow"),
    [(name, *build) for name, build in combinations(PAIRS, COMBINATIONS)],
)
class TestPairs:
    def test_the_defect_is_found(self, name, variables, control_flow):
        report = self.report(name, BROKEN, variables, control_flow)
        if report is not None:
            assert {finding.rule for finding in defects(report.findings)} == PAIRS[name][0]
            assert all(finding.certain for finding in report.findings)

    def test_nothing_is_found_in_the_healthy_twin(self, name, variables, control_flow):
        report = self.report(name, HEALTHY, variables, control_flow)
        if report is not None:
            assert report.findings == ()

    def report(self, name, side, *combination):
        if (name, side, *combination) in REFUSED:
            with pytest.raises((TypeError, ValueError)):
                audit(PAIRS[name][side], *combination)
            return None
        return audit(PAIRS[name][side], *combination)


class TestFindings:
    def test_a_write_at_inference_names_the_statistic_the_op_and_the_fetch(self):
        with fresh_graph() as graph:
            PAIRS["two_branch"][BROKEN]()
        first, second = bnguard.audit(graph, select=["BN101"]).findings
        assert (first.variable, second.variable) == ("bn/moving_mean", "bn/moving_variance")
        assert first.layer == "bn"
        assert first.fetch == "output:0"
        assert graph.get_operation_by_name(first.op).type == "AssignSub"
        assert "bn/moving_mean is written by AssignSub when output:0 is fetched" in first.message
        assert first.message.endswith(first.remedy)

    @pytest.mark.parametrize("rule", ["BN101", "BN102"])
    def test_a_path_consists_of_edges_of_the_graph(self, rule):
        with fresh_graph() as graph:
            PAIRS["two_branch"][BROKEN]()
        for finding in bnguard.audit(graph, select=[rule]).findings:
            path = [graph.get_operation_by_name(op.name) for op in finding.path]
            assert [op.type for op in path] == [op.type for op in finding.path]
            assert path[0].name == "output"
            for consumer, producer in zip(path, path[1:]):
                behind = {tensor.op for tensor in consumer.inputs} | set(consumer.control_inputs)
                assert producer in behind
        assert path[-1].type == "FusedBatchNormV3" or path[-1].name == finding.op

    def test_a_healthy_layer_is_written_if_the_flag_is_true(self):
        with fresh_graph() as graph:
            PAIRS["two_branch"][HEALTHY]()
        report = bnguard.audit(graph, "output", {"is_training": True}, select=["BN101"])
        assert [finding.certain for finding in report.findings] == [True, True]

    def test_a_write_is_not_certain_if_the_flag_is_unknown(self):
        with fresh_graph() as graph:
            PAIRS["two_branch"][HEALTHY]()
        report = bnguard.audit(graph, "output", {"is_training": None}, select=["BN101"])
        assert [finding.certain for finding in report.findings] == [False, False]
        assert "may be written" in report.findings[0].problem

    @pytest.mark.sampled
    @pytest.mark.parametrize("combination", [("ref", "v1"), ("resource", "v1"), ("resource", "v2")])
    @pytest.mark.parametrize("in_a_loop", [False, True])
    def test_the_two_sides_of_a_branch_need_no_order(self, in_a_loop, combination):
        """Unless it is in a loop: one iteration may read what another writes."""

        def normalize(x, training):
            return tf.cond(
                training,
                lambda: layer(x, True, updates_collections=None, reuse=True),
                lambda: layer(x, False, reuse=True),
            )

        with fresh_graph(*combination) as graph:
            x, mode = inputs(), tf.placeholder(tf.int32, [], name="mode")
            layer(x, False)
            if in_a_loop:
                y = tf.while_loop(
                    lambda step, _: step < 3,
                    lambda step, h: (step + 1, normalize(h, tf.equal(step, mode))),
                    (tf.constant(0), x),
                    shape_invariants=(tf.TensorShape([]), x.shape),
                )[1]
            else:
                y = normalize(x, tf.equal(mode, 1))
            tf.identity(y, name="output")
        found = {
            (finding.rule, finding.certain) for finding in bnguard.audit(graph, "output").findings
        }
        expected = {("BN101", False), ("BN103", False)}
        assert found == expected | ({("BN102", False)} if in_a_loop else set())

    @pytest.mark.sampled
    @pytest.mark.parametrize("combination", [("ref", "v1"), ("resource", "v1"), ("resource", "v2")])
    @pytest.mark.parametrize(
        ("is_training", "swapped", "certain"),
        [(False, False, [False] * 2), (False, True, [True] * 2), (True, False, [True] * 2)],
        ids=["inference", "inference, swapped", "training"],
    )
    def test_assigning_the_moments_that_a_fused_op_passes_on_is_not_certain(
        self, combination, is_training, swapped, certain
    ):
        """Keras assigns that to the statistics, where training is a tensor."""
        with fresh_graph(*combination) as graph:
            x, gamma, beta = tf.reshape(inputs(), [-1, 1, 1, 4]), tf.ones([4]), tf.zeros([4])
            names = "bn/moving_mean", "bn/moving_variance"
            statistics = [tf.get_variable(name, [4], trainable=False) for name in names]

            def train():
                y, *moments = tf.nn.fused_batch_norm(x, gamma, beta)
                return (y, *(0.9 * old + 0.1 * new for old, new in zip(statistics, moments)))

            def infer():
                mean, variance = statistics
                return tf.raw_ops.FusedBatchNormV3(
                    x=x,
                    scale=gamma,
                    offset=beta,
                    mean=mean,
                    variance=variance,
                    is_training=is_training,
                )[:3]

            y, *values = tf.cond(tf.placeholder(tf.bool, [], name="is_training"), train, infer)
            assigned = zip(statistics, values[::-1] if swapped else values)
            with tf.control_dependencies([tf.assign(*pair) for pair in assigned]):
                tf.identity(y, name="output")
        report = bnguard.audit(graph, "output", {"is_training": False}, select=["BN101"])
        assert [finding.certain for finding in report.findings] == certain

    def test_updates_that_never_run_are_counted(self):
        (first, _) = audit(PAIRS["never_run"][BROKEN]).findings
        assert first.problem == (
            "is never updated: Momentum runs none of the 2 update ops (all are in UPDATE_OPS)"
        )

    def test_a_layer_is_not_frozen_if_the_step_applies_no_gradient(self):
        with fresh_graph() as graph:
            PAIRS["accumulates_gradients"][BROKEN]()
        report = bnguard.audit(graph, train_op="accumulate", select=["BN201"])
        assert len(report.findings) == 2

    def test_updates_inside_a_function_are_counted(self):
        def build():
            x, training = dense(inputs()), flag()
            mean = tf.get_variable("bn/moving_mean", [4], trainable=False)
            moments = tf.nn.moments(x, [0])
            y = tf.nn.batch_normalization(x, *moments, tf.get_variable("beta", [4]), None, 1e-3)

            def update():
                with tf.control_dependencies([mean.assign_sub(0.1 * (mean - moments[0]))]):
                    return tf.cond(training, lambda: 1.0, lambda: 2.0)

            ran = tf.cond(training, update, lambda: 3.0)
            tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, tf.identity(ran))
            optimizer().minimize(loss_of(y))

        (finding,) = audit(build, "resource", "v2", select=["BN201"]).findings
        assert finding.problem.endswith("does not run its update op (it is in UPDATE_OPS)")

    def test_naming_the_updates_beside_the_train_op_is_enough(self):
        with fresh_graph() as graph:
            PAIRS["never_run"][BROKEN]()
            train_op = ["Momentum", *tf.get_collection(tf.GraphKeys.UPDATE_OPS)]
        assert bnguard.audit(graph, train_op=train_op).findings == ()

    def test_a_trainable_statistic_without_a_gradient_is_a_warning(self):
        def build():
            tf.get_variable("bn/moving_mean", [4])

        (finding,) = audit(build).findings
        assert (finding.rule, finding.severity) == ("BN205", "warning")
        assert "TRAINABLE_VARIABLES" in finding.problem

    def test_a_statistic_that_is_not_saved_comes_with_the_number_that_are(self):
        (first, _) = audit(PAIRS["not_saved"][BROKEN]).findings
        assert "left out by the Saver, which saves 3 variables" in first.problem

    @pytest.mark.parametrize("momentum", [0.9, 1.0])
    def test_a_decay_of_one_moves_nothing(self, momentum):
        def build():
            y = layer(inputs(), True, decay=momentum, updates_collections=None, fused=False)
            tf.nn.relu(y, name="output")

        report = audit(build, select=["BN101"])
        assert len(report.findings) == (0 if momentum == 1.0 else 2)


class TestWhere:
    """tf.where computes both sides and takes one: only a known predicate says which."""

    @pytest.mark.sampled
    @pytest.mark.parametrize(("value", "certain"), [(True, [True]), (False, []), (None, [False])])
    @pytest.mark.parametrize("where", [tf.where, tf.where_v2])
    def test_only_the_side_that_it_takes_normalizes(self, where, value, certain):
        def build():
            x, training = dense(inputs()), flag()
            sides = layer(x, True), layer(x, False, reuse=True)
            taken = where(tf.broadcast_to(training, tf.shape(x)), *sides)
            tf.nn.relu(taken, name="output")

        report = audit(build, fetches="output", feeds={"is_training": value}, select=["BN103"])
        assert [finding.certain for finding in report.findings] == certain

    def test_a_layer_that_runs_is_not_certain_to_be_used_by_an_undecided_branch(self):
        def build():
            x = dense(inputs())
            sides = layer(x, True), layer(x, False, reuse=True)
            tf.identity(
                tf.cond(flag(), *(lambda side=layer_of_side: side for layer_of_side in sides)),
                name="output",
            )

        report = audit(build, fetches="output", feeds={"is_training": None}, select=["BN103"])
        assert [finding.certain for finding in report.findings] == [False]


def test_a_train_op_in_a_branch_may_follow_updates_in_place():
    """It is dead where the updates are, but not by their doing: it waits for the layer's Merge."""

    def build():
        training = flag()
        loss = loss_of(layer(dense(inputs()), training, updates_collections=None))
        _, in_the_branch = tf.raw_ops.Switch(data=loss, pred=training)
        tf.identity(in_the_branch, name="step")

    assert audit(build, train_op="step", select=["BN203"]).findings == ()


@pytest.mark.parametrize("scale", [False, True])
def test_statistics_that_the_program_feeds_are_those_of_a_filter_not_of_a_layer(scale):
    """Without gamma and beta; a layer with these may have got its weights so, as from Keras."""

    def build():
        mean = tf.get_variable("mean", [4], initializer=tf.zeros_initializer(), trainable=False)
        variance = tf.get_variable("var", [4], initializer=tf.ones_initializer(), trainable=False)
        gamma = tf.get_variable("gamma", [4]) if scale else None
        y = tf.nn.batch_normalization(inputs(), mean, variance, None, gamma, 1e-3)
        for statistic in (mean, variance):
            tf.assign(statistic, tf.placeholder(tf.float32, [4]))
        optimizer().minimize(loss_of(dense(y)))

    findings = audit(build, select=["BN202"]).findings
    assert [finding.variable for finding in findings] == (["mean", "var"] if scale else [])


class TestMetrics:
    """What an evaluation fetches: the update ops of metrics, or a group of them."""

    @pytest.mark.sampled
    @pytest.mark.parametrize(("variables", "control_flow"), COMBINATIONS)
    @pytest.mark.parametrize("is_training", [True, False])
    def test_the_layers_before_a_metric_are_judged(self, is_training, variables, control_flow):
        with fresh_graph(variables, control_flow) as graph:
            _, update = tf.metrics.mean(loss_of(layer(inputs(), is_training)))
            evaluation = tf.group(update)
        for fetch in (update, evaluation):
            report = bnguard.audit(graph, fetches=[fetch], feeds={"x:0": None, "label:0": None})
            rules = {finding.rule for finding in defects(report.findings)}
            assert rules == ({"BN103"} if is_training else set())

    @pytest.mark.parametrize(("variables", "control_flow"), COMBINATIONS)
    def test_update_ops_alone_use_no_moment(self, variables, control_flow):
        with fresh_graph(variables, control_flow) as graph:
            layer(inputs(), True)
            updates = tf.group(tf.get_collection(tf.GraphKeys.UPDATE_OPS))
        assert "BN103" not in str(bnguard.audit(graph, fetches=[updates], feeds={"x:0": None}))


def dataset_iterator(value):
    return tf.data.make_initializable_iterator(tf.data.Dataset.from_tensors(value)).initializer


def summary_writer(value):
    writer = tf.raw_ops.SummaryWriter()
    return tf.raw_ops.WriteSummary(
        writer=writer, step=tf.constant(0, tf.int64), tensor=value, tag="t", summary_metadata=b""
    )


def table(value):
    handle = tf.raw_ops.MutableHashTableV2(key_dtype=tf.int64, value_dtype=tf.float32)
    keys, values = tf.constant([0], tf.int64), tf.reshape(value, [1])
    return tf.raw_ops.LookupTableInsertV2(table_handle=handle, keys=keys, values=values)


def branch(value):
    return tf.cond(value < 1, lambda: tf.group(tf.print(value)), lambda: tf.group(tf.no_op()))


# Where a value can go without any data edge from there to what the step fetches.
OUTLETS = {
    "a variable": lambda value: tf.assign(number("kept"), value),
    "a variable with what it had": lambda value: tf.assign_add(number("kept"), value),
    "a metric": lambda value: tf.metrics.mean(value)[1],
    "a queue": lambda value: tf.queue.FIFOQueue(9, [tf.float32], [()]).enqueue(value),
    "a staging area": lambda value: tf.raw_ops.Stage(values=[value]),
    "a table": table,
    "a dataset's iterator": dataset_iterator,
    "a writer of summaries": summary_writer,
    "a file": lambda value: tf.io.write_file("file", tf.strings.as_string(value)),
    "the terminal": tf.print,
    "the terminal, in a branch": branch,
    "the terminal, as it was before": lambda value: tf.Print(0, [value]),
    "Python, without an output": lambda value: tf.py_func(print, [value], []),
    "Python, with an output": lambda value: tf.numpy_function(abs, [value], tf.float32),
    "an assertion": lambda value: tf.debugging.assert_less(value, 9.0),
    "a check": lambda value: tf.debugging.check_numerics(value, "loss"),
}
NO_OUTLETS = {
    "nothing": lambda value: value,
    "nothing but arithmetic": lambda value: value + 1,
    "the shape alone": lambda value: tf.print(tf.raw_ops.Shape(input=value)),
}
MAY = {"the terminal, in a branch", "an assertion"}


def number(name):
    return tf.get_variable(name, [], initializer=tf.zeros_initializer(), trainable=False)


class TestSideEffects:
    """A step gives a value to something besides what it fetches, by a control edge alone."""

    def judged(self, give, is_training, *combination):
        with fresh_graph(*combination) as graph:
            value = loss_of(layer(inputs(), is_training))
            with tf.control_dependencies([give(value)]):
                fetched = tf.ones([], name="fetched")
            return bnguard.audit(graph, fetches=[fetched], feeds={"x:0": None, "label:0": None})

    @pytest.mark.parametrize("control_flow", ["v1", "v2"])
    @pytest.mark.parametrize("outlet", OUTLETS)
    def test_the_layers_before_them_are_judged(self, outlet, control_flow):
        combination = ("resource", control_flow)
        report = self.judged(OUTLETS[outlet], True, *combination)
        (found,) = (finding for finding in report.findings if finding.rule == "BN103")
        assert found.path[0].name == "fetched"
        assert found.certain == (outlet not in MAY)
        report = self.judged(OUTLETS[outlet], False, *combination)
        assert "BN103" not in {finding.rule for finding in report.findings}

    def test_ref_variables_are_written_in_the_same_way(self):
        for outlet in ("a variable", "a variable with what it had", "a metric"):
            report = self.judged(OUTLETS[outlet], True, "ref", "v1")
            assert "BN103" in {finding.rule for finding in report.findings}

    @pytest.mark.parametrize("name", NO_OUTLETS)
    def test_a_value_that_goes_nowhere_is_no_use_of_moments(self, name):
        report = self.judged(NO_OUTLETS[name], True, "resource", "v2")
        assert "BN103" not in {finding.rule for finding in report.findings}

    @pytest.mark.parametrize("option", ["scale", "zero_debias_moving_mean", "renorm"])
    def test_an_average_of_moments_is_no_use_of_them(self, option):
        """The moments of the second layer are computed from what the first one normalized."""
        with fresh_graph() as graph:
            hidden = layer(inputs(), True, scope="first", **{option: True})
            layer(hidden, True, scope="second", **{option: True})
            with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
                fetched = tf.ones([], name="fetched")
            report = bnguard.audit(graph, fetches=[fetched], feeds={"x:0": None})
        assert {finding.rule for finding in report.findings} == {"BN101"}


class TestWhatIsNotABatchNormalization:
    """Other normalizations use the moments of what they are given, and that is how it is."""

    @pytest.mark.parametrize("axes", [[1], [1, 2], [1, 2, 3]])
    def test_layer_and_instance_normalization_are_not_judged(self, axes):
        def build():
            x = tf.placeholder(tf.float32, [None, 8, 8, 4])
            mean, variance = tf.nn.moments(x, axes, keep_dims=True)
            gamma = tf.get_variable("gamma", [4])
            tf.nn.batch_normalization(x, mean, variance, None, gamma, 1e-3)

        assert audit(build).findings == ()

    def test_an_average_of_the_weights_is_no_statistic(self):
        def build():
            y = layer(dense(inputs()), flag(), updates_collections=None)
            step = optimizer().minimize(loss_of(y))
            with tf.control_dependencies([step]):
                tf.train.ExponentialMovingAverage(0.9).apply(tf.trainable_variables())

        report = audit(build)
        assert report.statistics == ("bn/moving_mean", "bn/moving_variance")
        assert report.findings == ()


@pytest.mark.parametrize("variables", ["ref", "resource"])
class TestChosenMoments:
    def test_a_dead_branch_that_waits_for_the_updates_orders_nothing(self, variables):
        """The Merge takes the averages as soon as they are there, and does not wait."""
        report = audit(chooses_moments(updates_in_the_branch=False), variables)
        assert {finding.rule for finding in report.findings} == {"BN101", "BN102"}
        assert all(finding.certain for finding in report.findings)
        assert report.assumed.flags == ("is_training:0=False",)

    def test_nothing_is_found_with_the_updates_in_the_branch(self, variables):
        report = audit(chooses_moments(updates_in_the_branch=True), variables)
        assert report.findings == ()
        assert len(report.statistics) == 2


class TestWhatIsAStatistic:
    """No variable but the two of a layer, whatever else moves along with them."""

    STATISTICS = ("bn/moving_mean", "bn/moving_variance")

    @pytest.mark.parametrize("variables", ["ref", "resource"])
    def test_the_bias_correction_of_an_average_is_no_statistic(self, variables):
        def build():
            x = dense(inputs())
            moments = tf.nn.moments(x, [0])
            tf.nn.batch_normalization(x, *moments, None, None, 1e-3)
            mean, biased = (
                tf.get_variable(name, initializer=tf.zeros([4]), trainable=False)
                for name in ("mean", "biased")
            )
            steps = tf.get_variable("steps", initializer=0.0, trainable=False)
            averaged = tf.assign_sub(biased, (biased - moments[0]) * 0.1)
            tf.assign(mean, averaged / (1.0 - tf.pow(0.9, tf.assign_add(steps, 1.0))))

        assert audit(build, variables).statistics == ("mean",)

    @pytest.mark.parametrize("variables", ["ref", "resource"])
    def test_a_variable_that_gradients_move_is_no_statistic(self, variables):
        """The gradients of gamma and beta are computed from the moments."""

        def build():
            x = layer(dense(inputs()), False)
            gamma, beta = (tf.get_variable(name, [4]) for name in ("gamma", "beta"))
            y = tf.nn.batch_normalization(x, *tf.nn.moments(x, [0]), beta, gamma, 1e-3)
            for parameter, gradient in zip((gamma, beta), tf.gradients(loss_of(y), [gamma, beta])):
                momentum = tf.get_variable(f"{parameter.op.name}_momentum", [4], trainable=False)
                step = tf.assign(momentum, momentum * 0.9 + gradient * 0.1)
                tf.assign_sub(parameter, step * 0.1)

        assert audit(build, variables).statistics == self.STATISTICS

    @pytest.mark.parametrize("scale", [False, True])
    def test_the_correction_of_batch_renormalization_is_no_statistic(self, scale):
        """The correction stands between the inverse deviation and what it normalizes."""

        def renormalizes(waits_for_updates):
            def build():
                training = True if waits_for_updates else flag()
                y = layer(dense(inputs()), training, scale=scale, renorm=True, fused=False)
                updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS) if waits_for_updates else []
                with tf.control_dependencies(updates):
                    tf.nn.relu(y, name="output")

            return build

        report = audit(renormalizes(waits_for_updates=False))
        assert (report.statistics, report.findings) == (self.STATISTICS, ())
        report = audit(renormalizes(waits_for_updates=True))
        assert report.statistics == self.STATISTICS
        assert {finding.rule for finding in report.findings} >= {"BN101", "BN103"}

    def test_a_handle_that_nothing_uses_is_no_statistic(self):
        def build():
            layer(dense(inputs()), False)
            handle = tf.raw_ops.VarHandleOp(
                dtype=tf.float32, shape=[4], shared_name="bn_1/moving_mean", name="bn_1/moving_mean"
            )
            tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32)

        assert audit(build).statistics == self.STATISTICS


class TestSavedModelsOfTensorFlow2:
    def test_the_saver_is_not_judged_if_objects_are_restored_too(self):
        """Keras 3 makes the Saver save other handles than those that its functions read."""
        with fresh_graph():
            PAIRS["not_saved"][BROKEN]()
            meta = tf.train.export_meta_graph()
        assert {finding.rule for finding in bnguard.audit(meta).findings} == {"BN301"}
        meta.object_graph_def.nodes.add()
        assert bnguard.audit(meta).findings == ()


class TestDocumentation:
    @pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
    def test_every_section_is_present_in_order_and_not_empty(self, rule):
        sections = re.split(r"^## (.*)$", rule.documentation, flags=re.MULTILINE)
        assert sections[0] == ""
        assert tuple(sections[1::2]) == SECTIONS
        assert all(len(text.split()) > 3 or "http" in text for text in sections[2::2])

    @pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
    def test_the_page_is_not_stale(self, rule):
        with open(os.path.join(PAGES, f"{rule.code}.md"), encoding="utf-8") as file:
            assert file.read() == page(rule), "run: python -m bnguard.analysis.rules docs/rules"

    def test_the_table_on_the_page_of_all_rules_lists_every_rule(self):
        with open(os.path.join(PAGES, "README.md"), encoding="utf-8") as file:
            rows = re.findall(r"^\| \[(BN\d+)\]\((BN\d+)\.md\) \| (\S+) \|", file.read(), re.M)
        assert rows == [(rule.code, rule.code, rule.name) for rule in RULES]

    def test_there_is_a_page_for_each_rule_and_no_other(self):
        pages = sorted(name for name in os.listdir(PAGES) if name != "README.md")
        assert pages == [f"{rule.code}.md" for rule in RULES]

    def test_codes_are_sorted_and_each_has_a_network(self):
        assert [rule.code for rule in RULES] == sorted({rule.code for rule in RULES})
        assert RULES[0].name == "statistics-written-at-inference"
        assert {rule.code for rule in RULES} == {
            code for pair in PAIRS.values() for code in pair[0]
        }


class TestChoice:
    def test_rules_are_chosen_by_the_start_of_their_codes(self):
        assert [rule.code for rule in choose(["BN3"])] == ["BN301", "BN302", "BN303", "BN304"]
        assert [rule.code for rule in choose(["BN3"], ["BN301"])] == ["BN302", "BN303", "BN304"]
        assert choose() == list(RULES)

    def test_codes_match_in_any_case(self):
        assert choose(["bn3"], ["bn302"]) == choose(["BN301", "BN303", "BN304"])

    @pytest.mark.parametrize("code", ["BN9", "", "statistics"])
    def test_an_unknown_code_is_refused(self, code):
        with pytest.raises(AuditError, match=f"no rule's code begins with '{code}'"):
            choose([code])


@pytest.mark.parametrize("collection", [tf.GraphKeys.UPDATE_OPS, "of_keras"])
def test_foreign_updates_in_no_collection_may_be_those_of_keras(collection):
    """A Keras model has the updates of each call; those for other inputs are not wanted."""
    with fresh_graph() as graph:
        losses = []
        for name in ("x", "other"):
            with tf.variable_scope("net", reuse=tf.AUTO_REUSE):
                y = layer(dense(inputs(name)), True, updates_collections=collection)
            losses.append(loss_of(y, f"{name}_label"))
        with tf.control_dependencies(tf.get_collection(collection)):
            optimizer().minimize(losses[0])
        if collection == "of_keras":
            del graph.get_collection_ref(collection)[:]
    remedies = {f.remedy for f in bnguard.audit(graph, select=["BN204"]).findings}
    (remedy,) = remedies
    assert ("model.get_updates_for(inputs)" in remedy) is (collection == "of_keras")
