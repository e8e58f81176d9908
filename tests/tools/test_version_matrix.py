"""The page of the version matrix: what it says of records, and that it is what is committed."""

import json
import os
import re
import runpy
from xml.etree import ElementTree

import pytest
from support.paths import ROOT

PAGE = runpy.run_path(os.path.join(ROOT, "tools", "version_matrix", "page.py"))
COMBINATIONS = PAGE["COMBINATIONS"]


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


@pytest.fixture(scope="module")
def environments():
    return json.loads(read("tools", "version_matrix", "environments.json"))


def side(verdict="drift", figure="1", shown=True):
    return {"verdict": verdict, "figure": figure, "shown": shown}


def case(repro=None, fixed=None):
    return {
        "measures": "mean moved by",
        "repro": repro or side(),
        "fixed": fixed or side("still", "0"),
    }


def recorded(*unlike, failed=(), skipped=(), **packages):
    """A record of one case, `one`, which is like the default but for (combination, outcome)."""
    outcomes = {**dict.fromkeys(COMBINATIONS, case()), **dict(unlike)}
    return {
        "commit": "5c6d7e8",
        "python": "3.8.18",
        "offers": {"contrib": "AttributeError: none", "tf.layers": "works", "tf_slim": "fails"},
        "tf.layers with tf_keras": "works with it",
        "cases": {combination: {"one": outcome} for combination, outcome in outcomes.items()},
        "seconds of cases": 59,
        "suite": {"passed": 7, "failed": list(failed), "skipped": list(skipped), "seconds": 605},
        "packages": {"tensorflow": "2.4.4", **packages},
    }


def rows(text, section):
    """The cells of the rows of the table below a heading."""
    found = re.search(rf"^#+ {section}\n\n(.*?)(?=^#|\Z)", text, re.DOTALL | re.MULTILINE)
    lines = [line for line in found.group(1).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def page(**records):
    return PAGE["page"](list(records), ["one"], records)


def test_an_environment_that_ran():
    text = page(a=recorded(failed=["tests.x::y"], skipped=["tests.z: why", "tests.v: why"]))
    (row,) = rows(text, "Environments")
    assert row[:4] == ["a", "3.8.18", "2.4.4", "5c6d7e8"]
    assert row[4:] == ["7", "1", "2", "10 min 05 s", "0 min 59 s", "4 shown"]
    assert "* tests.x::y (a)\n" in text
    assert "* tests.v: why (a)\n* tests.z: why (a)\n" in text


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"not run": "python3.8 is not on PATH"}, "python3.8 is not on PATH"),
        ({"python": "3.8.18", "offers": {}}, "no complete record"),
    ],
)
def test_an_environment_that_did_not_run(record, reason):
    text = page(a=record, b=recorded())
    assert rows(text, "Environments")[0][:2] == ["a", f"**not run**: {reason}"]
    assert rows(text, "one") == [["drift: 1", "still: 0", "on b"]]
    assert [row[0] for row in rows(text, "What TensorFlow itself offers")] == ["b"]


def test_what_tensorflow_offers():
    text = page(a=recorded(), b=recorded(tf_keras="2.16"))
    without, with_keras = rows(text, "What TensorFlow itself offers")
    assert without == ["a", "AttributeError: none", "works", "", "fails"]
    assert with_keras[3] == "works with it"


def test_outcomes_are_listed_together_where_the_words_are_the_same():
    other = case(side(figure="2"))
    text = page(a=recorded(("ref/v2", other)), b=recorded())
    assert rows(text, "one") == [["drift: 1; 2", "still: 0", "everywhere"]]


def test_many_figures_are_counted():
    unlike = [(c, case(side(figure=str(i)))) for i, c in enumerate(COMBINATIONS, 5)]
    assert rows(page(a=recorded(*unlike)), "one")[0][0] == "drift: 5; 6; 7; and 1 more"


def test_figures_in_words_are_distinguished():
    text = page(a=recorded(("ref/v2", case(side(figure="Error")))))
    assert [row[0] for row in rows(text, "one")] == ["drift: 1", "drift: Error"]


def test_what_deviates_says_where():
    odd = case(fixed=side("unclear", "0", shown=False))
    text = page(a=recorded(), b=recorded(("ref/v1", odd), ("resource/v2", odd)))
    assert rows(text, "one") == [
        ["drift: 1", "still: 0", "on a; ref/v2, resource/v1 on b"],
        ["drift: 1", "**not shown** (unclear): 0", "ref/v1, resource/v2 on b"],
    ]
    assert rows(text, "Environments")[1][-1] == "2 shown, 2 not shown"


def test_what_is_refused_says_so_without_the_version():
    message = "repro/one.py: phase build fails on TensorFlow {} with ref and fused=no: Bad | op."
    refused = [
        case({"refused": message.format(version) + " If it runs with other --x"})
        for version in ("1", "2")
    ]
    text = page(a=recorded(("ref/v2", refused[0])), b=recorded(("ref/v2", refused[1])))
    assert "| refused: Bad \\| op. | still: 0 | ref/v2 everywhere |" in text
    assert rows(text, "Environments")[0][-1] == "3 shown, 1 refused"


def test_a_case_without_a_record_says_so():
    text = PAGE["page"](["a"], ["new", "one"], {"a": recorded()})
    assert rows(text, "new") == [["not recorded", "not recorded", "everywhere"]]


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("", ("passed", "a::b")),
        ("<failure message='x'/>", ("failed", "a::b")),
        ("<error message='x'/>", ("failed", "a::b")),
        ("<skipped message='why'/>", ("skipped", "a::b: why")),
        ("<skipped message='why'/><error message='x'/>", ("failed", "a::b")),
        (
            "<skipped message='collection skipped'>('x.py', 3, 'Skipped: why')</skipped>",
            ("skipped", "a::b: why"),
        ),
    ],
)
def test_what_is_recorded_of_a_test(monkeypatch, inside, expected):
    monkeypatch.syspath_prepend(os.path.join(ROOT, "tools", "version_matrix"))
    record = runpy.run_path(os.path.join(ROOT, "tools", "version_matrix", "record.py"))
    test = ElementTree.fromstring(f"<testcase classname='a' name='b'>{inside}</testcase>")
    assert record["tested"](test) == expected


def test_the_page_is_what_the_records_say():
    written = PAGE["page"](PAGE["environments"](), PAGE["cases"](), PAGE["results"]())
    assert read("docs", "matrix.md") == written, "stale: run `python tools/version_matrix/page.py`"


def test_the_page_names_every_environment_and_case(environments):
    text = read("docs", "matrix.md")
    assert [row[0] for row in rows(text, "Environments")] == [
        environment["name"] for environment in environments
    ]
    for name in PAGE["cases"]():
        assert f"\n### {name}\n" in text


def test_the_workflow_lists_every_environment(environments):
    listed = re.findall(
        r'{environment: (\S+), python: "(\S+)"}', read(".github", "workflows", "matrix.yml")
    )
    assert listed == [(environment["name"], environment["python"]) for environment in environments]


def test_an_environments_name_says_its_versions(environments):
    for environment in environments[:-1]:
        (tensorflow,) = [what for what in environment["bare"] if what.startswith("tensorflow==")]
        assert environment["name"] == tensorflow.replace(
            "tensorflow==", environment["python"] + "-tf"
        )
    assert environments[-1]["name"] == "lowest"
