"""Break the layers on purpose, and see the tests fail.

    python tools/mutants.py [WORD ...]

Each mutant ignores one argument, changes one default, or undoes one safeguard; signatures
stay as they are, so it is behaviour that must give it away. For each, the tests of its function
are run, and the number that fail is printed with the first one's name. The exit status is 1 if
a mutant passes them all. WORDs select mutants by a part of their names.
"""

import contextlib
import functools
import inspect
import io
import itertools
import os
import sys
from unittest import mock

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LAYER_TESTS = ["tests/layers/test_contrib.py", "tests/layers/test_forward.py"]
INPUT_TESTS = ["tests/layers/test_input.py"]
TF_LAYERS_TESTS = ["tests/layers/test_tf_layers.py"]
TRAINING_TESTS = ["tests/layers/training"]
FUNCTIONS = {
    "batch_norm": LAYER_TESTS,
    "batch_normalization": TF_LAYERS_TESTS,
    "create_train_op": TRAINING_TESTS,
}
OTHER_DEFAULTS = {
    "batch_norm": {
        "decay": 0.99,
        "center": False,
        "scale": True,
        "epsilon": 0.01,
        "updates_collections": None,
        "is_training": False,
        "trainable": False,
        "fused": False,
        "data_format": "NCHW",
        "zero_debias_moving_mean": True,
        "scope": "bn",
        "renorm": True,
        "renorm_decay": 0.9,
    },
    "batch_normalization": {
        "axis": 1,
        "momentum": 0.999,
        "epsilon": 0.01,
        "center": False,
        "scale": False,
        "training": True,
        "trainable": False,
        "fused": False,
        "renorm": True,
        "renorm_momentum": 0.9,
        "virtual_batch_size": 2,
    },
    "create_train_op": {
        "global_step": None,
        "update_ops": [],
        "clip_gradient_norm": 1.0,
        "summarize_gradients": True,
        "check_numerics": False,
    },
}


def ignoring(function, name):
    """The function, deaf to one argument."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def mutated(*arguments, **options):
        bound = signature.bind(*arguments, **options).arguments
        bound.pop(name, None)
        return function(**bound)

    return mutated


def with_default(function, name, value):
    """The function, with another default for one argument."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def mutated(*arguments, **options):
        bound = signature.bind(*arguments, **options).arguments
        return function(**{name: value, **bound})

    return mutated


def argument_mutants():
    """(name, replacements of public functions, test files)."""
    import bnguard

    for function_name, tests in FUNCTIONS.items():
        function = getattr(bnguard, function_name)
        optional = [
            name
            for name, parameter in inspect.signature(function).parameters.items()
            if parameter.default is not inspect.Parameter.empty
        ]
        for name in optional:
            mutant = {("bnguard", function_name): ignoring(function, name)}
            yield f"{function_name} ignores {name}", mutant, tests
        for name, value in OTHER_DEFAULTS[function_name].items():
            mutant = {("bnguard", function_name): with_default(function, name, value)}
            yield f"{function_name} defaults {name} to {value!r}", mutant, tests


def safeguard_mutants():
    """(name, replacements of internals, test files)."""
    import tensorflow.compat.v1 as tf

    from bnguard.layers import forward, training, update_rules

    def unordered(targets, values, after, read):
        return [
            update_rules._write(target, value, "AssignMovingAvg", read)
            for target, value in list(zip(targets, values))[-2:]
        ]

    def before_outputs(targets, values, after, read, write=update_rules.write):
        return write(targets, values, [], read)

    def after_the_branch(kernel, rule, training):
        outputs, *values = forward._choose(kernel, rule, training)
        return forward._write_first(kernel, rule, outputs, values)

    def moved(targets):
        return [tf.identity(target.variable) + 1e-3 for target in targets]

    def train_on_anything(kernel, rule):
        outputs, mean, variance = kernel.train()
        return [outputs, *rule.values(mean, variance)]

    write = ("bnguard.layers.forward", "write")
    yield "updates without order", {write: unordered}, LAYER_TESTS
    yield "updates before the outputs", {write: before_outputs}, LAYER_TESTS
    unchanged = ("bnguard.layers.forward", "unchanged")
    yield "inference moves the statistics", {unchanged: moved}, LAYER_TESTS
    train = ("bnguard.layers.forward", "_train")
    yield "an empty batch moves them", {train: train_on_anything}, INPUT_TESTS
    in_branch = ("bnguard.layers.forward", "_write_in_branch")
    yield "inference runs the updates", {in_branch: after_the_branch}, LAYER_TESTS
    can_write = ("bnguard.layers.forward", "_branches_that_can_write")
    yield "writes in branches of v2", {can_write: no_context}, LAYER_TESTS
    write_first = ("bnguard.layers.forward", "_write_first")
    yield "in-place updates dropped", {write_first: lambda *all_: all_[2]}, LAYER_TESTS
    hold_back = ("bnguard.training", "_hold_back")
    originals = {hold_back: lambda updates, until, loss: updates}
    yield "updates do not wait for the loss", originals, TRAINING_TESTS
    blind = {("bnguard.training", "_ancestors"): forgetting_the_loss(training._ancestors)}
    yield "what the loss needs is copied too", blind, TRAINING_TESTS
    unique = {("bnguard.training", "_unique"): lambda items: list(set(items))}
    yield "update ops in the order of a set", unique, TRAINING_TESTS


@contextlib.contextmanager
def no_context(rule):
    yield


def forgetting_the_loss(ancestors):
    """_ancestors, but empty when asked for those of the loss, which is asked for first."""
    calls = itertools.count()
    return lambda operations, stop: ancestors(operations, stop) if next(calls) % 2 else set()


class Failures:
    """A pytest plugin that remembers which tests failed."""

    def __init__(self):
        self.names = []

    def pytest_runtest_logreport(self, report):
        if report.failed and report.nodeid not in self.names:
            self.names.append(report.nodeid)

    def pytest_collectreport(self, report):
        if report.failed:
            self.names.append(report.nodeid)


def failures(replacements, tests):
    """The names of the tests that fail with the replacements in place."""
    found = Failures()
    with contextlib.ExitStack() as stack:
        for (module, name), value in replacements.items():
            stack.enter_context(mock.patch(f"{module}.{name}", value))
        forget_tests()
        output = stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        status = pytest.main(["-q", "-p", "no:cacheprovider", "--tb=no", *tests], [found])
    forget_tests()
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        sys.exit(output.getvalue())
    return found.names


def forget_tests():
    """Have the test modules, which hold the functions, imported anew."""
    for name in [name for name in sys.modules if name.split(".")[-1].startswith("test_")]:
        del sys.modules[name]


def main(words):
    os.chdir(ROOT)
    sys.path[:0] = [ROOT, os.path.join(ROOT, "tests")]
    survivors = 0
    mutants = [*argument_mutants(), *safeguard_mutants()]
    for target in {target for _, replacements, _ in mutants for target in replacements}:
        mock.patch(".".join(target)).get_original()  # before the minutes, not after them
    for name, replacements, tests in mutants:
        if words and not any(word in name for word in words):
            continue
        failed = failures(replacements, tests)
        survivors += not failed
        print(f"{len(failed):4d} fail  {name}  {failed[0] if failed else 'SURVIVED'}", flush=True)
    unbroken = failures({}, sorted({test for tests in FUNCTIONS.values() for test in tests}))
    print(f"{len(unbroken):4d} fail  nothing changed  {unbroken[0] if unbroken else ''}")
    print(f"{survivors} survived")
    return 1 if survivors or unbroken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
