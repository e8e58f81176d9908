"""Record one part of what an environment of the matrix does: `noxfile.py` calls this in each.

    python tools/version_matrix/record.py FILE offers|offers-with-keras|cases|suite

Each part is added to the JSON in FILE, `offers` starts it anew, and the page is written again: the
suite that is recorded tests that it says what the records say. It runs in the environment that it
records, needs no more than the standard library, and every part runs in processes of its own.
"""

import ast
from concurrent.futures import ThreadPoolExecutor
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from xml.etree import ElementTree

import page

HERE = os.path.dirname(os.path.abspath(__file__))
SIDES = ("repro", "fixed")
SHOWN, NOT_SHOWN, UNAVAILABLE = 0, 1, 2  # exit statuses of bnguard
PASSED, FAILED = 0, 1  # of pytest: others say that it did not come to the tests
LAYERS = ["tensorflow", "tf_keras", "tf_slim"]
OTHERS = ["numpy", "protobuf", "scipy", "click", "rich", "matplotlib", "pytest", "hypothesis"]


def main(path, part):
    document = {}
    if part != "offers":
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
    document.update(PARTS[part]())
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1, sort_keys=True)
        file.write("\n")
    page.main()


def offers():
    """Record what TensorFlow itself offers, before bnguard is installed."""
    return {
        "commit": run(["git", "-C", HERE, "rev-parse", "--short", "HEAD"]).stdout.strip(),
        "python": platform.python_version(),
        "offers": {name: offer(name) for name in ("contrib", "tf.layers", "tf_slim")},
    }


def offers_with_keras():
    """Record what tf.layers offers with TF_USE_LEGACY_KERAS=1, when tf_keras is installed."""
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1"}
    return {"tf.layers with tf_keras": offer("tf.layers", environment)}


def offer(name, environment=None):
    """Either `works`, or the error of a process that tries the layer."""
    probe = os.path.join(HERE, "probe.py")
    done = run([sys.executable, probe, name], env=environment)
    lines = done.stdout.splitlines() if done.returncode == 0 else done.stderr.splitlines()
    return lines[-1] if lines else f"exit status {done.returncode}"


def cases():
    """Record what both sides of every case do, by variable class and control flow."""
    start = time.time()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = dict(zip(page.COMBINATIONS, pool.map(compared, page.COMBINATIONS)))
    return {"cases": done, "seconds of cases": round(time.time() - start)}


def compared(combination):
    """By case: what is measured, and what each side did."""
    variables, control_flow = combination.split("/")
    options = ["--variables", variables, "--control-flow", control_flow]
    entries = json.loads(bnguard("compare", "--all", *options).stdout)["cases"]
    return {entry["case"]: both_sides(entry, options) for entry in entries}


def both_sides(entry, options):
    if entry["skipped"]:  # for what one side is; the other may do
        return {side: one_side(side, entry["case"], options) for side in SIDES}
    return {"measures": entry["measures"], **{side: outcome(entry[side]) for side in SIDES}}


def one_side(side, case, options):
    done = bnguard(side, case, *options)
    if done.returncode == UNAVAILABLE:
        return {"refused": done.stderr.strip()}
    return outcome(json.loads(done.stdout))


def outcome(document):
    """Return a side's word, whether it claims that, and the figure; else the reasons."""
    kept = ["verdict", "shown", "figure"] + ([] if document["shown"] else ["reasons"])
    return {name: document[name] for name in kept}


def bnguard(*arguments):
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bnguard", *arguments, "--json"]
        done = run([*command, "--checkpoint-dir", folder])
    if done.returncode not in (SHOWN, NOT_SHOWN, UNAVAILABLE):
        raise SystemExit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr}")
    return done


def suite():
    """How many tests passed, failed and were skipped, which and why; and the wall time."""
    with tempfile.TemporaryDirectory() as folder:
        report = os.path.join(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        start = time.time()
        status = subprocess.call([*command, "-n", "2", "--dist", "loadfile", "--junitxml", report])
        seconds = round(time.time() - start)
        if status not in (PASSED, FAILED) or not os.path.exists(report):
            raise SystemExit(f"pytest ended with status {status}, without having run the tests")
        tests = list(ElementTree.parse(report).iter("testcase"))
    outcomes = [tested(test) for test in tests]
    return {
        "suite": {
            "passed": sum(outcome == "passed" for outcome, _ in outcomes),
            "failed": sorted(what for outcome, what in outcomes if outcome == "failed"),
            "skipped": sorted(what for outcome, what in outcomes if outcome == "skipped"),
            "seconds": seconds,
        },
        "packages": packages(),
    }


def tested(test):
    """A test's outcome, and for a failure or a skip which test and why."""
    name = f"{test.get('classname')}::{test.get('name')}".strip(":")
    skipped = test.find("skipped")
    if test.find("failure") is not None or test.find("error") is not None:
        return "failed", name
    if skipped is not None:
        return "skipped", f"{name}: {reason(skipped)}"
    return "passed", name


def reason(skipped):
    """Why a test was skipped; of a whole module, pytest tells it as the text of a tuple."""
    if skipped.get("message") != "collection skipped":
        return skipped.get("message")
    _, _, why = ast.literal_eval(skipped.text)
    return why.replace("Skipped: ", "", 1)


def packages():
    """Return the installed versions of the packages that matter here."""
    listed = run([sys.executable, "-m", "pip", "list", "--format", "json"])
    versions = {
        package["name"].replace("-", "_"): package["version"]
        for package in json.loads(listed.stdout)
    }
    return {name: versions[name] for name in LAYERS + OTHERS if name in versions}


def run(command, env=None):
    return subprocess.run(command, env=env, capture_output=True, encoding="utf-8")


PARTS = {
    "offers": offers,
    "offers-with-keras": offers_with_keras,
    "cases": cases,
    "suite": suite,
}

if __name__ == "__main__":
    main(*sys.argv[1:])
