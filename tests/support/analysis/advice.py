"""Remedies that tell what a train op should depend on, read as a program would follow them.

A remedy names each train op with its updates: by code, by the names of the ops, or none.
"""

import re

import tensorflow.compat.v1 as tf

from bnguard.analysis.findings import ALREADY_TRAINED

_OF_ANOTHER_STEP = re.compile(r"Build (\w+), which computes .*, and (\w+) under none: (.*)")
_OF_ONE_STEP = re.compile(
    r".*\b[Bb]uild (.+?) under the updates of (?:its own network|one call)(?: alone)?: (.*)"
)
_OF_EACH_STEP = re.compile(r"Build each train op under the updates of its own network: (.*)")
_CODE = re.compile(r"`tf\.control_dependencies\((.*)\)`")
_NAMES = re.compile(r"tf\.control_dependencies on (?:the update ops )?(.+?)(?:, which .*)?")


def dependencies(remedies):
    """Return, for each train op in the remedies, the text that tells what it depends on."""
    found = {}
    for remedy in (remedy.replace(f". {ALREADY_TRAINED}", "") for remedy in remedies):
        each, another = _OF_EACH_STEP.fullmatch(remedy), _OF_ANOTHER_STEP.fullmatch(remedy)
        one = _OF_ONE_STEP.fullmatch(remedy)
        if each:
            found.update(part.split(" under ") for part in each.group(1).split("; "))
        elif another:
            step, other, text = another.groups()
            found.update({step: text, other: "none"})
        elif one:
            found.update([one.groups()])
    return found


def updates(text):
    """Return the ops of the default graph that a text of `dependencies` tells to depend on."""
    if text == "none":
        return []
    code, names = _CODE.fullmatch(text), _NAMES.fullmatch(text)
    if code:
        return eval(code.group(1), {"tf": tf})
    return [tf.get_default_graph().get_operation_by_name(name) for name in names[1].split(", ")]
