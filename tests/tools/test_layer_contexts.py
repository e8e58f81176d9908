"""The table of contexts: it is filled by version, and its figures are limits."""

import pytest
from support.layers import context_table
from support.layers.context_table import BEGIN, END, bounds, filled, held, rounded_up

PAGE = f"before\n{BEGIN}\n{END}\nafter\n"


@pytest.fixture
def page(tmp_path, monkeypatch):
    path = tmp_path / "layers.md"
    path.write_text(PAGE)
    monkeypatch.setattr(context_table, "PAGE", str(path))
    monkeypatch.delenv(context_table.RECORD, raising=False)
    return path


def test_each_version_has_its_own_column(page):
    text = filled(PAGE, "2.21.0", {"plain": 3e-5, "scan": 0.0})
    text = filled(text, "1.15.5", {"plain": 2e-7})
    page.write_text(text)
    assert text.startswith(f"before\n{BEGIN}\n| context | what is built")
    assert text.endswith(f"{END}\nafter\n")
    assert "| 1.15.5 | 2.21.0 |" in text
    assert bounds("2.21.0") == {"plain": 1e-4, "scan": 1e-6}
    assert bounds("1.15.5") == {"plain": 1e-6}
    assert bounds("2.4.1") == {"plain": 1e-4, "scan": 1e-6}  # the largest of all versions
    assert filled(text, "1.15.5", {"plain": 2e-7}) == text


@pytest.mark.parametrize(
    ("error", "figure"), [(0, 1e-6), (2e-7, 1e-6), (4e-6, 1e-5), (6e-6, 1e-4), (0.04, 0.1)]
)
def test_an_error_is_rounded_up_to_a_power_of_ten(error, figure):
    assert rounded_up(error) == pytest.approx(figure)


def test_an_error_above_the_figure_fails(page, monkeypatch):
    page.write_text(filled(PAGE, "9.9.9", {"plain": 1e-4}))
    monkeypatch.setattr(context_table, "VERSION", "9.9.9")
    held("plain", [1.0, 1000.5], [1.0, 1000.0])
    with pytest.raises(AssertionError, match=r"plain: the error is 0\.002, above 0\.001"):
        held("plain", [1.0, 1002.0], [1.0, 1000.0])
    with pytest.raises(AssertionError, match=r"scan: docs/layers\.md has no figure of it"):
        held("scan", [1.0], [1.0])


def test_every_context_that_is_tried_has_a_row():
    from support.layers.contexts import CONTEXTS

    assert {context.replace("_", " ") for context in CONTEXTS} <= set(context_table.ROWS)
    assert set(bounds("")) <= set(context_table.ROWS)
