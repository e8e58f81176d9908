"""The metadata, the changelog, the workflows and what contributors read agree with each other."""

import configparser
import json
import os
import re
import subprocess

import pytest
from support.paths import ROOT

import bnguard
from bnguard.analysis.formatters import sarif


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


def setup():
    parser = configparser.ConfigParser()
    parser.read_string(read("setup.cfg"))
    return parser


def classifiers(prefix):
    lines = setup()["metadata"]["classifiers"].splitlines()
    return [line[len(prefix) :] for line in lines if line.startswith(prefix)]


def test_the_topmost_section_of_the_changelog_is_this_version():
    versions = re.findall(r"^## (\d+\.\d+\.\d+) \((.*)\)$", read("CHANGELOG.md"), re.MULTILINE)
    assert versions[0][0] == bnguard.__version__
    numbers = [tuple(map(int, version.split("."))) for version, _ in versions]
    assert numbers == sorted(numbers, reverse=True)
    for _, date in versions[1:]:
        assert re.match(r"\d{4}-\d{2}-\d{2}$", date)


def test_the_version_is_written_in_one_place():
    assert setup()["metadata"]["version"] == "attr: bnguard._version.__version__"
    assert "\nversion:" not in read("CITATION.cff")
    assert "version" not in read("pyproject.toml")


def test_a_workflow_and_a_hook_on_the_page_name_this_version():
    named = re.findall(r"(?:bnguard/bnguard@|rev: )v(\S+)", read("docs", "ci.md"))
    assert named == [bnguard.__version__] * 2


def test_the_pages_and_messages_name_the_versions_that_the_matrix_runs():
    environments = json.loads(read("tools", "version_matrix", "environments.json"))
    pythons = {tuple(map(int, each["python"].split("."))) for each in environments}
    packages = " ".join(package for each in environments for package in each["bare"])
    found = re.findall(r"tensorflow==(\d+)\.(\d+)", packages)
    ranges = {
        f"{'.'.join(map(str, min(versions)))} to {'.'.join(map(str, max(versions)))}"
        for versions in (pythons, {tuple(map(int, version)) for version in found})
    }
    pages = ["README.md", *(f"docs/{name}.md" for name in ("audit", "guard", "index", "layers"))]
    for page in (*pages, "bnguard/__init__.py", "bnguard/runtime/requirements.py"):
        named = set(re.findall(r"(?:1\.15|3\.7) to \d\.\d+", read(page)))
        assert named, page
        assert named <= ranges, page


def test_the_classifiers_name_what_the_matrix_runs():
    environments = json.loads(read("tools", "version_matrix", "environments.json"))
    pythons = {environment["python"] for environment in environments}
    versions = classifiers("Programming Language :: Python :: ")
    assert {version for version in versions if "." in version} == pythons
    run = re.findall(r'environment: (\S+), python: "', read(".github", "workflows", "matrix.yml"))
    assert sorted(run) == sorted(environment["name"] for environment in environments)


def test_the_classifiers_name_the_systems_of_ci():
    workflows = os.path.join(ROOT, ".github", "workflows")
    text = "".join(read(workflows, name) for name in os.listdir(workflows))
    systems = {runner.split("-")[0] for runner in re.findall(r"runs-on: (\S+)", text)}
    names = {"ubuntu": "POSIX :: Linux", "macos": "MacOS", "windows": "Microsoft :: Windows"}
    assert sorted(classifiers("Operating System :: ")) == sorted(names[one] for one in systems)


def test_every_address_of_the_project_is_that_of_the_metadata():
    url = setup()["metadata"]["url"]
    files = ["README.md", "SECURITY.md", "CITATION.cff", "CHANGELOG.md", "mkdocs.yml", "setup.cfg"]
    files += [".github/ISSUE_TEMPLATE/config.yml", "docs/ci.md"]
    for name in files:
        for owner, project in re.findall(r"https://github\.com/([\w-]+)/([\w-]+)", read(name)):
            assert owner == "tensorflow" or f"https://github.com/{owner}/{project}" == url, name


def test_every_address_of_the_site_is_that_of_mkdocs():
    site = re.search(r"^site_url: (\S+)$", read("mkdocs.yml"), re.MULTILINE).group(1)
    assert f"Documentation = {site}\n" in read("setup.cfg")
    found = (
        sarif.rule_page("BN101"),
        *re.findall(
            r"https://[\w.-]+\.github\.io/[^\s)]*",
            "".join(map(read, ["README.md", "CITATION.cff", "CHANGELOG.md"])),
        ),
    )
    assert len(found) > 2
    assert all(address.startswith(site) for address in found)


