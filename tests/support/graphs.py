"""Build graphs with each type of variable and each version of control flow, in one process."""

from contextlib import contextmanager

import tensorflow.compat.v1 as tf


@contextmanager
def build_with(variables, control_flow):
    """Build with `ref` or `resource` variables and control flow `v1` or `v2`."""
    previous = tf.resource_variables_enabled(), tf.control_flow_v2_enabled()
    _switch(variables == "resource", control_flow == "v2")
    try:
        yield
    finally:
        _switch(*previous)


def _switch(resource, v2):
    (tf.enable_resource_variables if resource else tf.disable_resource_variables)()
    (tf.enable_control_flow_v2 if v2 else tf.disable_control_flow_v2)()
