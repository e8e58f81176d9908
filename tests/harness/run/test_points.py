"""A run that is resumed is the run that never stopped, to the bit; what cannot be is said."""

import glob
import hashlib
import json
import os
import shutil

from bnguard import checkpoint_reader
from bnguard.harness.cases import catalogue
from bnguard.harness.results.closed_form import LayerStatistics
from bnguard.harness.results.record import LayerRun, TrainingRun
from bnguard.harness.run import checkpoint_writer, experiment, points
from bnguard.harness.run.options import check
from bnguard.harness.run.point import FREE, Point, as_line, from_line
import numpy as np
import pytest
from support import resuming
from support.programs.tf1_programs import says
from support.source_case import make_cases
import tensorflow.compat.v1 as tf

CASE = "two_branch_cond"


# All cases: tools/fault_injection.py. Here in place, random numbers and two runs a step, and variables in
# another process.
@pytest.mark.parametrize("case", [CASE, "gan_mixed_stats", "evaluator_on_parameter_server"])
def test_a_resumed_run_is_the_run_that_never_stopped(case, tmp_path):
    resuming.assert_goes_on(case, tmp_path)


def test_so_it_is_where_the_cases_saver_leaves_variables_out(tmp_path):
    resuming.assert_goes_on("saver_trainable_only", tmp_path, side="repro")


def test_an_optimizers_slots_go_on_too(tmp_path):
    case, home = "update_ops_never_run", tmp_path / "cases"
    for side in catalogue.SIDES:
        (home / side).mkdir(parents=True)
        with open(catalogue.find(case, side).path, encoding="utf-8") as file:
            text = file.read()
        changed = text.replace("GradientDescentOptimizer(0.01)", "AdamOptimizer(0.01)")
        assert changed != text
        (home / side / (case + ".py")).write_text(changed, encoding="utf-8")
    variables = resuming.assert_goes_on(case, tmp_path, home=str(home))
    assert {"beta1_power", "bn/gamma/Adam", "bn/gamma/Adam_1"} <= set(variables)


def test_a_run_may_go_on_for_longer_than_it_was_to(tmp_path):
    _, longer = resuming.run(CASE, tmp_path, train_steps=8)
    _, shorter = resuming.run(CASE, tmp_path)
    _, resumed = resuming.run(CASE, tmp_path, resume=points.find(shorter[-1]), train_steps=8)
    resuming.assert_same_state(longer[-1], resumed[-1])


def test_a_line_of_training_reads_to_the_bit():
    awkward = np.array([0.1, -0.0, 5e-324, np.inf, np.nan])
    before, after = LayerStatistics(awkward, awkward / 3), LayerStatistics(awkward * 7, awkward + 1)
    run = TrainingRun(("a", "b"), {"bn": LayerRun("batch", "nothing", before, after)}, None)
    again = from_line(as_line(run))
    assert (again.moved, again.reads) == (run.moved, None)
    for name in ("statistics", "expected"):
        for here, there in zip(getattr(run.layers["bn"], name), getattr(again.layers["bn"], name)):
            assert here.tobytes() == there.tobytes()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a run that has saved after steps 2, 4 and 5."""
    _, told = resuming.run(CASE, tmp_path_factory.mktemp("saved"), train_steps=5, save_every=2)
    return os.path.dirname(told[-1])


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of that folder, to damage."""
    return shutil.copytree(saved, str(tmp_path / "run"))


def test_the_last_two_points_are_kept(saved):
    names = [os.path.basename(path) for path in glob.glob(os.path.join(saved, "step-*"))]
    assert sorted(names) == [
        f"step-{step}.{ending}"
        for step in (4, 5)
        for ending in ("ckpt.data-00000-of-00001", "ckpt.index", "json")
    ]


@pytest.mark.parametrize("ending", ["", "/", "/step-5.ckpt", "/step-5.json", "/step-5.ckpt.index"])
def test_a_point_has_several_spellings(folder, ending):
    point = points.find(folder + ending)
    assert (point.step, point.prefix) == (5, folder + "/step-5.ckpt")
    assert len(point.training) == 5


FILES = ["step-5.json", "step-5.ckpt.index", "step-5.ckpt.data-00000-of-00001"]