def test_each_development_dependency_is_pinned():
    extras = setup()["options.extras_require"]
    for extra in ("docs", "dev"):
        for requirement in extras[extra].split():
            assert re.match(r"[\w\[\]-]+==[\d.]+$", requirement), requirement


@pytest.mark.skipif(
    not os.path.exists(os.path.join(ROOT, ".git")), reason="an unpacked sdist is no repository"
)
def test_the_repository_and_the_sdist_have_the_same_top_level():
    """`make release-check` compares all files; this finds a forgotten file of the root sooner."""
    listed = subprocess.check_output(["git", "ls-files"], cwd=ROOT).decode().split()
    manifest = read("MANIFEST.in") + " LICENSE README.md pyproject.toml setup.cfg MANIFEST.in"
    assert len(listed) > 100
    for name in {path.split("/")[0] for path in listed} - {"bnguard"}:
        assert re.search(rf"(^|\s){re.escape(name)}(/|\s|$)", manifest), name


def test_the_page_describes_each_input_of_the_action():
    inputs, _, _ = read("action.yml").partition("\noutputs:")
    table = re.findall(r"^\| `([\w-]+)` \|", read("docs", "ci.md"), re.MULTILINE)
    assert table == re.findall(r"^  ([\w-]+):$", inputs, re.MULTILINE)


def test_the_architecture_has_the_layers_that_lint_imports_checks_in_their_order():
    contracts = configparser.ConfigParser()
    contracts.read_string(read(".importlinter"))
    drawing = re.search(r"^bnguard/\n(.*?)\n\n", read("CONTRIBUTING.md"), re.MULTILINE | re.DOTALL)
    inside, drawn = "", {}
    for indent, name in re.findall(r"^( {2}| {4})([a-z_]+)(?:/|\.py) ", drawing[1], re.MULTILINE):
        inside = name if len(indent) == 2 else inside
        drawn.setdefault("bnguard" if len(indent) == 2 else f"bnguard.{inside}", []).append(name)
    for name in ("bnguard", "analysis", "harness"):
        contract = contracts[f"importlinter:contract:{name}"]
        assert drawn[contract["containers"].strip()] == contract["layers"].split()


def test_no_folder_has_more_than_14_python_files_except_those_that_the_habits_name():
    counts = {
        os.path.relpath(folder, ROOT): sum(name.endswith(".py") for name in names)
        for top in ("bnguard", "tests", "tools", "benchmarks", "examples", "repro", "fixed")
        for folder, _, names in os.walk(os.path.join(ROOT, top))
    }
    large = {os.path.basename(folder) for folder, count in counts.items() if count > 14}
    assert large == {"rules", "repro", "fixed"}


SAMPLING = {  # in a module that reads the variable, or whose tests are sampled by it
    "BNGUARD_CASES": r"pytest\.mark\.sampled|samples import .*combinations|\"BNGUARD_CASES\"",
    "BNGUARD_FILES": r"\"BNGUARD_FILES\"",
    "BNGUARD_PROGRAMS": r"\"BNGUARD_PROGRAMS\"",
}


def modules_of_tests():
    for folder, _, names in os.walk(os.path.join(ROOT, "tests")):
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith(".py") and path != __file__:
                yield os.path.relpath(path, ROOT), read(path)


@pytest.mark.parametrize("variable", SAMPLING)
def test_make_fuzz_runs_all_of_which_the_default_run_has_a_part(variable):
    commands = read("Makefile").replace("\\\n", " ")
    (arguments,) = re.findall(rf"{variable}=.* pytest (.*)", commands)
    sampled = [
        path
        for path, text in modules_of_tests()
        if os.path.basename(path).startswith("test_") and re.search(SAMPLING[variable], text)
    ]
    assert sampled
    for path in sampled:
        assert any(f"{path}/".startswith(f"{tests}/") for tests in arguments.split()), path


def test_every_variable_of_the_environment_that_the_tests_read_is_described():
    texts = "".join(text for _, text in modules_of_tests())
    variables = set(re.findall(r"environ(?:\.get\(|\[)\"(BNGUARD_\w+)\"", texts))
    assert variables == set(re.findall(r"`(BNGUARD_\w+)=", read("CONTRIBUTING.md")))
