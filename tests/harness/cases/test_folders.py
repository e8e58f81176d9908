"""The cases are found by --cases, in the current folder, in a checkout, or as installed data."""

import configparser
import glob
import os
import shutil
import site
import sysconfig

import pytest
from support.paths import ROOT

from bnguard.errors import BnguardError
from bnguard.harness.cases import catalogue, folders
from bnguard.harness.results.terms import SIDES

INSTALLED = os.path.join("share", "bnguard")


@pytest.fixture
def make_cases(tmp_path):
    """Make a folder with a repro/ and a fixed/."""

    def make(*names):
        folder = tmp_path.joinpath(*names)
        for side in SIDES:
            (folder / side).mkdir(parents=True)
        return str(folder)

    return make


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """Run in an empty folder, with a package and prefixes that have no cases."""
    (tmp_path / "current").mkdir()
    monkeypatch.chdir(tmp_path / "current")
    monkeypatch.setattr(folders, "_PACKAGE", str(tmp_path / "site-packages" / "bnguard"))
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / f"prefix-{name}"))
    monkeypatch.setattr(site, "getuserbase", lambda: str(tmp_path / "user"))


def test_a_given_folder_comes_first(make_cases, outside):
    make_cases("current")
    given = make_cases("given")
    assert folders.cases_folder(given) == given


def test_the_current_folder_comes_before_installed_cases(make_cases, outside):
    make_cases("current")
    make_cases("prefix-data", INSTALLED)
    assert folders.cases_folder() == os.curdir


def test_a_checkout_comes_before_installed_cases(make_cases, outside):
    checkout = make_cases("site-packages")  # the folder that contains the package
    make_cases("prefix-data", INSTALLED)
    assert folders.cases_folder() == checkout


@pytest.mark.parametrize("prefix", ["prefix-data", "user", "site-packages"])
def test_installed_cases_are_found(make_cases, outside, prefix):
    """Installed by pip install, pip install --user, and pip install --target."""
    installed = make_cases(prefix, INSTALLED)
    assert folders.cases_folder() == installed


def test_without_any_cases_the_error_names_every_place(outside, tmp_path):
    with pytest.raises(BnguardError, match="the cases are not installed: no repro/") as error:
        folders.cases_folder()
    for place in ("site-packages", f"prefix-data/{INSTALLED}", f"user/{INSTALLED}"):
        assert str(tmp_path / place) in str(error.value)


def test_a_given_folder_without_cases_is_an_error(outside, tmp_path):
    with pytest.raises(BnguardError, match="contains no repro/ and fixed/; expected the folder"):
        folders.cases_folder(str(tmp_path))


def test_the_wheel_has_every_case_where_installed_cases_are_found(outside, tmp_path):
    """Copy setup.cfg's data_files as pip does."""
    setup = configparser.ConfigParser()
    setup.read(os.path.join(ROOT, "setup.cfg"), encoding="utf-8")
    for target, pattern in setup["options.data_files"].items():
        folder = tmp_path / "prefix-data" / target
        folder.mkdir(parents=True)
        for path in glob.glob(os.path.join(ROOT, pattern)):
            shutil.copy(path, str(folder))
    assert catalogue.names() == catalogue.names(ROOT)
    for name in catalogue.names():
        assert catalogue.diff(name) == catalogue.diff(name, ROOT)