@pytest.mark.parametrize("name", FILES)
def test_every_damage_is_said_and_the_point_before_is_named(folder, name):
    path = os.path.join(folder, name)
    with open(path, "rb") as file:
        content = file.read()
    for place in range(0, len(content), 1 + len(content) // 100):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        for damaged in (bytes(flipped), content[:place]):
            with open(path, "wb") as file:
                file.write(damaged)
            assert_names_the_one_before(folder, f"{name} is not as it was written")
    os.remove(path)
    if name == "step-5.json":
        assert points.find(folder).step == 4  # there is no sign that there was another
    else:
        assert_names_the_one_before(folder, f"{name}: No such file or directory")


def assert_names_the_one_before(folder, damage):
    before = os.path.join(folder, "step-4.ckpt")
    with says("step-5.ckpt: no run can go on from there", damage, f"--resume {before}"):
        points.find(folder)
    assert points.find(before).step == 4


def test_the_training_so_far_is_checked_as_far_as_a_point_needs_it(folder):
    path = os.path.join(folder, "training.jsonl")
    with open(path, "rb+") as file:
        content = file.read()
        file.write(b"half a line, as a run that was killed leav")
        file.flush()
        assert len(points.find(folder).training) == 5
        file.truncate(len(content) - 1)
    assert_names_the_one_before(folder, "training.jsonl is not as it was written")
    assert len(points.find(os.path.join(folder, "step-4.ckpt")).training) == 4
    with open(path, "rb+") as file:
        file.write(b"#")
    with says("training.jsonl", "No other point in that folder is intact", "start another run"):
        points.find(folder)


def test_what_a_killed_save_leaves_is_no_point(folder):
    for name in ("step-6.json.tmp", "step-6.ckpt.index", "step-x.json", "step-7.ckpt"):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write("half")
    os.mkdir(os.path.join(folder, "step-6.ckpt_temp_0123"))
    assert points.find(folder).step == 5
    with says("step-6.ckpt: no run can go on", "step-6.json: No such file", "step-5.ckpt"):
        points.find(os.path.join(folder, "step-6.ckpt"))


@pytest.mark.parametrize(
    "change",
    [
        {"step": "five"},
        {"step": 3},
        {"random": ["MT19937", [1, 2], 0, 0, 0.0]},
        {"random": []},
        {"flags": {}},
        {"flags": None},
        {"flags": {"fused": "maybe"}},
        {"flags": {"variables": "nonsense"}},
        {"flags": {"seed": "1006"}},
        {"flags": {"batch_size": -1}},
        {"flags": {"batch_size": "4"}},
        {"flags": {"batch_size": True}},
        {"flags": {"checkpoint_dir": 7}},
        {"flags": {"checkpoint_dir": ""}},
        {"flags": {"another": 1}},
        {"step": 5.0},
        {"run": 7},
        {"run": {}},
        {"run": {"case": CASE, "side": "fixed", "tensorflow": 2, "sha256": ""}},
        {"initial": 7},
        {"initial": {}},
        {"initial": {"other": [[0.0, 0.0], [1.0, 1.0]]}},
        {"initial": {"bn": [[0.0], [1.0]]}},
        {"initial": {"bn": [[0.0, 0.0], [1.0]]}},
        {"initial": {"bn": [[[0.0, 0.0]], [[1.0, 1.0]]]}},
        {"random": {"place": -5}},
        {"random": {"place": 10**6}},
        {"random": {"place": 1.0}},
        {"random": {"has_gauss": 7}},
        {"files": {}},
        {"files": {"training.jsonl": {"length": 1}}},
    ],
    ids=str,
)
def test_what_no_run_writes_is_refused_whoever_has_signed_it(folder, change):
    path = os.path.join(folder, "step-5.json")
    ((name, value),) = change.items()
    if name == "random" and isinstance(value, dict):
        algorithm, keys, place, has_gauss, gauss = points._read_signed(path)[name]
        state = {"place": place, "has_gauss": has_gauss, **value}
        change = {name: [algorithm, keys, state["place"], state["has_gauss"], gauss]}
    if name == "flags" and value:
        change = {name: {**points._read_signed(path)[name], **value}}
    sign(path, change)
    assert_names_the_one_before(folder, "step-5.json is none that a run writes")


@pytest.mark.parametrize("text", ['{"format": 2,}', "{" * 9000 + "}"])
def test_what_is_no_json_is_refused_whoever_has_signed_it(folder, text):
    with open(os.path.join(folder, "step-5.json"), "w", encoding="utf-8") as file:
        file.write(points._sign(text))
    assert_names_the_one_before(folder, "step-5.json is no JSON")


@pytest.mark.parametrize("name", ["seed", "fused", "train_steps"])
def test_a_point_without_one_of_its_flags_is_refused(folder, name):
    path = os.path.join(folder, "step-5.json")
    flags = points._read_signed(path)["flags"]
    del flags[name]
    sign(path, {"flags": flags})
    assert_names_the_one_before(folder, "step-5.json is none that a run writes")


def test_the_flags_of_a_run_are_those_that_a_point_may_hold():
    check(experiment.Options().flags)


def test_a_point_of_a_graph_with_other_layers_is_refused(folder):
    point = points.find(folder)
    point.check_fits(point.initial)
    with says(f"{folder}/step-5.ckpt", "the layers {'bn': 2}", "builds {'other': 2}"):
        point.check_fits({"other": point.initial["bn"]})


def test_a_run_of_other_layers_is_not_gone_on_with(folder):
    """Its variables fit, and all that it says of itself fits together."""
    training = os.path.join(folder, "training.jsonl")
    with open(training, encoding="utf-8") as file:
        text = file.read().replace('"bn"', '"other"')
    with open(training, "w", encoding="utf-8") as file:
        file.write(text)
    document = points._read_signed(os.path.join(folder, "step-5.json"))
    files = {**document["files"], "training.jsonl": points._measure(training)}
    change = {"files": files, "initial": {"other": document["initial"]["bn"]}}
    sign(os.path.join(folder, "step-5.json"), change)
    with says("the layers {'other': 2}", "builds {'bn': 2}"):
        resuming.run(CASE, os.path.dirname(folder), resume=points.find(folder))


def test_the_tenth_step_is_later_than_the_ninth(tmp_path):
    saving = Saving(tmp_path)
    for step in (9, 10):
        saving.add(step)
    names = [os.path.basename(prefix) for prefix in points._complete(str(tmp_path))]
    assert names == ["step-9.ckpt", "step-10.ckpt"]


def test_a_folder_may_have_the_name_of_a_pattern(folder, tmp_path):
    """TensorFlow would not save there; a run's folder may have been moved there."""
    moved = shutil.move(folder, str(tmp_path / "[1]"))
    assert [os.path.basename(one) for one in points._complete(moved)] == [
        "step-4.ckpt",
        "step-5.ckpt",
    ]


def test_what_cannot_be_deleted_does_no_harm(tmp_path, monkeypatch):
    saving = Saving(tmp_path)

    def refuse(path):
        raise PermissionError("not yours")

    monkeypatch.setattr(os, "remove", refuse)
    for step in (1, 2, 3):
        saving.add(step)
    assert saving.complete() == ["step-1.json", "step-2.json", "step-3.json"]


def test_points_do_not_take_the_place_of_what_the_case_saved(saved):
    assert checkpoint_reader.resolve(saved) == os.path.join(saved, "evaluated.ckpt")
    graphs = glob.glob(os.path.join(saved, "*.meta"))
    assert sorted(map(os.path.basename, graphs)) == ["evaluated.ckpt.meta", "trained.ckpt.meta"]


def test_a_point_is_held_against_the_graph_before_a_variable_is_touched(folder):
    """A checkpoint of others, signed anew as a point's, is refused in bnguard's words."""
    prefix = os.path.join(folder, "step-5.ckpt")
    with tf.Graph().as_default(), tf.Session() as session:
        tf.get_variable("other", initializer=[1.0])
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, prefix, write_meta_graph=False, write_state=False)
    files = points._read_signed(os.path.join(folder, "step-5.json"))["files"]
    for part in checkpoint_writer.parts(prefix):
        files[os.path.basename(part)] = points._measure(part)
    sign(os.path.join(folder, "step-5.json"), {"files": files})
    with says("the checkpoint has no bn/", "it holds other"):
        resuming.run(CASE, os.path.dirname(folder), resume=points.find(folder))


