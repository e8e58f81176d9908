"""The comparison of reports, on a few graphs."""

import json

import compare_reports
import pytest

pytestmark = pytest.mark.slow  # builds a case in every build


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graphs")
    compare_reports.generate(folder, cases=["freeze_keeps_assign"], programs=3)
    return folder


def test_networks_cases_and_programs_are_generated(graphs):
    names = {path.name for path in graphs.iterdir()}
    assert {"program-00000.pb", "program-00002.pb.json"} <= names
    assert "case-freeze_keeps_assign-repro-None-ref-v1.meta" in names
    assert len([name for name in names if name.endswith(".meta.json")]) > 24


def test_a_version_reports_the_same_as_itself_and_another_report_is_noticed(
    graphs, tmp_path, capsys
):
    few = tmp_path / "few"
    few.mkdir()
    for path in [*graphs.glob("program-*"), *graphs.glob("case-*-None-*")]:
        (few / path.name).write_bytes(path.read_bytes())
    before, after = tmp_path / "before", tmp_path / "after"
    compare_reports.record(few, before)
    compare_reports.record(few, after)
    assert compare_reports.compare(before, after) == 0
    assert "; 0 reports differ" in capsys.readouterr().out
    lines = after.read_text().splitlines()
    changed = next(k for k, line in enumerate(lines) if json.loads(line)["report"]["findings"])
    line = json.loads(lines[changed])
    del line["report"]["findings"][0]
    lines[changed] = json.dumps(line, sort_keys=True)
    after.write_text("\n".join(lines))
    assert compare_reports.compare(before, after) == 1
    assert "; 1 reports differ" in capsys.readouterr().out
    after.write_text("\n".join(lines[1:]))
    assert compare_reports.compare(before, after) == 1
