"""Reports as text, JSON and Mermaid."""

import dataclasses
import json
import os
import re

import jsonschema
import pytest
from support.analysis.reports import HOSTILE, REPORTS, finding, report
from support.paths import ROOT

from bnguard.analysis.findings import Frame, Location, Op
from bnguard.analysis.formatters import FORMATS, format_reports

AT = Location("models/net.py", 42, "block", "h = bn(h)", (Frame("models/net.py", 42, "", ""),))
LOCATED = [report(finding(location=AT))]


class TestNotes:
    NOTED = report(finding(severity="note"))

    def test_a_note_is_no_defect(self):
        assert self.NOTED.ok
        assert not report(finding()).ok
        assert not report(finding(severity="warning")).ok

    def test_text_counts_notes_apart_and_heads_them(self):
        text = format_reports([self.NOTED], "text")
        assert "1 running statistic: 1 note\n" in text
        assert "BN101 statistics-written-at-inference (note)" in text
        both = report(finding(), finding(severity="note"))
        assert "1 running statistic: 1 defect, 1 note\n" in format_reports([both], "text")


class TestLocations:
    def test_text_shows_each_line_once_and_three_at_most(self):
        at = [AT._replace(line=line) for line in (42, 42, 43, 44, 45, 46)]
        text = format_reports([report(*[finding(location=place) for place in at])], "text")
        assert text.count("built at models/net.py:42 in block: h = bn(h)\n") == 1
        assert text.count("built at") == 3
        assert "    and at 2 more lines (--format json has all)\n" in text


class TestMermaid:
    """Every line is one of the few forms of a flowchart that we use, whatever ops are called."""

    LABEL = r'\["([^"<>\[\]`|\n]|<br/>)*"\]'
    LINES = (
        rf"  subgraph g\d+{LABEL}",
        rf"    g\d+n\d+{LABEL}",
        r"    g\d+n\d+ --> g\d+n\d+",
        r"  end",
        rf"  clean{LABEL}",
    )

    def check(self, text):
        first, *lines = text.split("\n")
        assert first == "flowchart LR"
        for line in lines:
            assert any(re.fullmatch(form, line) for form in self.LINES), line
        assert sum(line == "  end" for line in lines) == sum("subgraph" in line for line in lines)
        declared = set(re.findall(r"^    (\w+)\[", text, re.MULTILINE))
        used = set(re.findall(r"^    (\w+) --> (\w+)$", text, re.MULTILINE))
        assert {node for edge in used for node in edge} <= declared
        return lines

    def test_findings_with_one_cause_are_one_subgraph(self):
        lines = self.check(format_reports(REPORTS, "mermaid"))
        assert lines[0] == '  subgraph g0["BN101 bn/moving_mean and 1 more"]'
        assert lines[1] == '    g0n0["y<br/>Relu"]'
        assert lines[3] == "    g0n0 --> g0n1"
        assert sum("subgraph" in line for line in lines) == 3

    def test_markup_in_a_name_is_escaped_as_mermaid_does(self):
        label = format_reports([report(finding(path=(Op('a"b', "X"),)))], "mermaid").split("\n")[2]
        assert label == '    g0n0["a#34;b<br/>X"]'

    def test_nothing_found_is_a_flowchart_too(self):
        assert self.check(format_reports(REPORTS[1:], "mermaid")) == ['  clean["nothing found"]']
        unread = self.check(format_reports([], "mermaid", errors=["a.pb: no graph"]))
        assert unread == ['  clean["nothing could be read"]']