def test_a_file_elsewhere_is_not_read(folder, tmp_path):
    """A name with a folder stands for the file of that name in the run's own."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"secret")
    measures = {"length": 6, "sha256": hashlib.sha256(b"secret").hexdigest()}
    document = points._read_signed(os.path.join(folder, "step-5.json"))
    files = {**document["files"], "../outside": measures}
    sign(os.path.join(folder, "step-5.json"), {"files": files})
    assert_names_the_one_before(folder, "outside: No such file or directory")


def sign(path, change):
    document = {**points._read_signed(path), **change}
    with open(path, "w", encoding="utf-8") as file:
        file.write(points._sign(json.dumps(document)))


def test_a_point_is_deleted_only_when_two_later_ones_are_complete(tmp_path, monkeypatch):
    saving = Saving(tmp_path)
    for step in (1, 2):
        saving.add(step)

    def fail(*_):
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(points.checkpoint_writer, "write", fail)
        with says("cannot save a checkpoint there", "the disk is full"):
            saving.add(3)
    assert saving.complete() == ["step-1.json", "step-2.json"]
    saving.add(4)
    assert saving.complete() == ["step-2.json", "step-4.json"]


def test_every_file_is_on_the_disk_before_the_point_has_its_name(tmp_path, monkeypatch):
    order, fsync, replace = [], os.fsync, os.replace

    def note_sync(number):
        order.append(os.path.basename(os.readlink(f"/proc/self/fd/{number}")))
        fsync(number)

    def note_name(before, after):
        order.append(os.path.basename(after))
        replace(before, after)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_name)
    Saving(tmp_path).add(1)
    assert order[-2:] == ["step-1.json.tmp", "step-1.json"]
    assert sorted(order[:-2]) == ["step-1.ckpt.data", "step-1.ckpt.index", "training.jsonl"]


def test_what_is_deleted_loses_its_sidecar_first(tmp_path, monkeypatch):
    saving, removed, remove = Saving(tmp_path), [], os.remove

    def note(path):
        removed.append(os.path.basename(path))
        remove(path)

    monkeypatch.setattr(os, "remove", note)
    for step in (1, 2, 3):
        saving.add(step)
    assert removed == ["step-1.json", "step-1.ckpt.data", "step-1.ckpt.index"]


class Saving:
    """Points of a run that has no variables, in a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.points = points.Points(str(folder), self.save)

    def save(self, prefix):
        for ending in (".data", ".index"):
            with open(prefix + ending, "w", encoding="utf-8") as file:
                file.write(prefix)

    def add(self, step):
        random = np.random.RandomState(step).get_state()
        flags = dict.fromkeys(FREE, 1)
        self.points.add(Point(step, {}, flags, random, {}, []))

    def complete(self):
        return sorted(one.name for one in self.folder.glob("step-*.json"))


