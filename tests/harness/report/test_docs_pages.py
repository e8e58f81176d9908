"""The generated pages, and generated parts of pages, are complete, linked and committed."""

import os
import re

import pytest
from support.paths import ROOT

from bnguard.analysis.limits import Limit
from bnguard.analysis.rules import RULES
from bnguard.errors import BnguardError
from bnguard.harness.cases import catalogue
from bnguard.harness.cases.docstring import Docstring
from bnguard.harness.report import docs_pages
from bnguard.harness.report.docs_pages import filled, read
from bnguard.harness.results.terms import SIDES

pytestmark = pytest.mark.slow

STALE = "stale: run `make docs`"
BEGIN, END = "<!-- part:begin -->", "<!-- part:end -->"
PARTS = {
    docs_pages.README: {"audit"},
    docs_pages.WHICH_DEFECT: {"symptoms"},
    docs_pages.RULES_PAGE: {"rules"},
    docs_pages.HOW_IT_DECIDES: {"training-flags", "limits"},
    docs_pages.RESCUE: {"cases"},
}
PAGES = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "checkpoints/README.md"]
PAGES += ["docs/rules/README.md"]
PAGES += [
    f"docs/{name}" for name in sorted(os.listdir(os.path.join(ROOT, "docs"))) if ".md" in name
]


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def cases():
    return [catalogue.find(name, "repro") for name in catalogue.names()]


def test_the_catalogue_is_current(cases):
    assert read(docs_pages.CATALOGUE) == docs_pages.catalogue_page(cases), STALE


def test_the_generated_parts_of_pages_are_current(cases):
    generated = docs_pages.generated_parts(cases)
    assert {page: set(parts) for page, parts in generated.items()} == PARTS
    for page, parts in generated.items():
        assert read(page) == filled(page, read(page), parts), STALE


def test_every_case_and_every_report_is_in_the_catalogue(cases):
    page = docs_pages.catalogue_page(cases)
    for case in cases:
        assert f"\n## {case.name}\n" in page
        assert catalogue.diff(case.name) in page
        for report in Docstring(case).reports:
            number = report.split(" ")[0]
            assert number in page
            if "#" in number:
                assert f"(https://github.com/{number.replace('#', '/issues/')})" in page


def test_the_symptom_table_links_each_symptom_to_its_case(cases):
    _, _, *rows = docs_pages.symptom_table(cases).splitlines()
    assert len(rows) == len(cases)
    for row, case in zip(rows, cases):
        symptom, link = row.strip("| ").split(" | ")
        assert Docstring(case).sections["Symptom"].startswith(symptom)
        assert link == f"[{case.name}](catalogue.md#{case.name})"


def test_the_table_of_rescues_has_a_verdict_and_a_reason_for_each_case(cases):
    _, _, *rows = docs_pages.rescue_table(cases).splitlines()
    assert len(rows) == len(cases)
    for row, case in zip(rows, cases):
        link, verdict, how = row.strip("| ").split(" | ")
        assert link == f"[{case.name}](catalogue.md#{case.name})"
        assert verdict in ("Yes", "No", "Not needed")
        assert f"**Already trained.** {verdict}. {how}" in docs_pages.catalogue_page([case])


def test_the_audit_example_finds_that_the_update_ops_of_the_network_never_run():
    example = docs_pages.audit_example()
    assert example.startswith(f"```console\n$ {docs_pages.AUDIT_COMMAND}\nmodel.meta: assumed ")
    assert "\nBN201 update-ops-never-run (error)\n" in example
    assert "98 running statistics" in example  # 49 layers
    assert example.endswith("\n```")


def test_an_audit_example_that_finds_nothing_is_refused(monkeypatch):
    monkeypatch.setattr(docs_pages, "AUDIT_COMMAND", "bnguard audit model.meta --select BN302")
    with pytest.raises(BnguardError, match=r"exit status 0 .*; expected 1"):
        docs_pages.audit_example()


def test_the_table_of_rules_links_each_rule_to_its_page():
    _, _, *rows = docs_pages.rules_table(RULES).splitlines()
    assert len(rows) == len(RULES)
    for row, rule in zip(rows, RULES):
        assert f"[{rule.code}]({rule.code}.md) | {rule.name} | Finds " in row
        assert row.endswith(". |")
        assert os.path.exists(os.path.join("docs", "rules", f"{rule.code}.md"))


def test_a_rule_without_a_first_sentence_is_refused():
    class Undocumented:
        code, module, name, summary = "BN999", "rules.undocumented", "undocumented", ""

    with pytest.raises(BnguardError, match=r"^BN999: its documentation has no sentence below"):
        docs_pages.rules_table([Undocumented])


def test_the_table_of_limits_has_a_row_for_each_limit():
    source = read(os.path.join("bnguard", "analysis", "limits.py"))
    count = len(re.findall(r"^[A-Z_]+ = Limit\(", source, re.MULTILINE))
    _, _, *rows = docs_pages.limits_table(docs_pages.all_limits()).splitlines()
    assert count > 20
    assert len(rows) == count


def test_a_limit_is_shown_with_its_unit_consequence_and_reason():
    table = docs_pages.limits_table([Limit(4096, "nodes", "memory", "the rest is ignored")])
    assert table.splitlines()[-1] == "| 4,096 nodes | the rest is ignored | memory |"


def test_a_part_replaces_what_was_between_its_markers():
    page = filled("page.md", f"before\n{BEGIN}\n<old>\n{END}\nafter\n", {"part": "new"})
    assert page == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    assert filled("page.md", page, {"part": "new"}) == page


@pytest.mark.parametrize("text", ["", BEGIN, f"{END} {BEGIN}"])
def test_missing_markers_are_refused(text):
    with pytest.raises(BnguardError, match=r"^page\.md: found no <!-- part:begin --> with"):
        filled("page.md", text, {"part": "new"})


def anchor(heading):
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_leads_to_a_file_and_a_heading(page):
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", read(page))
    for path, heading in links:
        target = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
        assert os.path.exists(target), f"{page} links to {path}"
        if heading:
            headings = re.findall(r"^#+ (.+)$", read(target), re.MULTILINE)
            assert heading in map(anchor, headings), f"{page} links to {path}#{heading}"


def test_main_writes_every_page(monkeypatch, tmp_path, cases):
    for folder in (*SIDES, "tests"):
        os.symlink(os.path.join(ROOT, folder), str(tmp_path / folder))
    monkeypatch.chdir(tmp_path)
    os.makedirs(os.path.join("docs", "rules"))
    for page, names in PARTS.items():
        with open(page, "w", encoding="utf-8") as file:
            file.writelines(f"<!-- {name}:begin --><!-- {name}:end -->\n" for name in names)
    docs_pages.main()
    assert read(docs_pages.CATALOGUE) == docs_pages.catalogue_page(cases)
    assert docs_pages.symptom_table(cases) in read(docs_pages.WHICH_DEFECT)
    assert docs_pages.limits_table(docs_pages.all_limits()) in read(docs_pages.HOW_IT_DECIDES)
