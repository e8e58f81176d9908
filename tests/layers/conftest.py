"""A fresh graph for each test, and both kinds of variables and of control flow."""

from contextlib import contextmanager
import importlib.util

import pytest
import tensorflow.compat.v1 as tf

# What an original is compared with can be collected only where there is one.
VERSION = tuple(int(part) for part in tf.__version__.split(".")[:2])
HAS_TF_LAYERS = VERSION < (2, 16) or importlib.util.find_spec("tf_keras") is not None
collect_ignore = [
    *([] if VERSION < (2, 0) else ["test_parity_with_contrib.py"]),
    *([] if HAS_TF_LAYERS else ["test_tf_layers.py"]),
]

tf.disable_eager_execution()
tf.logging.set_verbosity(tf.logging.ERROR)


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as graph, _build_with("ref", "v1"):
        yield graph


@pytest.fixture
def build_with():
    """A context manager to build with `ref` or `resource`, `v1` or `v2`."""
    return _build_with


@contextmanager
def _build_with(variables, control_flow):
    was = tf.resource_variables_enabled(), tf.control_flow_v2_enabled()
    _switch(variables == "resource", control_flow == "v2")
    try:
        yield
    finally:
        _switch(*was)


def _switch(resource, v2):
    (tf.enable_resource_variables if resource else tf.disable_resource_variables)()
    (tf.enable_control_flow_v2 if v2 else tf.disable_control_flow_v2)()