@pytest.mark.parametrize("name", ["", "none", "none/step-5.ckpt", "a file"])
def test_where_no_run_has_saved_it_is_said(tmp_path, name):
    (tmp_path / "a file").write_text("something", encoding="utf-8")
    wanted = "Give the folder of a run that came to its first save, CASE/SIDE/run-N"
    with says(str(tmp_path / name), "no run can", wanted, "start another run"):
        points.find(str(tmp_path / name))


def test_another_versions_point_is_refused(folder, monkeypatch):
    monkeypatch.setattr(points, "_FORMAT", 3)
    with says("format 2 is another bnguard's, not 3"):
        points.find(folder)


@pytest.mark.parametrize(
    ("other", "seen"),
    [
        ({"case": "gan_mixed_stats"}, "cannot go on as fixed/gan_mixed_stats.py"),
        ({"side": "repro"}, "cannot go on as repro/two_branch_cond.py"),
        ({"tensorflow": "1.2.3"}, "cannot go on as fixed/two_branch_cond.py on TensorFlow 1.2.3"),
    ],
)
def test_a_point_of_another_run_is_refused(folder, other, seen):
    point = points.find(folder)
    point.check_is_of(point.run)
    with says(f"{folder}/step-5.ckpt", "a point of fixed/two_branch_cond.py", seen, "--restore"):
        point.check_is_of({**point.run, **other})


@pytest.mark.parametrize("while_it_runs", [False, True])
def test_a_case_that_was_edited_is_not_gone_on_with(tmp_path, while_it_runs):
    home = make_cases(tmp_path, str)
    path = os.path.join(home, "fixed", CASE + ".py")
    told = []

    def edit():
        with open(path, "a", encoding="utf-8") as file:
            file.write("# another\n")

    def saved(prefix, is_point):
        told.append(prefix)
        if while_it_runs:
            edit()

    options = experiment.Options(checkpoint_dir=str(tmp_path), train_steps=4, save_every=2)
    experiment.run(catalogue.load(catalogue.find(CASE, "fixed", home)), options, saved=saved)
    if not while_it_runs:
        edit()
    with says("fixed/two_branch_cond.py is not what it was", "Bring back the file", "--restore"):
        resuming.run(CASE, tmp_path, home=home, resume=points.find(told[-1]))
