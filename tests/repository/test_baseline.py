"""Baselines: which findings pass, which entries are stale, and what is no baseline."""

from dataclasses import replace
import json
import os

import pytest
from support.analysis.reports import HOSTILE, finding, report

from bnguard.repository.baseline import read_baseline, write_baseline
from bnguard.repository.errors import RepositoryError

MEAN, VARIANCE = finding(), finding(variable="bn/moving_variance")
RULES = ("BN101", "BN102")


@pytest.fixture
def file(tmp_path):
    return str(tmp_path / "known.json")


def test_what_is_recorded_passes_and_is_counted(file):
    assert write_baseline(file, [report(MEAN, VARIANCE), report(MEAN, source="b.meta")]) == 2
    known = read_baseline(file)
    other = finding(op="bn/other")
    left = known.without_known(report(VARIANCE, other, MEAN, source="c.meta"))
    assert (left.findings, left.known) == ((other,), 2)
    assert known.without_known(report(other)).known == 0


def test_it_survives_another_path_another_step_and_another_order(file):
    write_baseline(file, [report(MEAN, VARIANCE)])
    moved = [replace(one, fetch="z:0", path=(), problem="else") for one in (VARIANCE, MEAN)]
    left = read_baseline(file).without_known(report(*moved, source="elsewhere/b.pb"))
    assert (left.findings, left.known) == ((), 2)


def test_an_entry_that_no_longer_occurs_is_stale_if_its_rule_was_applied(file):
    write_baseline(file, [report(MEAN, VARIANCE, finding(rule="BN302", variable="", layer=""))])
    known = read_baseline(file)
    assert known.stale([report(MEAN)], RULES) == ("BN101 bn/moving_variance",)
    assert known.stale([report(MEAN), report(VARIANCE)], RULES) == ()
    assert known.stale([], ["BN302"]) == ("BN302 bn/AssignSub",)


def test_the_file_does_not_depend_on_the_order_and_is_readable(file):
    texts = []
    for findings in ((MEAN, VARIANCE), (VARIANCE, MEAN)):
        write_baseline(file, [report(*findings)])
        with open(file, encoding="utf-8") as written:
            texts.append(written.read())
    assert texts[0] == texts[1]
    first, _ = json.loads(texts[0])["findings"]
    assert first == {
        "rule": "BN101",
        "layer": "bn",
        "variable": "bn/moving_mean",
        "op": "bn/AssignSub",
        "problem": "is written by AssignSub",
        "fingerprint": MEAN.fingerprint,
    }


def test_a_byte_order_mark_is_no_damage(file):
    write_baseline(file, [report(MEAN)])
    with open(file, encoding="utf-8") as written:
        text = written.read()
    with open(file, "w", encoding="utf-8-sig") as written:
        written.write(text)
    assert read_baseline(file).without_known(report(MEAN)).known == 1


def test_any_name_is_recorded(file):
    one = finding(variable=HOSTILE, layer="\udcff")
    write_baseline(file, [report(one)])
    assert read_baseline(file).without_known(report(one)).known == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the baseline cannot be read (Expecting value"),
        ("[" * 100_000, "the baseline cannot be read ("),
        ("[]", "not a baseline; expected what --write-baseline writes"),
        ("{}", "not a baseline"),
        ('{"version": 1, "findings": [{}]}', "not a baseline"),
        ('{"version": 1, "findings": [1]}', "not a baseline"),
        ('{"version": 2, "findings": []}', "a baseline of version 2; expected 1"),
        ('{"version": true, "findings": []}', "not a baseline"),
        ('{"version": 1, "findings": {}}', "not a baseline"),
    ],
    ids=["empty", "deep", "list", "object", "entry", "number", "version", "bool", "table"],
)
def test_another_file_is_refused_in_one_line(text, message, file):
    with open(file, "w", encoding="utf-8") as written:
        written.write(text)
    with pytest.raises(RepositoryError) as error:
        read_baseline(file)
    assert str(error.value).startswith(f"{file}: {message}")
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read_or_written_is_refused(tmp_path):
    absent = os.path.join(str(tmp_path), "no", "known.json")
    with pytest.raises(RepositoryError, match=r"cannot be read \(No such file or directory\)"):
        read_baseline(absent)
    with pytest.raises(RepositoryError, match=r"cannot be written \(No such file or directory\)"):
        write_baseline(absent, [])
