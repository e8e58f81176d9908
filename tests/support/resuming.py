"""Whether a resumed run is the run that never stopped, to the bit."""

import os

from bnguard import checkpoint_reader
from bnguard.harness.cases import catalogue
from bnguard.harness.report import console
from bnguard.harness.run import experiment, points
import numpy as np

STEPS, SAVED_AT = 6, 3


def run(case, folder, side="fixed", home=None, **options):
    """Run a case; its record as JSON, and the prefixes of the points that it told of."""
    loaded = catalogue.load(catalogue.find(case, side, home))
    options = {"train_steps": STEPS, "save_every": SAVED_AT, "infer_steps": 2, **options}
    told = []
    record = experiment.run(
        loaded,
        experiment.Options(checkpoint_dir=str(folder), **options),
        saved=lambda prefix, is_point: told.append(prefix),
    )
    document = console.as_json(record, loaded.case.claim.judge(record))
    for one, as_told in zip(record.passes, document["passes"]):
        if one.frozen:  # TensorFlow folds its constants, and not always alike: it rounds so or so
            del as_told["steps"], as_told["together"]
    return document, told


def assert_goes_on(case, folder, **how):
    """Run a case, then resume it from half way; the variables that it ended with."""
    whole, (half_way, end) = run(case, folder, **how)
    resumed, (start, other_end) = run(case, folder, resume=points.find(half_way), **how)
    assert start == half_way
    assert differing(half_way, end)
    assert_same_state(end, other_end)
    assert_same_showing(whole, resumed)
    return checkpoint_reader.read(end)


def assert_same_showing(one, other):
    """Two runs showed the same, but for where they saved and what their sessions did before."""
    first, second = ({**document, "reasons": None} for document in (one, other))
    for document in (first, second):
        document["checkpoints"] = {**document["checkpoints"], "before": None, "after": None}
        document["passes"] = [{**each, "earlier_runs": None} for each in document["passes"]]
    found = list(_differences(first, second))
    assert not found, found[:3]


def _differences(one, other, path=""):
    """Where two JSON documents differ, and in what."""
    if isinstance(one, (dict, list)) and type(one) is type(other) and len(one) == len(other):
        for key in one if isinstance(one, dict) else range(len(one)):
            yield from _differences(one[key], other[key], f"{path}/{key}")
    elif one != other:
        yield path, one, other


def assert_same_state(one, other):
    """Two points are of the same step: variables, random stream and statistics, to the bit."""
    assert not differing(one, other)
    first, second = map(points.find, (one, other))
    np.testing.assert_array_equal(first.random[1], second.random[1])
    assert first.random[2:] == second.random[2:]
    assert first.step == second.step
    for text in map(training, (one, other)):
        assert text.count("\n") >= first.step
    assert training(one) == training(other)


def differing(one, other):
    """The names of what two checkpoints do not both hold, to the bit."""
    first, second = map(checkpoint_reader.read, (one, other))
    return [
        name
        for name in sorted({*first, *second})
        if first.get(name, np.array(())).tobytes() != second.get(name, np.array(())).tobytes()
    ]


def training(prefix):
    """What a run's folder holds of its training: for every step, statistics and closed form."""
    with open(os.path.join(os.path.dirname(prefix), "training.jsonl"), encoding="utf-8") as file:
        return file.read()
