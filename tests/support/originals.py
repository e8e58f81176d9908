"""The originals that ours are compared with; where there is none, a skip that says why.

Whether there is one is a matter of versions and of what is installed, never of whether it can be
imported: an original that does not load where it should is a failure. The reasons name the module,
for pytest-xdist reports only one of several modules skipped in the same words.
"""

import importlib
import importlib.util

import pytest
import tensorflow.compat.v1 as tf

VERSION = tuple(int(part) for part in tf.__version__.split(".")[:2])


def contrib(module):
    """Return tf.contrib, or skip the module, which asks for it."""
    _skip_unless(VERSION < (2, 0), module, "tf.contrib ended with TensorFlow 1.15")
    return importlib.import_module("tensorflow.contrib")


def slim(module):
    """Return slim: of tf.contrib, or what became of it, tf_slim; or skip the module."""
    if VERSION < (2, 0):
        return contrib(module).slim
    _skip_unless(VERSION < (2, 13), module, "tf_slim 1.1.0 does not load from TensorFlow 2.13 on")
    _skip_unless(importlib.util.find_spec("tf_slim"), module, "tf_slim is not installed")
    return importlib.import_module("tf_slim")


def need_tf_layers(module):
    """Skip the module where there is no tf.layers.batch_normalization."""
    installed = VERSION < (2, 16) or importlib.util.find_spec("tf_keras")
    _skip_unless(
        installed, module, "tf.layers needs tf_keras from TensorFlow 2.16 on; not installed"
    )


def _skip_unless(condition, module, reason):
    if not condition:
        pytest.skip(f"{reason} ({module})", allow_module_level=True)
