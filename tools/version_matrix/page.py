"""Write docs/matrix.md from what the environments of the matrix have recorded.

    python tools/version_matrix/page.py

It reads environments.json and results/*.json beside it, and needs only the standard library.
"""

from collections import Counter
import json
import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PAGE = os.path.join(ROOT, "docs", "matrix.md")
COMBINATIONS = ("ref/v1", "ref/v2", "resource/v1", "resource/v2")
SHOWN_FIGURES = 3
SIDES = ("repro", "fixed")
INTRODUCTION = """\
# What works on which TensorFlow

`make matrix` runs the test suite and every case in each of these environments. It creates one
environment after another, records the results in `tools/version_matrix/results/`, deletes the
environment, and writes this page. `tools/version_matrix/environments.json` lists what is installed
in each. The environment `lowest` has the lower bounds of `setup.cfg`.

* A combination such as `ref/v2` is the class of the variables and the version of the control flow.
* The environment of TensorFlow 2.20 pins `protobuf<7`. TensorFlow 2.20 accepts protobuf 7, but then
  cannot write a graph as text, which `MonitoredSession` does.
* On TensorFlow 1.15 the suite compares the layers with `tf.contrib` for a sample of all
  combinations of arguments. `make parity` compares them for all.
"""


def main():
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write(page(environments(), cases(), results()))


def environments():
    """Return the names of all environments, in their order."""
    with open(os.path.join(HERE, "environments.json"), encoding="utf-8") as file:
        return [environment["name"] for environment in json.load(file)]


def cases():
    """Return the names of all cases, sorted."""
    files = os.listdir(os.path.join(ROOT, "repro"))
    return sorted(name[: -len(".py")] for name in files if name.endswith(".py"))


def results():
    """Return the records, by the name of the environment."""
    found = {}
    for name in environments():
        path = os.path.join(HERE, "results", name + ".json")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                found[name] = json.load(file)
    return found


def page(names, catalogue, recorded):
    """Return the page, in Markdown.

    Args:
      names: of all environments.
      catalogue: the names of all cases.
      recorded: name -> what `record.py` wrote of it, or a dict with the reason for `not run`.
    """
    complete = {name: recorded[name] for name in names if "suite" in recorded.get(name, {})}
    sections = [
        INTRODUCTION,
        "## Environments\n\n" + environments_table(names, recorded),
        "## What TensorFlow itself offers\n\n" + offers_table(complete),
        "## Installed\n\n" + packages_table(complete),
        "## Tests that failed\n\n" + tests_list(complete, "failed"),
        "## Tests that were skipped\n\n" + tests_list(complete, "skipped"),
        "## What the cases did\n\n" + cases_text(catalogue, complete, names),
    ]
    return "\n".join(sections)


def environments_table(names, recorded):
    head = ["environment", "Python", "TensorFlow", "commit", "passed", "failed", "skipped"]
    rows = [environment_row(name, recorded.get(name, {})) for name in names]
    return table([*head, "suite", "cases", "of these"], rows)


def environment_row(name, result):
    if "suite" not in result:
        return [name, "**not run**: " + result.get("not run", "no complete record"), *[""] * 8]
    tests, counts = result["suite"], Counter(verdicts(result))
    return [
        name,
        result["python"],
        result["packages"]["tensorflow"],
        result["commit"],
        str(tests["passed"]),
        str(len(tests["failed"])),
        str(len(tests["skipped"])),
        seconds(tests["seconds"]),
        seconds(result["seconds of cases"]),
        ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items(), reverse=True)),
    ]


def verdicts(result):
    """Of every case in every combination: `shown`, `not shown` or `refused`."""
    for combination in COMBINATIONS:
        for case in result["cases"][combination].values():
            outcomes = [case[side] for side in SIDES if side in case]
            if any("refused" in outcome for outcome in outcomes):
                yield "refused"
            else:
                yield "shown" if all(outcome["shown"] for outcome in outcomes) else "not shown"


def seconds(number):
    return f"{number // 60} min {number % 60:02} s"


