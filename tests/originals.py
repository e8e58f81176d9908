"""The originals that ours are compared with; where there is none, a skip that says why.

Whether there is one is a matter of versions and of what is installed, never of whether it can be
imported: an original that does not load where it should is a failure.
"""

import importlib
import importlib.util

import pytest
import tensorflow.compat.v1 as tf

VERSION = tuple(int(part) for part in tf.__version__.split(".")[:2])


def contrib():
    """Return tf.contrib, or skip the calling module."""
    _skip_unless(VERSION < (2, 0), "tf.contrib ended with TensorFlow 1.15")
    return importlib.import_module("tensorflow.contrib")


def slim():
    """Return slim: of tf.contrib, or what became of it, tf_slim; or skip the calling module."""
    if VERSION < (2, 0):
        return contrib().slim
    _skip_unless(VERSION < (2, 13), "tf_slim 1.1.0 does not load from TensorFlow 2.13 on")
    _skip_unless(importlib.util.find_spec("tf_slim"), "tf_slim is not installed")
    return importlib.import_module("tf_slim")


def need_tf_layers():
    """Skip the calling module where there is no tf.layers.batch_normalization."""
    installed = VERSION < (2, 16) or importlib.util.find_spec("tf_keras")
    _skip_unless(installed, "tf.layers needs tf_keras from TensorFlow 2.16 on; not installed")


def _skip_unless(condition, reason):
    if not condition:
        pytest.skip(reason, allow_module_level=True)
