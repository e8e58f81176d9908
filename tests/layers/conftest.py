"""A fresh graph for each test; originals are compared with only where they exist."""

import importlib.util

import pytest
import tensorflow.compat.v1 as tf

VERSION = tuple(int(part) for part in tf.__version__.split(".")[:2])
HAS_SLIM = VERSION < (2, 0) or (VERSION < (2, 13) and importlib.util.find_spec("tf_slim"))
HAS_TF_LAYERS = VERSION < (2, 16) or importlib.util.find_spec("tf_keras") is not None
collect_ignore = [
    *([] if VERSION < (2, 0) else ["test_parity_with_contrib.py"]),
    *([] if HAS_SLIM else ["test_with_slim.py"]),
    *([] if HAS_TF_LAYERS else ["test_tf_layers.py"]),
]


@pytest.fixture(autouse=True)
def fresh_graph(graph):
    return graph
