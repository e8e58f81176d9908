"""Patterns of paths."""

import os

import pytest

from bnguard.repository.globs import matches


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("old", ["old", "old/a.pb", "models/old/a.pb"], ["older/a.pb", "models/a.pb"]),
        ("old/", ["old/a.pb", "models/old/a.pb"], ["olds/a.pb"]),
        ("*.meta", ["a.meta", "runs/1/a.meta"], ["a.meta.bak", "meta"]),
        ("runs/*.meta", ["runs/a.meta"], ["runs/1/a.meta", "more/runs/a.meta"]),
        ("./runs/a.meta", ["runs/a.meta"], ["a.meta"]),
        ("/runs", ["runs/a.meta"], ["more/runs/a.meta"]),
        ("runs/1", ["runs/1", "runs/1/a.meta"], ["runs/10/a.meta"]),
        ("runs/**/a.*", ["runs/a.pb", "runs/1/2/a.pb"], ["runs/b.pb", "a.pb"]),
        ("**/1/*.pb", ["1/a.pb", "runs/1/a.pb"], ["runs/1/b/a.pb"]),
        ("runs/**", ["runs", "runs/1/a.pb"], ["run/a.pb"]),
        ("model-?.[mp]*", ["model-1.meta", "x/model-2.pb"], ["model-12.meta", "model-1.txt"]),
        ("../*/a.pb", ["../b/a.pb"], ["b/a.pb"]),
    ],
)
def test_a_pattern(pattern, yes, no, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in yes + no:
        for given in (path, os.path.join(str(tmp_path), path)):
            assert matches(pattern, given, str(tmp_path)) == (path in yes), given


def test_a_pattern_is_relative_to_its_own_folder(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert matches("here/a.pb", "a.pb", str(tmp_path))
    assert not matches("a.pb/b", "a.pb", str(tmp_path))
    assert not matches("/a.pb", "a.pb", str(tmp_path))
