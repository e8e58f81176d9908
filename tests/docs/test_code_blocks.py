"""Every code block of the docs is run, and every output block compared, or says why not.

tests/support/docs/blocks.py has the comments that say what becomes of a block, and
tests/support/docs/setting.py what its reader is assumed to have.
"""

import doctest
import glob
import importlib.util
import os
import re
import shlex
import shutil

import click
from click.testing import CliRunner
import pytest
from support import forked
from support.docs.blocks import blocks, commands, inline_commands, patched, read
from support.paths import ROOT

import bnguard
from bnguard.analysis.rules import RULES
from bnguard.cli import cli
from bnguard.harness.cases import catalogue

pytestmark = pytest.mark.slow

GENERATED = {"answers.md", "catalogue.md", "matrix.md"}  # test_docs_pages, test_version_matrix
DOCS = sorted(name for name in os.listdir(os.path.join(ROOT, "docs")) if name.endswith(".md"))
PAGES = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "checkpoints/README.md"]
PAGES += ["docs/rules/README.md"]
PAGES += [f"docs/{name}" for name in DOCS if name not in GENERATED]
BLOCKS = {page: blocks(page) for page in PAGES}
ALL = [block for page in PAGES for block in BLOCKS[page]]
NOT_RUN = {  # a block that is added here needs a reason on its page
    "README.md": ["make demo", "pip install ."],
    "CONTRIBUTING.md": ["make test", "for version", "make graphs", "bnguard/", "graph file"],
    "docs/audit.md": ["- run:", "eval"],
    "docs/guard.md": ["tf.estimator.train_and_evaluate("],
    "docs/how_it_decides.md": ["flowchart"],
    "docs/index.md": ["pip install '.[tf]'"],
    "docs/rescue.md": ["#SBATCH", "sbatch", "apiVersion"],
    "docs/two_branch_cond.md": ["the source's graph"],
    "docs/which_defect.md": ["flowchart"],
}
NO_COMMANDS_OPTIONS = {  # those of all commands, pytest, the examples and a fuzzer
    *("--cases", "--help", "--bnguard-report", "--junitxml", "--broken", "--seed", "--tensorflow")
}
NO_PUBLIC_NAMES = {"toml", "frozen_statistics"}  # a file, and a property of JUnit
GONE = {"--resume", "--save-every", "training"}  # of 0.1.0, as the changelog says
RUNNERS = ("console", "sh", "python")


def write_files():
    """Write the files that the pages assume; in a process that has TensorFlow."""
    from support.docs import setting

    setting.write_files()


def execute(python_blocks):
    """Execute the Python blocks of a page, in the same process."""
    from support.docs import setting

    for block in python_blocks:
        setting.execute(block.text, str(block))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The files that the pages assume."""
    folder = tmp_path_factory.mktemp("files")
    status, _, errors = forked.run(
        tmp_path_factory.mktemp("streams"), function=write_files, cwd=folder
    )
    assert status == 0, errors
    return folder


@pytest.fixture
def folder(files, tmp_path):
    """A copy of these files, for one page."""
    shutil.copytree(str(files), str(tmp_path / "page"))
    return tmp_path / "page"


@pytest.mark.parametrize("page", [page for page in PAGES if BLOCKS[page]])
def test_the_blocks_of_a_page_do_what_they_show(page, folder, tmp_path):
    for block in BLOCKS[page]:
        if block.directive == "file":
            (folder / block.argument).write_text(block.text, encoding="utf-8")
    for block in BLOCKS[page]:
        if block.directive == "patch":
            program = folder / block.argument
            text = patched(program.read_text(encoding="utf-8"), block.text)
            program.write_text(text, encoding="utf-8")
        elif block.directive == "output of":
            _expect(block, block.argument, block.text, _run(block.argument, folder, tmp_path))
        elif not block.directive and block.language in ("console", "sh"):
            for command, expected in commands(block):
                shown = _run(command, folder, tmp_path)
                if expected is not None:
                    _expect(block, command, expected, shown)
    python_blocks = [
        block for block in BLOCKS[page] if block.language == "python" and not block.directive
    ]
    if python_blocks:
        status, _, errors = forked.run(tmp_path, python_blocks, function=execute, cwd=folder)
        assert status == 0, errors


def _run(command, folder, streams):
    """Run `bnguard ...`; return what it prints, with its report but not TensorFlow's messages."""
    program, *arguments = shlex.split(command, comments=True)
    assert program == "bnguard", f"no way to run {command}"
    if arguments[0] in ("audit", "explain", "list"):  # they need no TensorFlow
        status, output, errors = _run_here(arguments, folder)
    else:
        status, output, errors = forked.run(streams, *arguments, cwd=folder)
    assert status in (0, 1), f"{command}: {status}\n{errors}"
    report = re.search(r"^bnguard: .*", errors, re.MULTILINE | re.DOTALL)
    return output + (report.group() if report else "")


