"""The pages made from the docstrings are complete, linked and committed."""

import os

import pytest
from support.paths import ROOT

from bnguard.errors import BnguardError
from bnguard.harness.cases import catalogue
from bnguard.harness.cases.docstring import Docstring
from bnguard.harness.report import docs_pages
from bnguard.harness.results.terms import SIDES

STALE = "stale: run `python -m bnguard.harness.report.docs_pages` in the checkout"


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def cases():
    return [catalogue.find(name, "repro") for name in catalogue.names()]


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def test_the_catalogues_page_is_up_to_date(cases):
    assert read(docs_pages.PAGE) == docs_pages.catalogue_page(cases), STALE


def test_the_readmes_table_is_up_to_date(cases):
    assert read(docs_pages.README) == docs_pages.with_symptoms(read(docs_pages.README), cases), (
        STALE
    )


def test_every_case_and_every_report_is_on_the_page(cases):
    page = docs_pages.catalogue_page(cases)
    for case in cases:
        assert f"\n## {case.name}\n" in page
        assert catalogue.diff(case.name) in page
        for report in Docstring(case).reports:
            number = report.split(" ")[0]
            assert number in page
            if "#" in number:
                assert f"(https://github.com/{number.replace('#', '/issues/')})" in page


def test_the_table_has_a_row_of_four_for_each_case(cases):
    rows = docs_pages.symptom_table(cases).splitlines()
    assert len(rows) == 2 + len(cases)
    for row in rows:
        assert row.count(" | ") == 3


def test_the_table_replaces_what_was_between_the_markers(cases):
    readme = f"before\n{docs_pages.BEGIN}\n<old>\n{docs_pages.END}\nafter\n"
    new = docs_pages.with_symptoms(readme, cases)
    assert new.startswith(f"before\n{docs_pages.BEGIN}\n| what you see |")
    assert new.endswith(f"|\n{docs_pages.END}\nafter\n")
    assert "<old>" not in new
    assert docs_pages.with_symptoms(new, cases) == new


@pytest.mark.parametrize("readme", ["", docs_pages.BEGIN, f"{docs_pages.END} {docs_pages.BEGIN}"])
def test_missing_markers_are_a_mistake(cases, readme):
    with pytest.raises(BnguardError, match="the table of symptoms belongs between"):
        docs_pages.with_symptoms(readme, cases)


def test_main_writes_both_pages(monkeypatch, tmp_path, cases):
    for side in SIDES:
        os.symlink(os.path.join(ROOT, side), str(tmp_path / side))
    monkeypatch.chdir(tmp_path)
    os.mkdir("docs")
    with open(docs_pages.README, "w", encoding="utf-8") as file:
        file.write(f"{docs_pages.BEGIN}{docs_pages.END}")
    docs_pages.main()
    assert read(docs_pages.PAGE) == docs_pages.catalogue_page(cases)
    assert docs_pages.symptom_table(cases) in read(docs_pages.README)
