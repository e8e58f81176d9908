"""Configuration files: which one counts, what it may say, and the options that follow."""

import os

import pytest

from bnguard.analysis.api import AuditOptions
from bnguard.repository.configuration import Configuration, PathConfiguration, load_configuration
from bnguard.repository.errors import RepositoryError

TOML = """
exclude = ["old", "third_party/*"]
select = "BN1,BN201"
ignore = ["BN105"]
baseline = "known.json"
format = "sarif"

[paths."models/*.meta"]
fetch = ["logits", "probs"]
feed = ["is_training=false", "x"]
train-op = "train"
checkpoint = "models/model.ckpt-1"
ignore = ["BN102"]

[paths."models/last.meta"]
fetch = "y"
ignore = "BN103"
"""
PYPROJECT = TOML.replace("\nexclude", "[tool.bnguard]\nexclude").replace(
    "[paths", "[tool.bnguard.paths"
)
CFG = """
[bnguard]
exclude =
    old
    third_party/*
select = BN1, BN201
ignore = BN105
baseline = known.json
format = sarif

[bnguard:models/*.meta]
fetch =
    logits
    probs
feed =
    is_training=false
    x
train-op = train
checkpoint = models/model.ckpt-1
ignore = BN102

[bnguard:models/last.meta]
fetch = y
ignore = BN103
"""
FORMS = {"bnguard.toml": TOML, "pyproject.toml": PYPROJECT, "setup.cfg": CFG}
FILES = tuple(FORMS)


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / ".git").mkdir()
    (tmp_path / "in" / "side").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(here, text, name="bnguard.toml"):
    (here / name).write_text(text)
    with pytest.raises(RepositoryError) as error:
        load_configuration(None)
    assert "\n" not in str(error.value)
    return str(error.value)


class TestFile:
    @pytest.mark.parametrize("name", FILES)
    @pytest.mark.parametrize("folder", [".", "in/side"])
    def test_every_form_says_the_same(self, name, folder, here, monkeypatch):
        (here / name).write_text(FORMS[name])
        monkeypatch.chdir(folder)
        up = os.path.relpath(str(here))
        found = load_configuration(None)
        assert found.file == os.path.relpath(str(here / name))
        assert [pattern for pattern, _ in found.exclude] == ["old", "third_party/*"]
        assert (found.select, found.ignore) == (("BN1", "BN201"), ("BN105",))
        assert found.baseline == os.path.normpath(os.path.join(up, "known.json"))
        assert found.format == "sarif"
        assert found.paths == (
            PathConfiguration(
                "models/*.meta",
                fetches=("logits", "probs"),
                feeds={"is_training": False, "x": None},
                train_op=("train",),
                checkpoint=os.path.normpath(os.path.join(up, "models", "model.ckpt-1")),
                ignore=("BN102",),
            ),
            PathConfiguration("models/last.meta", fetches=("y",), ignore=("BN103",)),
        )

    def test_the_nearest_counts_and_in_one_folder_the_more_special_one(self, here, monkeypatch):
        for name in FILES:
            (here / name).write_text(FORMS[name])
        for name in FILES:
            assert load_configuration(None).file == name
            os.remove(name)
        (here / "setup.cfg").write_text(CFG)
        (here / "in" / "pyproject.toml").write_text(PYPROJECT)
        monkeypatch.chdir("in/side")
        assert load_configuration(None).file == os.path.join("..", "pyproject.toml")

    @pytest.mark.parametrize("name", FILES)
    def test_a_byte_order_mark_does_not_matter(self, name, here):
        (here / name).write_bytes(b"\xef\xbb\xbf" + FORMS[name].lstrip().encode())
        assert load_configuration(None).format == "sarif"

    def test_a_file_about_something_else_does_not_count(self, here):
        (here / "setup.cfg").write_text(CFG)
        (here / "pyproject.toml").write_text('[project]\nname = "bnguard-user"\n')
        assert load_configuration(None).file == "setup.cfg"
        (here / "pyproject.toml").write_text("not valid, but not about us either")
        assert load_configuration(None).file == "setup.cfg"

    def test_the_search_ends_at_the_root_of_the_repository(self, here, monkeypatch):
        (here / "in" / "side" / ".git").mkdir()
        (here / "setup.cfg").write_text(CFG)
        monkeypatch.chdir("in/side")
        assert load_configuration(None) == Configuration()

    def test_a_file_may_be_given(self, here):
        for name, text in (("my.toml", TOML), ("tox.ini", CFG), ("in/pyproject.toml", PYPROJECT)):
            (here / name).write_text(text)
            found = load_configuration(name)
            assert (found.file, found.format) == (os.path.normpath(name), "sarif")
            assert found.root == str((here / name).parent)

    @pytest.mark.parametrize(
        ("name", "text", "words"),
        [
            ("bnguard.toml", "exclude = [", "bnguard.toml: not valid ("),
            ("bnguard.toml", f"exclude = {'[' * 100_000}", "bnguard.toml: not valid ("),
            ("pyproject.toml", "[tool.bnguard\n", "pyproject.toml: not valid ("),
            ("setup.cfg", "[bnguard]\nselect", "setup.cfg: not valid ("),
            ("setup.cfg", "[bnguard]\n[bnguard]\n", "setup.cfg: not valid ("),
            (
                "setup.cfg",
                "[tool:bnguard]\n",
                "setup.cfg: not valid (the section [tool:bnguard] is",
            ),
            ("setup.cfg", "[bnguard.paths]\n", "setup.cfg: not valid (the section [bnguard.paths]"),
            ("pyproject.toml", "[bnguard]\n", "pyproject.toml: not valid (the table [bnguard] is"),
        ],
        ids=["list", "deep", "table", "key", "twice", "as pytest's", "as TOML's", "no tool"],
    )
    def test_a_damaged_file_is_refused(self, name, text, words, here):
        message = refusal(here, text, name)
        assert message.startswith(words)
        assert "correct it, or give --no-config" in message

    def test_the_section_of_defaults_is_not_ours(self, here):
        (here / "setup.cfg").write_text(f"[DEFAULT]\nhome = /\n{CFG}")
        assert load_configuration(None).format == "sarif"

    def test_a_file_of_another_encoding_is_refused(self, here):
        (here / "bnguard.toml").write_bytes(b"exclude = '\xff'")
        with pytest.raises(RepositoryError, match=r"bnguard.toml: not valid \('utf-8' codec"):
            load_configuration(None)

    def test_a_given_file_that_is_absent_or_about_something_else_is_refused(self, here):
        with pytest.raises(RepositoryError, match=r"a.toml: cannot be read \(No such file"):
            load_configuration("a.toml")
        (here / "setup.cfg").write_text("[metadata]\nname = a\n")
        with pytest.raises(RepositoryError, match=r"setup.cfg: configures nothing; expected"):
            load_configuration("setup.cfg")