def _run_here(arguments, folder):
    previous = os.getcwd()
    os.chdir(str(folder))
    try:
        result = CliRunner().invoke(cli, arguments)
    finally:
        os.chdir(previous)
    return result.exit_code, result.output, result.output


def _expect(block, command, expected, shown):
    expected, shown = map(_without_count, (expected.rstrip("\n"), shown.rstrip("\n")))
    same = doctest.OutputChecker().check_output(expected, shown, doctest.ELLIPSIS)
    assert same, f"{block}: $ {command}\n{shown}"


def _without_count(report):
    """A report without the number of nodes, which differs between versions of TensorFlow."""
    return re.sub(r"\d+ nodes", "nodes", report)


@pytest.mark.parametrize("block", ALL, ids=str)
def test_a_block_is_run_or_says_why_not(block):
    if block.directive == "tested by":
        assert os.path.basename(block.page) in read(block.argument)
    elif block.directive == "not run":
        assert len(block.argument.split()) > 2
    elif block.directive in ("file", "patch", "output of"):
        assert block.argument
    else:
        assert block.language in RUNNERS, (
            f"{block}: the language is {block.language!r}; expected one of {RUNNERS}, or a comment "
            "before the block that says what becomes of it: tests/support/docs/blocks.py"
        )


def test_the_blocks_that_are_not_run_are_these():
    found = {}
    for block in ALL:
        if block.directive == "not run":
            found.setdefault(block.page, []).append(block.text.strip())
    assert set(found) == set(NOT_RUN)
    for page, beginnings in NOT_RUN.items():
        assert len(found[page]) == len(beginnings), page
        for text, beginning in zip(found[page], beginnings):
            assert text.startswith(beginning)


def test_commands_that_are_not_run_exist():
    """Those of make, in blocks; pip's extras; and every option of bnguard, also in the text."""
    makefile, setup = read("Makefile"), read("setup.cfg")
    text = "\n".join(block.text for block in ALL if block.directive == "not run")
    targets = set(re.findall(r"^make (\S+)", text, re.MULTILINE))
    assert len(targets) > 10
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for extra in re.findall(r"(?:\.|bnguard)\[([\w,]+)\]", "".join(map(read, PAGES))):
        for name in extra.split(","):
            assert re.search(rf"^{name} =$", setup, re.MULTILINE), name
    written = [command for page in PAGES for command in inline_commands(page)]
    names = "|".join(cli.list_commands(None))
    written += re.findall(rf"\bbnguard (?:{names}) (?:.|\\\n)*", text)
    assert len(written) > 50
    for command in written:
        _expect_usage(command)


@pytest.mark.parametrize(
    ("name", "page"),
    [("audit", "audit"), ("diff", "guard"), ("reestimate", "rescue"), ("run", "run")],
)
def test_every_option_of_a_command_is_on_its_page(name, page):
    text = read(f"docs/{page}.md")
    for option in options_of(name):
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", text), option