class TestJson:
    @pytest.mark.parametrize("reports", [REPORTS, REPORTS[:1], []], ids=len)
    def test_the_shape_is_the_same_for_any_number_of_reports(self, reports):
        document = json.loads(format_reports(reports, "json", errors=["a.pb: no graph"]))
        assert document == {
            "version": 1,
            "reports": [json.loads(json.dumps(report.to_dict())) for report in reports],
            "errors": ["a.pb: no graph"],
        }

    @pytest.mark.parametrize("reports", [REPORTS, LOCATED, []], ids=["some", "located", "none"])
    def test_it_is_valid_by_the_schema_in_the_docs(self, reports):
        document = json.loads(format_reports(reports, "json", errors=["a.pb: no graph"]))
        validator = schema_validator()
        assert list(validator.iter_errors(document)) == []

    @pytest.mark.parametrize(
        ("part", "change"),
        [
            ((), {"more": 1}),
            (("reports", 0), {"nodes": -1}),
            (("reports", 0), {"more": 1}),
            (("reports", 0, "findings", 0), {"severity": "fatal"}),
            (("reports", 0, "findings", 0), {"fingerprint": "0"}),
            (("reports", 0, "findings", 0, "location"), {"line": "1"}),
            (("reports", 0, "assumed"), {"unknown": ["flag"]}),
        ],
    )
    def test_the_schema_refuses_another_shape(self, part, change):
        document = json.loads(format_reports(LOCATED, "json"))
        changed = document
        for key in part:
            changed = changed[key]
        changed.update(change)
        assert list(schema_validator().iter_errors(document))


def schema_validator():
    with open(os.path.join(ROOT, "docs", "schema", "report.json"), encoding="utf-8") as file:
        schema = json.load(file)
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


class TestText:
    def test_findings_with_one_cause_are_one_group(self):
        text = format_reports(REPORTS[:1], "text")
        assert text.splitlines()[1] == "3 nodes, 1 running statistic: 3 defects"
        assert text.count("BN101") == 1
        assert "2 running statistics are written by AssignSub" in text
        assert "BN302 assign-left-in-frozen-graph (error, not certain)" in text

    def test_a_layer_that_is_called_twice_counts_once(self):
        layers = ("a", "b", "b")
        calls = [
            finding(
                rule="BN103", variable="", layer=layer, op=f"{layer}/{number}", problem="is bad"
            )
            for number, layer in enumerate(layers)
        ]
        assert "  2 layers are bad\n    a, b\n" in format_reports([report(*calls)], "text")
        assert "  b is bad\n" in format_reports([report(*calls[1:])], "text")

    def test_each_remedy_is_told_with_what_it_cures(self):
        both = report(finding(), finding(variable="bn/moving_variance", remedy="Do it"))
        text = format_reports([both], "text")
        assert "  bn/moving_mean is written by AssignSub\n" in text
        assert text.count("To do: Do not.") == text.count("To do: Do it.") == 1

    def test_color_is_added_and_nothing_else(self):
        colored = format_reports(REPORTS, "text", color=True)
        assert "\033[31mBN101" in colored
        assert "\033[33mBN205" in colored
        assert re.sub(r"\033\[\d+m", "", colored) == format_reports(REPORTS, "text")


@pytest.mark.parametrize("form", FORMATS)
def test_every_name_can_be_formatted(form):
    assert format_reports([report(finding(variable=HOSTILE, layer=HOSTILE, op=HOSTILE))], form)


@pytest.mark.parametrize("form", ["text", "html"])
def test_other_files_with_the_same_graph_are_listed(form):
    several = [f"runs/model.ckpt-{step}00.meta" for step in range(30)]
    one = dataclasses.replace(REPORTS[1], copies=tuple(several[:2]))
    assert f"the same graph: {several[0]}, {several[1]}" in format_reports([one], form)
    many = dataclasses.replace(one, copies=tuple(several))
    text = " ".join(format_reports([many], form).split())
    assert f"{several[19]} and 10 more (--format json has all)" in text
    assert "the same graph" not in format_reports(REPORTS, form)


def test_errors_are_on_the_page():
    assert "Error: a.pb: no graph" in format_reports([], "html", errors=["a.pb: no graph"])


def test_known_findings_are_counted_and_a_configuration_is_named():
    one = dataclasses.replace(report(finding()), known=3, configured_by="setup.cfg")
    first, second, *_ = format_reports([one], "text").splitlines()
    assert first.endswith("nothing assumed, configured by setup.cfg")
    assert second.endswith("1 running statistic: 1 defect, 3 findings known by the baseline")
    second = format_reports([dataclasses.replace(one, findings=())], "text").splitlines()[1]
    assert second.endswith(": nothing new, 3 findings known by the baseline")
