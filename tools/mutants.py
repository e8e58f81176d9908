"""Break the layers on purpose, and check that the tests fail.

    python tools/mutants.py [WORD ...]

Each mutant ignores one argument, changes one default, or removes one safeguard. It keeps the
signature, so only its behaviour can reveal it. For each mutant, the program runs the tests of the
function and prints how many fail, and the name of the first. The exit status is 1 if a mutant
passes all tests. WORDs select the mutants whose names contain one of them.
"""

import argparse
import contextlib
import functools
import inspect
import io
import itertools
import os
import sys
from unittest import mock

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LAYER_TESTS = ["tests/layers/test_contrib.py", "tests/layers/test_forward.py"]
CONTEXT_TESTS = ["tests/layers/test_contexts.py"]
REPLICA_TESTS = ["tests/layers/test_strategies.py"]
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
    """Return the function, made to ignore one argument."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def mutated(*arguments, **options):
        bound = signature.bind(*arguments, **options).arguments
        bound.pop(name, None)
        return function(**bound)

    return mutated


def with_default(function, name, value):
    """Return the function, with a different default for one argument."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def mutated(*arguments, **options):
        bound = signature.bind(*arguments, **options).arguments
        return function(**{name: value, **bound})

    return mutated


def argument_mutants():
    """Yield (name, replacements of public functions, test files)."""
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
    """Yield (name, replacements of internals, test files)."""
    import tensorflow.compat.v1 as tf

    from bnguard.layers import forward, training, update_rules
    from bnguard.layers.variables import VariableFactory

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

    def train_on_anything(kernel, rule, in_branch=False):
        outputs, mean, variance = kernel.train()
        return [outputs, *rule.values(mean, variance)]

    write = ("bnguard.layers.forward", "write")
    yield "updates without order", {write: unordered}, LAYER_TESTS
    yield "updates before the outputs", {write: before_outputs}, LAYER_TESTS
    unchanged = ("bnguard.layers.forward", "unchanged")
    yield "inference moves the statistics", {unchanged: moved}, LAYER_TESTS
    train = ("bnguard.layers.forward", "_train")
    yield "an empty batch moves the statistics", {train: train_on_anything}, INPUT_TESTS

    def always_alive(kernel, rule, in_branch=False, train=forward._train):
        return train(kernel, rule)

    alive = {train: always_alive}
    yield "what training writes is not dead in inference", alive, CONTEXT_TESTS
    in_branch = ("bnguard.layers.forward", "_write_in_branch")
    yield "inference runs the updates", {in_branch: after_the_branch}, LAYER_TESTS
    can_write = ("bnguard.layers.forward", "_branches_that_can_write")
    yield "writes in branches of control flow v2", {can_write: no_context}, LAYER_TESTS

    def of_one_replica(self, *arguments, get=VariableFactory._get, **options):
        for option in ("synchronization", "aggregation"):
            options.pop(option, None)
        return get(self, *arguments, **options)

    def still_cached(scope, device, set_device=tf.VariableScope.set_caching_device):
        if device is not None:
            set_device(scope, device)

    get = ("bnguard.layers.variables.VariableFactory", "_get")
    yield "one replica's statistics are saved", {get: of_one_replica}, REPLICA_TESTS
    set_device = ("tensorflow.compat.v1.VariableScope", "set_caching_device")
    yield "statistics are read before the loop", {set_device: still_cached}, CONTEXT_TESTS
    write_first = ("bnguard.layers.forward", "_write_first")
    yield "in-place updates dropped", {write_first: lambda *all_: all_[2]}, LAYER_TESTS
    defer_writes = ("bnguard.layers.training", "_defer_writes")
    not_deferred = {defer_writes: lambda updates, until, loss: updates}
    yield "updates do not wait for the loss", not_deferred, TRAINING_TESTS
    ancestors = ("bnguard.layers.training", "_ancestors")
    unaware = {ancestors: without_the_loss(training._ancestors)}
    yield "updates that the loss depends on are copied", unaware, TRAINING_TESTS
    unique = {("bnguard.layers.training", "_unique"): lambda items: list(set(items))}
    yield "update ops in the order of a set", unique, TRAINING_TESTS


@contextlib.contextmanager
def no_context(rule):
    yield


def without_the_loss(ancestors):
    """Return `_ancestors`, made to find nothing for the loss, which is every first call."""
    calls = itertools.count()
    return lambda operations, stop: ancestors(operations, stop) if next(calls) % 2 else set()


class Failures:
    """A pytest plugin that records which tests failed."""

    def __init__(self):
        self.names = []

    def pytest_runtest_logreport(self, report):
        """Record a failed test, whichever of its phases failed."""
        if report.failed and report.nodeid not in self.names:
            self.names.append(report.nodeid)

    def pytest_collectreport(self, report):
        """Record a module that could not be imported."""
        if report.failed:
            self.names.append(report.nodeid)


def failures(replacements, tests):
    """Return the names of the tests that fail with the replacements in place."""
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
    """Make pytest import the test modules again: they refer to the replaced functions."""
    for name in [name for name in sys.modules if name.split(".")[-1].startswith("test_")]:
        del sys.modules[name]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", metavar="WORD", nargs="*", help="part of the name of a mutant")
    words = parser.parse_args().words
    os.chdir(ROOT)
    sys.path[:0] = [ROOT, os.path.join(ROOT, "tests")]
    survivors = 0
    mutants = [*argument_mutants(), *safeguard_mutants()]
    for target in {target for _, replacements, _ in mutants for target in replacements}:
        mock.patch(".".join(target)).get_original()  # check all names before the long run
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
    sys.exit(main())
