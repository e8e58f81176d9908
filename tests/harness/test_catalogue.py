"""The pairs as files: twins, docstrings with their sections, and a diff that is the fix."""

import os

from bnguard.harness import catalogue
import pytest

SECTIONS = ["Title", "Symptom", "Cause", "Fix", "How to see it in your own program", "Reports"]
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_every_file_has_its_twin():
    for side in catalogue.SIDES:
        files = {name for name in os.listdir(os.path.join(ROOT, side)) if name.endswith(".py")}
        assert files == {f"{name}.py" for name in catalogue.names()}


def test_every_docstring_has_its_sections_and_both_sides_tell_the_same_story():
    for name in catalogue.names():
        repro, fixed = (catalogue.find(name, side).sections for side in catalogue.SIDES)
        for sections in (repro, fixed):
            assert list(sections) == SECTIONS
            assert all(sections.values())
        assert repro.pop("Title") != fixed.pop("Title")
        assert repro == fixed


def test_sections_join_their_lines():
    sections = catalogue.find("two_branch_cond", "repro").sections
    assert sections["Title"] == (
        "Batch norm built twice, for training and for inference, outside tf.cond."
    )
    assert sections["Symptom"].startswith("moving_mean and moving_variance keep changing with is_")


def test_the_diff_is_a_patch_from_repro_to_fixed():
    diff = catalogue.diff("two_branch_cond")
    assert diff.startswith("--- repro/two_branch_cond.py\n+++ fixed/two_branch_cond.py\n")
    assert "\n-    bn_train = batch_norm(\n" in diff


def test_a_case_loads_with_what_both_sides_share():
    repro, fixed = (
        catalogue.load(catalogue.find("two_branch_cond", side)) for side in catalogue.SIDES
    )
    assert repro.case == fixed.case
    assert repro.build is not fixed.build
