"""Markdown, as markdown-it reads it: the table, the flowchart, and names that look like markup."""

from dataclasses import replace

from markdown_it import MarkdownIt
from support.analysis.reports import HOSTILE, REPORTS, finding, report

from bnguard.analysis.findings import Location, Op
from bnguard.analysis.formatters import format_reports
from bnguard.analysis.formatters.lines import markdown_cell

PATH = (Op("y", "Relu"), Op("bn/AssignMovingAvg", "AssignSub"))


def parsed(*reports, errors=()):
    """Return the tokens of a document."""
    text = format_reports(reports, "markdown", errors=errors)
    return MarkdownIt().enable("table").parse(text)


def shown(tokens, kind):
    """Return what a browser shows of each element of a kind, such as "td"; links as [text]."""
    found = []
    for token, after in zip(tokens, tokens[1:]):
        if token.tag == kind and token.nesting == 1:
            forms = {"link_open": "[", "link_close": "]", "html_inline": "\n"}
            parts = [forms.get(child.type, child.content) for child in after.children or ()]
            found.append("".join(parts))
    return found


def diagrams(tokens):
    return [token.content for token in tokens if token.type == "fence" and token.info == "mermaid"]


def test_there_is_a_row_for_each_cause():
    at = Location("models/net.py", 42, "block", "h = bn(h)")
    both = report(
        finding(location=at, remedy="Build it with `is_training=False`"),
        finding(variable="bn/moving_variance", remedy="Build it with `is_training=False`"),
        finding(rule="BN302", certain=False, variable="", layer="", op="x|y", problem="is left"),
    )
    tokens = parsed(both)
    assert shown(tokens, "h2") == ["bnguard: 2 defects in 1 graph"]
    assert shown(tokens, "th") == ["rule", "severity", "what is wrong, and what to do", "where"]
    first, second = (shown(tokens, "td")[start : start + 4] for start in (0, 4))
    assert first == [
        "[BN101] statistics-written-at-inference",
        "error",
        "2 running statistics are written by AssignSub.\nBuild it with is_training=False.",
        f"{both.source}\nmodels/net.py:42 in block",
    ]
    assert second[:2] == ["[BN302] assign-left-in-frozen-graph", "error, not certain"]
    assert second[2].startswith("x|y is left.\n")
    assert len(shown(tokens, "td")) == 8
    links = [
        child.attrs["href"]
        for token in tokens
        for child in token.children or ()
        if child.type == "link_open"
    ]
    assert [link.rstrip("/").rpartition("/")[2] for link in links] == ["BN101", "BN302"]


def test_the_heading_tells_nothing_found_from_nothing_read():
    clean = report()
    assert shown(parsed(clean), "h2") == ["bnguard: nothing found in 1 graph"]
    assert shown(parsed(clean, errors=["a"]), "h2") == ["bnguard: nothing found in 1 graph"]
    assert shown(parsed(errors=["a"]), "h2") == ["bnguard: nothing could be read"]


def test_the_paths_are_a_flowchart_as_mermaid_has_it():
    one = report(finding(path=PATH))
    (diagram,) = diagrams(parsed(one))
    assert diagram.rstrip() == format_reports([one], "mermaid")
    assert not diagrams(parsed(report(finding(path=()))))


def test_of_many_causes_the_first_are_drawn():
    many = report(*[finding(problem=f"is {number}", path=PATH) for number in range(12)])
    tokens = parsed(many)
    (diagram,) = diagrams(tokens)
    assert diagram.count("subgraph") == 10
    assert "From what is fetched to the op at fault, of the first 10 of 12:" in shown(tokens, "p")
    assert len(shown(tokens, "td")) == 4 * 12


def test_more_causes_than_a_summary_may_have_are_counted():
    many = report(*[finding(problem=f"is {number}", path=()) for number in range(205)])
    tokens = parsed(many)
    assert len(shown(tokens, "td")) == 4 * 200
    assert "and 5 more (--format json has all)" in shown(tokens, "p")


def test_what_passes_or_could_not_be_read_is_told():
    tokens = parsed(replace(report(), known=3), errors=["a.pb: a label map"])
    assert shown(tokens, "h2") == ["bnguard: nothing found in 1 graph"]
    items = [text for text in shown(tokens, "p") if text]
    assert items == [
        "3 more findings known by the baseline",
        "could not be read: a.pb: a label map",
    ]
    assert shown(parsed(), "h2") == ["bnguard: nothing found in 0 graphs"]


def test_a_name_is_no_markup():
    name = f"{HOSTILE} **b** <b>x</b> | [l](u) `c` ![i](j)\n| # ~~s~~"
    tokens = parsed(report(finding(variable=name, layer="", remedy="Look at `a", path=())))
    row = shown(tokens, "td")
    assert len(row) == 4
    assert "**b** <b>x</b> | [l](u) `c` ![i](j)" in row[2]
    assert row[2].endswith("Look at `a.")
    kinds = {child.type for token in tokens for child in token.children or ()}
    assert kinds <= {"text", "link_open", "link_close", "html_inline", "text_special"}


def test_the_reports_of_all_formats_can_be_shown():
    assert shown(parsed(*REPORTS), "h2")


def test_a_name_is_no_link_and_no_entity():
    assert markdown_cell("https://x.org www.x.org &#96;") == r"https\://x.org www\.x.org \&#96;"
