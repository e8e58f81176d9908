"""Fixtures of all tests: experiments that run once, and fresh graphs."""

import functools
import gc
import os
import signal

import pytest
from support import samples

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# pytest-xdist sets it in its workers; what a command prints depends on it.
os.environ.pop("COLUMNS", None)
os.unsetenv("COLUMNS")  # readline, which pytest imports, sets it for processes that tests start
# Without it, a session clusters nothing for XLA on a CPU, whatever its configuration says.
os.environ.setdefault("TF_XLA_FLAGS", "--tf_xla_cpu_global_jit")
# The threads of the harness's sessions: a process's first session decides for all of them.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
# In the background of a script Ctrl-C is ignored, and processes that tests start inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

COMBINATIONS = [
    (variables, control_flow) for variables in ("ref", "resource") for control_flow in ("v1", "v2")
]


def pytest_collection_modifyitems(config, items):
    """Leave out what the default run samples."""
    left_out = set(samples.deselected(items))
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_collection_finish():
    """Collect garbage less often: graphs are many small objects, and modules are none."""
    gc.freeze()
    gc.set_threshold(50000, 20, 20)


@pytest.fixture(scope="session")
def run_case(tmp_path_factory):
    """Run one side of a case, once for each set of options."""
    from bnguard.harness.cases import catalogue, loading
    from bnguard.harness.run import experiment
    from bnguard.harness.run.options import BuildOptions

    folder = str(tmp_path_factory.mktemp("checkpoints"))

    @functools.lru_cache(maxsize=None)
    def run(case, side, variables="ref", control_flow="v1", fused="no", **options):
        loaded = loading.load(catalogue.find(case, side))
        build = BuildOptions(fused, variables, control_flow)
        options = experiment.Options(build=build, checkpoint_dir=folder, **options)
        return experiment.run(loaded, options)

    return run


@pytest.fixture
def graph():
    """Make a fresh default graph, with ref variables and control flow v1."""
    from support.graphs import build_with
    import tensorflow.compat.v1 as tf

    tf.disable_eager_execution()
    with tf.Graph().as_default() as graph, build_with("ref", "v1"):
        yield graph
