"""Which of many like cases the default run has; BNGUARD_CASES=all runs every one."""

import itertools
import os
from random import Random

EVERY = os.environ.get("BNGUARD_CASES") == "all"


def combinations(*choices):
    """Return a few combinations of choices, in which each choice occurs, in their order.

    The hashable choices are drawn with a fixed seed. If BNGUARD_CASES is `all`, all combinations
    are returned.
    """
    every = list(itertools.product(*choices))
    if EVERY:
        return every
    missing = {choice for case in every for choice in enumerate(case)}
    drawn = Random(0).sample(every, len(every))
    chosen = set()
    while missing:
        case = max(drawn, key=lambda case: len(missing.intersection(enumerate(case))))
        chosen.add(case)
        missing -= set(enumerate(case))
    return [case for case in every if case in chosen]