class TestValues:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("exlude = []", "unknown key 'exlude'; did you mean 'exclude'? The keys are exclude, "),
            ("jobs = 2", "unknown key 'jobs'; the keys are exclude, select, ignore, baseline, "),
            ("exclude = 3", "exclude is 3; expected a text, or a list of texts, none empty"),
            ("exclude = ['']", "exclude is ['']; expected a text, or a list of texts"),
            ("baseline = ['a']", "baseline is ['a']; expected a text that is not empty"),
            (
                "format = 'xml'",
                "format is 'xml'; expected one of text, json, sarif, mermaid, markdown, html",
            ),
            ("select = 'BN9'", "select: no rule's code begins with 'BN9'; the rules are BN101, "),
            ("paths = 1", "paths: 1; expected a table"),
            ("[paths]\na = 'x'", "paths.'a': 'x'; expected a table"),
            (
                "[paths.'']\nfetch = 'x'",
                "paths has the pattern ''; expected one such as 'models/*'",
            ),
            ("[paths.a]\nfeeds = 'x'", "paths.'a': unknown key 'feeds'; did you mean 'feed'?"),
            ("[paths.a]\ntrain_op = 'x'", "unknown key 'train_op'; did you mean 'train-op'?"),
            ("[paths.a]\nignore = 'x'", "paths.'a': ignore: no rule's code begins with 'x'"),
        ],
    )
    def test_what_there_is_not_is_refused(self, text, message, here):
        found = refusal(here, text)
        assert found.startswith("bnguard.toml: ")
        assert message in found

    def test_the_table_or_section_is_named(self, here):
        text = "[bnguard:a]\nfetches = x\n"
        message = refusal(here, text, "setup.cfg")
        assert message.startswith("setup.cfg: [bnguard] paths.'a': unknown key 'fetches'; did you")
        message = refusal(here, "[tool]\nbnguard = 1\n", "pyproject.toml")
        assert message == "pyproject.toml: [tool.bnguard]: 1; expected a table"


class TestOptions:
    @pytest.fixture
    def configuration(self, here):
        (here / "bnguard.toml").write_text(TOML)
        return load_configuration(None)

    def test_a_path_has_the_options_of_the_patterns_that_match(self, configuration):
        checkpoint = os.path.join("models", "model.ckpt-1")
        first = configuration.options_for("models/a.meta", AuditOptions())
        assert first == AuditOptions(
            fetches=("logits", "probs"),
            feeds={"is_training": False, "x": None},
            train_op=("train",),
            checkpoint=checkpoint,
            select=("BN1", "BN201"),
            ignore=("BN105", "BN102"),
        )
        last = configuration.options_for("models/last.meta", AuditOptions())
        assert (last.fetches, last.feeds) == (("y",), first.feeds)
        assert last.ignore == ("BN105", "BN102", "BN103")
        other = configuration.options_for("a.meta", AuditOptions())
        assert other == AuditOptions(select=("BN1", "BN201"), ignore=("BN105",))

    @pytest.mark.parametrize("pattern", ["e", "e/*", "e/1", "e/*/saved_model.pb", "*.pb"])
    def test_a_saved_model_matches_by_its_folder_and_its_file(self, pattern, here):
        (here / "e" / "1").mkdir(parents=True)
        (here / "e" / "1" / "saved_model.pb").write_bytes(b"")
        (here / "bnguard.toml").write_text(f"[paths.'{pattern}']\nfetch = 'y'\n")
        configuration = load_configuration(None)
        for path in ("e/1", "e/1/saved_model.pb"):
            assert configuration.options_for(path, AuditOptions()).fetches == ("y",)

    def test_what_is_given_replaces_what_the_file_says(self, configuration):
        given = AuditOptions(fetches=("z",), feeds={"y": 1}, ignore=("BN3",), select=("BN2",))
        options = configuration.options_for("models/a.meta", given)
        assert (options.fetches, options.feeds, options.select) == (("z",), {"y": 1}, ("BN2",))
        assert options.train_op == ("train",)
        assert options.ignore == ("BN3", "BN102")

    def test_exclusions_are_relative_to_the_file_and_given_ones_to_the_current_folder(
        self, configuration, here, monkeypatch
    ):
        monkeypatch.chdir("in")
        more = configuration.with_excluded(["side/a.pb"])
        for path, excluded in (
            ("side/a.pb", True),
            ("side/b.pb", False),
            ("../third_party/b.pb", True),
            ("third_party/b.pb", False),
            ("x/old/b.pb", True),
        ):
            assert more.excludes(path) == excluded, path
