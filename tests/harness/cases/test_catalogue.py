"""The files of the catalogue: pairs, docstrings with their sections, and the diffs."""

import ast
import glob
import os
import re

import pytest
from support.paths import ROOT

from bnguard.harness.cases import catalogue, loading
from bnguard.harness.cases.case_file import CaseFile
from bnguard.harness.cases.docstring import Docstring
from bnguard.harness.cases.errors import UnavailableError
from bnguard.harness.results.terms import SIDES

SECTIONS = [
    "Title",
    "Symptom",
    "Also said as",
    "Cause",
    "Fix",
    "Already trained",
    "How to see it in your own program",
    "Reports",
]


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_every_file_has_its_counterpart():
    for side in SIDES:
        files = {name for name in os.listdir(os.path.join(ROOT, side)) if name.endswith(".py")}
        assert files == {f"{name}.py" for name in catalogue.names()}


def test_both_docstrings_of_a_case_have_the_same_sections():
    for name in catalogue.names():
        repro, fixed = (Docstring(catalogue.find(name, side)).sections for side in SIDES)
        for sections in (repro, fixed):
            assert [heading for heading in sections if heading != "Needs"] == SECTIONS
            assert all(sections.values())
        assert repro.pop("Title") != fixed.pop("Title")
        assert repro == fixed


def test_the_guide_for_a_new_case_lists_the_sections_in_their_order():
    with open("CONTRIBUTING.md", encoding="utf-8") as page:
        guide = " ".join(page.read().partition("The docstring has the sections ")[2].split())
    positions = [guide.index(heading) for heading in SECTIONS[1:]]
    assert positions == sorted(positions)
    assert positions[-1] < guide.index("2. ")


def test_the_two_sides_differ_in_title_and_construction_alone():
    """CASE and the imports from the harness are the same on both sides."""
    for name in catalogue.names():
        repro, fixed = (shared_parts(catalogue.find(name, side).path) for side in SIDES)
        assert repro == fixed


def test_every_file_runs_itself_before_it_imports_tensorflow():
    """The command line then imports TensorFlow quietly, or says what to install."""
    expected = "if __name__ == '__main__':\n    from bnguard.cli import main\n    main(__file__)"
    for name in catalogue.names():
        for side in SIDES:
            with open(catalogue.find(name, side).path, encoding="utf-8") as file:
                _, first, *_ = ast.parse(file.read()).body
            assert ast.dump(first) == ast.dump(ast.parse(expected).body[0])


def test_every_report_is_a_repository_and_number_or_a_page():
    for name in catalogue.names():
        reports = Docstring(catalogue.find(name, "repro")).reports
        if not reports[0].startswith("none found of exactly this; "):
            for report in reports:
                assert re.match(r"[\w.-]+/[\w.-]+#\d+( |$)|https://\S+( |$)", report), report


def test_every_rule_that_a_docstring_names_exists():
    pages = glob.glob(os.path.join(ROOT, "docs", "rules", "BN*.md"))
    rules = {title(page) for page in pages}
    for name in catalogue.names():
        section = Docstring(catalogue.find(name, "repro")).sections[
            "How to see it in your own program"
        ]
        named = re.findall(r"BN\d{3} [a-z]+(?:-[a-z]+)+", section)
        assert named or "bnguard audit" not in section
        assert set(named) <= rules


def title(page):
    with open(page, encoding="utf-8") as file:
        return file.readline()[len("# ") :].strip()


def test_a_case_that_cannot_be_imported_names_the_missing_package(tmp_path):
    path = tmp_path / "needy.py"
    path.write_text("import no_such_module")
    with pytest.raises(UnavailableError) as caught:
        loading.load(CaseFile("needy", "repro", str(path)))
    assert "repro/needy.py cannot run here: No module named 'no_such_module'" in str(caught.value)
    assert "Its docstring names the packages to install" in str(caught.value)


def test_sections_join_their_lines():
    sections = Docstring(catalogue.find("two_branch_cond", "repro")).sections
    assert sections["Title"] == (
        "Batch norm built twice, for training and for inference, outside tf.cond."
    )
    assert sections["Symptom"].startswith("moving_mean and moving_variance keep changing with is_")


def test_the_diff_is_a_patch_from_repro_to_fixed():
    diff = catalogue.diff("two_branch_cond")
    assert diff.startswith("--- repro/two_branch_cond.py\n+++ fixed/two_branch_cond.py\n")
    assert "\n-    bn_train = batch_norm(\n" in diff


def test_both_sides_of_a_case_load_with_equal_cases():
    repro, fixed = (loading.load(catalogue.find("two_branch_cond", side)) for side in SIDES)
    assert repro.case == fixed.case
    assert repro.build is not fixed.build
    assert repro.case is not fixed.case


def shared_parts(path):
    """A file without its construction: its imports but for layers and training, and CASE."""
    with open(path, encoding="utf-8") as file:
        body = ast.parse(file.read()).body
    own = ("bnguard.layers", "bnguard.training")
    imports = [
        ast.dump(node)
        for node in body
        if isinstance(node, (ast.Import, ast.ImportFrom)) and getattr(node, "module", "") not in own
    ]
    names = [node for node in body if isinstance(node, ast.Assign)]
    functions = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    return imports, [ast.dump(node) for node in names], functions
