"""Compare the reports of two versions of bnguard, finding for finding.

    python tools/compare_reports.py generate GRAPHS        # the graphs, and what is asked of each
    python tools/compare_reports.py record GRAPHS OUT      # the reports of the bnguard on sys.path
    python tools/compare_reports.py compare BEFORE AFTER   # exit status 1 if any report differs

The graphs are all committed networks, both sides of every case in every build, and random
programs. Messages and remedies are left out, as they are prose, and so is the order of training
flags. Everything else must be equal, in order.

To record another version, put its checkout first on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
NETWORKS = ROOT / "tests" / "data" / "networks"
SHOWN = 20  # reports that differ
NOT_OF_THE_GRAPH = ("limits", "copies", "known", "configured_by")
PROSE = ("problem", "remedy", "message")
BUILDS = [
    (fused, variables, control_flow)
    for fused in (None, True, False)
    for variables in ("ref", "resource")
    for control_flow in ("v1", "v2")
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    generate_parser = commands.add_parser("generate")
    generate_parser.add_argument("graphs", type=pathlib.Path)
    generate_parser.add_argument("--cases", nargs="+", help="names of cases; all by default")
    generate_parser.add_argument("--programs", type=int, default=10000, help="how many; 10000")
    record_parser = commands.add_parser("record")
    record_parser.add_argument("graphs", type=pathlib.Path)
    record_parser.add_argument("out", type=pathlib.Path)
    compare_parser = commands.add_parser("compare")
    compare_parser.add_argument("before", type=pathlib.Path)
    compare_parser.add_argument("after", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.command == "generate":
        generate(arguments.graphs, arguments.cases, arguments.programs)
    elif arguments.command == "record":
        record(arguments.graphs, arguments.out)
    else:
        sys.exit(compare(arguments.before, arguments.after))


def generate(folder, cases, programs):
    """Write each graph beside a JSON list of the questions to ask of it."""
    folder.mkdir(parents=True, exist_ok=True)
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    _generate_networks(folder)
    _generate_cases(folder, cases)
    _generate_programs(folder, programs)


def _generate_networks(folder):
    for packed in sorted(NETWORKS.glob("*.meta.xz")):
        _write(folder / packed.stem, lzma.decompress(packed.read_bytes()), [{}])


def _generate_cases(folder, cases):
    from support.graphs import build_with
    import tensorflow.compat.v1 as tf

    from bnguard.harness.cases import catalogue
    from bnguard.harness.cases.loading import load
    from bnguard.harness.results.terms import SIDES

    tf.disable_eager_execution()
    for name in cases or catalogue.names():
        for side in SIDES:
            case = load(catalogue.find(name, side))
            for build in BUILDS:
                try:
                    with tf.Graph().as_default() as graph, build_with(*build[1:]):
                        questions = _questions(case.build(build[0]))
                        data = _meta_graph(tf, graph)
                except ValueError as refusal:  # control flow v2 refuses one case's defect
                    print(f"{name} {side} {build}: {refusal}")
                    continue
                path = folder / f"case-{name}-{side}-{'-'.join(map(str, build))}.meta"
                _write(path, data, questions)


def _meta_graph(tf, graph):
    saver = tf.train.Saver() if tf.global_variables() else None
    meta = tf.train.export_meta_graph(
        graph=graph, saver_def=saver and saver.as_saver_def(), strip_default_attrs=False
    )
    return meta.SerializeToString()


def _questions(model):
    """Return the questions: nothing given; the output alone; the case's own fetches and feeds."""
    import tensorflow.compat.v1 as tf

    run = model.inference
    feeds = {model.x.name: None, **{key.name: value for key, value in run.feed.items()}}
    fetches = [training.fetch for training in model.training]
    train_ops = {fetch.name for fetch in tf.nest.flatten(fetches)}
    return [
        {},
        {"fetches": [run.output.name]},
        {
            "fetches": [run.output.name, *(fetch.name for fetch in run.beside)],
            "feeds": feeds,
            "train_op": sorted(train_ops) if len(fetches) == 1 else None,
        },
    ]


def _generate_programs(folder, count):
    from hypothesis import HealthCheck, Phase, given, seed, settings
    from support.analysis.random_programs import Program, recipes
    import tensorflow.compat.v1 as tf

    tf.disable_eager_execution()
    made = 0

    @seed(17)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(recipes())
    def generate_one(recipe):
        nonlocal made
        program = Program(recipe)
        questions = [
            {},
            {"fetches": [program.fetch.name], "feeds": program.known_feeds},
            {"fetches": [program.fetch.name]},
        ]
        data = program.graph.as_graph_def().SerializeToString()
        _write(folder / f"program-{made:05d}.pb", data, questions)
        made += 1

    generate_one()


def _write(path, data, questions):
    path.write_bytes(data)
    path.with_name(path.name + ".json").write_text(json.dumps(questions))


def record(folder, out):
    """Write one line for each question: the graph's name, the question, and the report."""
    import bnguard
    from bnguard.errors import BnguardError

    print(f"bnguard of {os.path.dirname(bnguard.__file__)}")
    with open(out, "w", encoding="utf-8") as file:
        for path in sorted(folder.glob("*.json")):
            graph = path.with_suffix("")
            for question in json.loads(path.read_text()):
                line = {"graph": graph.name, "question": question}
                try:
                    line["report"] = _document(bnguard.audit(str(graph), **question))
                except BnguardError as error:
                    line["error"] = type(error).__name__
                file.write(json.dumps(line, sort_keys=True) + "\n")


def _document(report):
    document = report.as_json() if hasattr(report, "as_json") else report.to_dict()
    del document["source"]
    for field in NOT_OF_THE_GRAPH:
        document.pop(field, None)
    for finding in document["findings"]:
        finding.pop("fingerprint", None)
        for field in PROSE:
            del finding[field]
    return document


def compare(before, after):
    """Print what differs in the first reports that do; 1 if there are any."""
    old, new = (
        [_normalized(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for path in (before, after)
    )
    different = [pair for pair in zip(old, new) if pair[0] != pair[1]]
    for was, now in different[:SHOWN]:
        print(was["graph"], json.dumps(was["question"]))
        print("\n".join(_differences(was.get("report", was), now.get("report", now))), end="\n\n")
    findings = sum(len(line.get("report", {}).get("findings", ())) for line in old)
    print(
        f"{len(old)} and {len(new)} reports, {findings} findings; {len(different)} reports differ"
    )
    return int(bool(different) or len(old) != len(new))


def _normalized(line):
    """Return the record of a line, with the training flags in the order of their names."""
    record = json.loads(line)
    if "report" in record:
        record["report"]["assumed"]["flags"].sort()
    return record


def _differences(was, now):
    for key in sorted({*was, *now} - {"findings"}):
        if was.get(key) != now.get(key):
            yield f"  {key}: {was.get(key)} -> {now.get(key)}"
    old, new = (
        [json.dumps(finding, sort_keys=True) for finding in report.get("findings", ())]
        for report in (was, now)
    )
    for sign, lines, others in (("-", old, new), ("+", new, old)):
        for line in lines:
            if line not in others:
                finding = json.loads(line)
                path = " <- ".join(op["name"] for op in finding.pop("path"))
                yield f"  {sign} {finding} {path[:200]}"


if __name__ == "__main__":
    main()
