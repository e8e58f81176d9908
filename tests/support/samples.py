"""Which of many like cases the default run has; BNGUARD_CASES=all runs every one."""

from collections import defaultdict
import itertools
import operator
import os
from random import Random

import pytest

EVERY = os.environ.get("BNGUARD_CASES") == "all"


def combinations(*choices):
    """Return a few combinations of choices, in which each choice occurs, in their order.

    The hashable choices are drawn with a fixed seed. If BNGUARD_CASES is `all`, all combinations
    are returned.
    """
    every = list(itertools.product(*choices))
    if EVERY:
        return every
    chosen = _covering([set(enumerate(case)) for case in every], seed=0)
    return [every[number] for number in chosen]


def deselected(items):
    """Return the tests marked `sampled` that the default run leaves out.

    Of the parameters of a test function, each row of each `parametrize` remains in a few; of the
    variable classes and control flows, each class and each control flow.
    """
    if EVERY:
        return []
    functions = defaultdict(list)
    for item in items:
        if item.get_closest_marker("sampled"):
            functions[item.nodeid.split("[")[0]].append(item)
    left_out = []
    for name, cases in functions.items():
        chosen = _covering([_choices(item) for item in cases], seed=name)
        left_out += [item for number, item in enumerate(cases) if number not in chosen]
    return left_out


def _choices(item):
    """Return what a test has of each `parametrize`: the number of a row, or names of the build."""
    choices = set()
    for number, mark in enumerate(item.iter_markers("parametrize")):
        names = mark.args[0].split(",") if isinstance(mark.args[0], str) else mark.args[0]
        values = [item.callspec.params[name.strip()] for name in names]
        if set(names) == {"variables", "control_flow"}:
            choices.update(zip(names, values))
        else:
            rows = [_values(row, len(names)) for row in mark.args[1]]
            is_it = [all(map(operator.is_, row, values)) for row in rows]
            choices.add((number, is_it.index(True)))
    return choices


def _values(row, count):
    if isinstance(row, type(pytest.param())):
        return row.values
    return row if count > 1 else [row]


def _covering(cases, seed):
    """Return the numbers of a few cases in which each choice occurs; a case is a set of choices."""
    missing = set().union(*cases)
    drawn = Random(seed).sample(range(len(cases)), len(cases))
    chosen = []
    while missing:
        chosen.append(max(drawn, key=lambda number: len(missing & cases[number])))
        missing -= cases[chosen[-1]]
    return sorted(chosen)