def offers_table(complete):
    """Return the outcomes of the original layers, each tried before bnguard is installed."""
    head = [
        "environment",
        "`tf.contrib.layers.batch_norm`",
        "`tf.compat.v1.layers.batch_normalization`",
        "the same, with tf_keras and `TF_USE_LEGACY_KERAS=1`",
        "`tf_slim.batch_norm`",
    ]
    rows = [
        [
            name,
            result["offers"]["contrib"],
            result["offers"]["tf.layers"],
            result["tf.layers with tf_keras"] if "tf_keras" in result["packages"] else "",
            result["offers"]["tf_slim"],
        ]
        for name, result in complete.items()
    ]
    return table(head, rows)


def packages_table(complete):
    packages = sorted({package for record in complete.values() for package in record["packages"]})
    rows = [
        [name, *(result["packages"].get(package, "") for package in packages)]
        for name, result in complete.items()
    ]
    return table(["environment", *packages], rows)


def tests_list(complete, outcome):
    """Tests of one outcome, or its reasons, each with the environments."""
    where = {}
    for name, result in complete.items():
        for what in result["suite"][outcome]:
            where.setdefault(what, []).append(name)
    if not where:
        return "None.\n"
    return "".join(f"* {what} ({', '.join(names)})\n" for what, names in sorted(where.items()))


def cases_text(catalogue, complete, names):
    """Return a table for each case: what both sides did, in which environments and combinations."""
    head = (
        "Each column gives the verdict on that file of the case, in the word of the case's claim, "
        "and the figure that distinguishes the two files."
    )
    return "\n".join([head + "\n", *(case_text(case, complete, names) for case in catalogue)])


def case_text(case, complete, names):
    done = {
        (name, combination): result["cases"][combination].get(case, {})
        for name, result in complete.items()
        for combination in COMBINATIONS
    }
    measures = next(
        (outcome["measures"] for outcome in done.values() if "measures" in outcome), "unknown"
    )
    groups = {}
    for place, outcome in done.items():
        groups.setdefault(tuple(gist(outcome.get(side, {})) for side in SIDES), []).append(place)
    rows = [
        [
            *(did([done[place].get(side, {}) for place in places]) for side in SIDES),
            where(places, names),
        ]
        for places in groups.values()
    ]
    return f"### {case}\n\n" + table([f"buggy: {measures}", "fixed", "where"], rows)


def did(outcomes):
    """Return what a side did in all these outcomes, which have one gist."""
    first = outcomes[0]
    if "figure" not in first:
        return gist(first)
    word = first["verdict"] if first["shown"] else f"**not shown** ({first['verdict']})"
    figures = sorted({outcome["figure"] for outcome in outcomes})
    more = len(figures) - SHOWN_FIGURES
    shown = figures[:SHOWN_FIGURES] + ([f"and {more} more"] if more > 0 else [])
    return f"{word}: {'; '.join(shown)}"


def gist(outcome):
    """Return what groups the outcomes of a side."""
    if "refused" in outcome:
        return "refused: " + refusal(outcome["refused"])
    if "figure" not in outcome:
        return "not recorded"
    in_words = "" if re.search(r"\d", outcome["figure"]) else outcome["figure"]
    return outcome["verdict"], outcome["shown"], in_words


def refusal(message):
    """Return TensorFlow's message, without the names of the combination and the version."""
    differences = re.search(r"fused=\w+: (.*?)(?: If it runs with other |$)", message, re.DOTALL)
    return differences.group(1) if differences else message


def where(places, names):
    """Places by environments and combinations, as briefly as possible."""
    groups = {}
    for name in names:
        combinations = tuple(
            combination for combination in COMBINATIONS if (name, combination) in places
        )
        if combinations:
            groups.setdefault(combinations, []).append(name)
    parts = []
    for combinations, members in groups.items():
        which = "" if combinations == COMBINATIONS else ", ".join(combinations) + " "
        parts.append(which + ("everywhere" if members == names else "on " + ", ".join(members)))
    return "; ".join(parts)


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(cell, line)) + " |\n" for line in lines)


def cell(text):
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    main()