def test_the_default_size_of_a_batch_is_that_of_the_page():
    (size,) = (
        parameter.default
        for parameter in cli.get_command(None, "reestimate").params
        if parameter.name == "batch_size"
    )
    assert f"rows of a batch, by default {size};" in read("docs/rescue.md")


def options_of(name):
    """Return the options of a command of bnguard."""
    parameters = cli.get_command(None, name).params
    options = (parameter for parameter in parameters if isinstance(parameter, click.Option))
    return {option for parameter in options for option in parameter.opts}


def _expect_usage(command):
    """Fail if a command, or an option of it, is none."""
    words = re.sub(r"\\\n", " ", command).split()[1:]
    name = words[0]
    assert name in cli.list_commands(None), command
    known = options_of(name)
    for word in words[1:]:
        if name == "run" and word.endswith(".py"):
            break
        if word.startswith("--"):
            assert word.split("=")[0].strip("\"'") in known, command


@pytest.mark.parametrize("page", PAGES)
def test_every_path_in_the_text_exists(page):
    folders = "bnguard|tests|tools|benchmarks|docs|examples|repro|fixed|\\.github"
    for path in re.findall(rf"`((?:{folders})/[^`\s]+)`", read(page)):
        name = re.sub("NAME|CODE", "*", path)
        assert glob.glob(os.path.join(ROOT, name)), path


@pytest.mark.parametrize("page", PAGES)
def test_every_option_rule_and_public_name_in_the_text_exists(page):
    text = read(page)
    options = set(re.findall(r"`(--[a-z][\w-]*)", text)) - NO_COMMANDS_OPTIONS - GONE
    assert options <= {option for name in cli.list_commands(None) for option in options_of(name)}
    assert set(re.findall(r"BN\d{3}", text)) <= {rule.code for rule in RULES}
    for name in set(re.findall(r"`bnguard\.(\w+)[(`]", text)) - NO_PUBLIC_NAMES - GONE:
        assert name in bnguard.__all__ or importlib.util.find_spec(f"bnguard.{name}"), name


def test_the_number_of_cases_in_the_readme_is_right():
    assert (len(catalogue.names()), "and twenty-five defects" in read("README.md")) == (25, True)


def test_the_choice_of_a_defect_leads_to_every_rule():
    chosen = re.findall(r"BN\d{3}", read("docs/which_defect.md"))
    assert set(chosen) == {rule.code for rule in RULES}


def test_every_target_of_make_is_described():
    phony = re.search(r"^\.PHONY: ((?:.|\\\n)*?)\n\n", read("Makefile"), re.MULTILINE).group(1)
    described = read("README.md") + read("CONTRIBUTING.md")
    for target in phony.replace("\\\n", " ").split():
        assert f"make {target}" in described, target


class TestBlocks:
    """The comments and blocks that the tests above rely on are found."""

    def test_a_comment_belongs_to_the_block_directly_below(self):
        page = (
            "<!-- not run: no GPU here -->\n```sh\nmake gpu\n```\n\ntext\n\n```python\nx = 1\n```\n"
        )
        first, second = blocks("page.md", page)
        assert (first.directive, first.argument, first.line) == ("not run", "no GPU here", 2)
        assert (second.language, second.text, second.directive) == ("python", "x = 1\n", "")

    def test_an_output_belongs_to_the_command_above_it(self):
        (block,) = blocks("page.md", "```console\n$ a\n1\n2\n$ b\n```\n")
        assert commands(block) == [("a", "1\n2\n"), ("b", "")]

    def test_a_patch_replaces_its_lines_once(self):
        assert patched("a\nb\nc\n", "-b\n+d\n+e\n") == "a\nd\ne\nc\n"
        with pytest.raises(AssertionError, match=r"^2 times in the file: a"):
            patched("a\na\n", "-a\n+b\n")

    @pytest.mark.parametrize("command", ["bnguard audit --no-such x", "bnguard no-such"])
    def test_usage_that_is_none_is_noticed(self, command):
        with pytest.raises(AssertionError):
            _expect_usage(command)
