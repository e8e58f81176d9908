"""Which graph files a path stands for: folders, exclusions, git, and what cannot be read."""

import os
import subprocess

import pytest
from support.odd_folders import moved_deep, refuse_to_list

from bnguard.analysis.errors import AuditError
from bnguard.analysis.frontend import graph_files
from bnguard.repository import git
from bnguard.repository.discovery import find


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"")


def found(path=".", excluded=()):
    return find(path, lambda tried: os.path.normpath(tried) in excluded)


def run_git(*arguments, cwd="."):
    subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True)


class TestSearch:
    def test_graphs_are_found_by_their_endings_and_saved_models_by_their_folders(self, here):
        make(here, "b.pb", "a.meta", "c/d/e.pbtxt", "c/notes.txt", "c/pb")
        make(here, "export/1/saved_model.pb", "export/1/assets/x.pb", "export/2/saved_model.pbtxt")
        files = ("a.meta", "b.pb", "c/d/e.pbtxt", "export/1", "export/2")
        assert found().files == files
        assert found(str(here)).files == tuple(str(here / file) for file in files)
        assert found("export/1").files == ("export/1",)
        assert found("export/1/assets").files == ("export/1/assets/x.pb",)

    def test_environments_caches_and_version_control_are_not_searched(self, here):
        make(here, "a.pb", "env/pyvenv.cfg", "env/x.pb", "conda/conda-meta/history", "conda/x.pb")
        folders = [".git", ".hg", ".venv", "node_modules", "__pycache__", ".cache", ".tox", ".nox"]
        make(here, *(f"{folder}/x.pb" for folder in folders), "build/x.pb")
        assert found().files == ("a.pb", "build/x.pb")
        assert found("env").files == (os.path.join("env", "x.pb"),)

    def test_links_to_folders_are_not_followed_and_links_to_files_are(self, here):
        make(here, "real/a.pb")
        os.symlink("real", "link")
        os.symlink(os.path.join("real", "a.pb"), "b.pb")
        os.symlink(os.curdir, "circle")
        os.symlink("self.pb", "self.pb")
        assert found().files == ("b.pb", "real/a.pb", "self.pb")
        assert found("link").files == ("link/a.pb",)

    def test_folders_may_be_nested_very_deeply(self, here):
        make(here, "a.pb")
        with moved_deep("a.pb") as path:
            assert found().files == (path,)
            assert graph_files.graph_files(".") == [os.path.join(".", path)]

    def test_a_folder_that_cannot_be_read_is_an_error(self, here, monkeypatch):
        make(here, "a.pb", "secret/b.pb")
        refuse_to_list("secret", monkeypatch)
        one = found()
        assert one.files == ("a.pb",)
        (error,) = one.errors
        assert "secret: cannot be searched (Permission denied); make it readable" in error
        with pytest.raises(AuditError, match=r"secret: cannot be searched \(Permission denied\)"):
            graph_files.graph_files(".")


class TestExclusions:
    def test_files_and_folders_are_excluded_also_if_they_are_given(self, here):
        make(here, "a.pb", "b.pb", "old/c.pb", "old/d.pb")
        one = found(excluded=("b.pb", "old"))
        assert (one.files, one.excluded) == (("a.pb",), 1)
        assert found("b.pb", excluded=("b.pb",)) == find("b.pb", lambda path: True)
        assert found("b.pb", excluded=("b.pb",)).excluded == 1

    def test_a_saved_model_is_excluded_by_its_folder_or_its_file(self, here):
        file = os.path.join("export", "1", "saved_model.pb")
        make(here, "a.pb", file)
        for excluded in ("export", os.path.join("export", "1"), file):
            assert found(excluded=(excluded,)).files == ("a.pb",)
        assert found("export/1", excluded=(file,)).excluded == 1


class TestGit:
    @pytest.fixture
    def repository(self, here):
        run_git("init")
        make(here, "a.pb", "b.tmp.pb", "runs/1/c.meta", "runs/kept.meta", "build/d.pb")
        make(here, "export/1/saved_model.pb", "export/notes", "sub/e.pb", "sub/own/f.pb")
        text = "runs/\n*.tmp.pb\n/build/*\nsaved_model.pb\n"
        (here / ".gitignore").write_text(text)
        run_git("add", "--force", "runs/kept.meta")
        return here

    def test_what_git_ignores_is_left_out_and_what_it_tracks_is_not(self, repository):
        one = found()
        assert one.files == ("a.pb", "runs/kept.meta", "sub/e.pb", "sub/own/f.pb")
        assert one.ignored
        assert found(str(repository)).files == tuple(str(repository / file) for file in one.files)

    def test_who_names_an_ignored_folder_or_file_gets_it(self, repository):
        assert found("runs").files == ("runs/1/c.meta", "runs/kept.meta")
        assert found("runs/1").files == ("runs/1/c.meta",)
        assert found("b.tmp.pb").files == ("b.tmp.pb",)
        assert found("build").files == ("build/d.pb",)
        assert found("export").files == ()
        assert found("export").ignored

    def test_a_repository_in_a_repository_has_its_own_rules(self, repository):
        run_git("init", cwd="sub")
        (repository / "sub" / ".gitignore").write_text("own/\n")
        assert "sub/e.pb" in found().files
        assert "sub/own/f.pb" not in found().files

    def test_outside_of_a_repository_and_without_git_nothing_is_ignored(self, here, monkeypatch):
        make(here, "a.pb")
        (here / ".gitignore").write_text("*.pb\n")
        assert found().files == ("a.pb",)
        run_git("init")
        assert found().files == ()
        monkeypatch.setenv("PATH", str(here))
        assert found().files == ("a.pb",)

    def test_a_hook_of_another_repository_does_not_matter(self, repository, monkeypatch):
        files = found().files
        monkeypatch.setenv("GIT_DIR", str(repository / "nowhere"))
        monkeypatch.setenv("GIT_INDEX_FILE", str(repository / "nowhere"))
        assert found().files == files

    def test_the_configuration_of_a_repository_starts_no_program(self, repository):
        script = repository / "hook"
        script.write_text(f"#!/bin/sh\ntouch {repository / 'started'}\n")
        script.chmod(0o755)
        run_git("config", "core.fsmonitor", str(script))
        found()
        assert not (repository / "started").exists()
        run_git("status")  # the test can fail: git starts it here
        assert (repository / "started").exists()

    def test_if_git_fails_everything_is_searched_and_a_remark_says_so(self, repository):
        (repository / ".git" / "HEAD").write_text("damaged")
        one = found()
        assert "b.tmp.pb" in one.files
        (remark,) = one.remarks
        assert remark.startswith("git fails in . (fatal: ")
        assert remark.endswith("), so files that it ignores are audited, too")

    def test_it_writes_nothing(self, repository):
        before = {path: path.stat().st_mtime_ns for path in repository.rglob("*")}
        git.ignored_paths(".")
        assert {path: path.stat().st_mtime_ns for path in repository.rglob("*")} == before
