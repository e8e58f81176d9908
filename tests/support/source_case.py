"""The source's case: changed copies of its files, a checkpoint, and its stream of batches."""

import os

import numpy as np

from support.paths import ROOT

REFERENCE = os.path.join(ROOT, "checkpoints", "reference", "contrib.ckpt")
CASE = "two_branch_cond"


def make_cases(folder, change):
    """Make a folder with repro/ and fixed/ that contain the source's case, its text changed."""
    home = folder / "cases"
    for side in ("repro", "fixed"):
        with open(os.path.join(ROOT, side, CASE + ".py"), encoding="utf-8") as file:
            text = change(file.read())
        (home / side).mkdir(parents=True)
        (home / side / (CASE + ".py")).write_text(text, encoding="utf-8")
    return str(home)


def draw(*sizes, seed=1006):
    """Return the last of several batches of these sizes, from the source's stream."""
    from scipy import stats

    np.random.seed(seed)
    normal = stats.multivariate_normal([0, 100])
    return [normal.rvs(size).reshape(size, 2) for size in sizes][-1]
