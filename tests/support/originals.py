"""Load the original layers that bnguard's are compared with, or skip the test module.

The TensorFlow version and the installed packages decide whether an original is expected. An
expected original that fails to load is an error, not a skip. The reason names the module, because
pytest-xdist reports several modules skipped for the same reason only once.
"""

import importlib
import importlib.util

import pytest
import tensorflow.compat.v1 as tf

VERSION = tuple(int(part) for part in tf.__version__.split(".")[:2])


def contrib(module):
    """Return tf.contrib, or skip the calling test module."""
    _skip_unless(VERSION < (2, 0), module, "tf.contrib ended with TensorFlow 1.15")
    return importlib.import_module("tensorflow.contrib")


def slim(module):
    """Return slim from tf.contrib, or its successor tf_slim, or skip the calling test module."""
    if VERSION < (2, 0):
        return contrib(module).slim
    _skip_unless(VERSION < (2, 13), module, "tf_slim 1.1.0 does not load from TensorFlow 2.13 on")
    _skip_unless(importlib.util.find_spec("tf_slim"), module, "tf_slim is not installed")
    return importlib.import_module("tf_slim")


def need_tf_layers(module):
    """Skip the calling test module where tf.layers.batch_normalization does not exist."""
    installed = VERSION < (2, 16) or importlib.util.find_spec("tf_keras")
    _skip_unless(
        installed, module, "tf.layers needs tf_keras from TensorFlow 2.16 on; not installed"
    )


def _skip_unless(condition, module, reason):
    if not condition:
        pytest.skip(f"{reason} ({module})", allow_module_level=True)
