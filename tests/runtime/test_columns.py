"""Tables are folded to the columns there are, and nothing in them is lost."""

import pytest

from bnguard.runtime.columns import columns, fit_tables

NAME = "resnet_v2_50/block1/unit_1/bottleneck_v2/conv1/BatchNorm/moving_variance"
TABLE = "\n".join(
    [
        "before",
        f"| {'variable':{len(NAME)}} | smallest | health                      |",
        f"|{'-' * (len(NAME) + 2)}|----------|-----------------------------|",
        f"| {NAME} | 0.25     | zero in 3 of 64, not finite |",
        f"| {'a':{len(NAME)}} | -1       |                             |",
        "after, which is no table and stays as long as it is, however many columns there may be",
    ]
)


def cells(text):
    """Return the cells of each row of a table, with those of its continued lines joined."""
    rows = []
    for line in text.split("\n"):
        if line.startswith("| "):
            parts = [part.strip() for part in line.split("|")[1:-1]]
            if not rows or parts[0] == "a" or parts[1]:
                rows.append(parts)
            else:
                rows[-1] = [
                    first if not part else f"{first}{'' if first.endswith('/') else ' '}{part}"
                    for first, part in zip(rows[-1], parts)
                ]
    return rows


@pytest.mark.parametrize("width", [60, 72, 90, 100])
def test_a_wide_table_is_folded_after_slashes_and_spaces(width):
    text = fit_tables(TABLE, width)
    before, *lines, after = text.split("\n")
    assert all(len(line) <= width for line in lines)
    assert len({len(line) for line in lines}) == 1
    assert cells(text) == cells(TABLE)
    assert (before, after) == (TABLE.split("\n")[0], TABLE.split("\n")[-1])
    assert sum(line.startswith("|--") for line in lines) == 1


def test_a_table_that_fits_is_left_as_it_is():
    assert fit_tables(TABLE, 130) == TABLE


def test_a_table_of_many_columns_is_folded_as_far_as_it_can_be():
    text = fit_tables(TABLE, 10)
    lines = text.split("\n")[1:-1]
    assert max(map(len, lines)) == 12 + 8 + 12 + 10
    assert "".join(line.split("|")[1].strip() for line in lines[2:-1]).startswith("resnet_v2_50/bl")


def test_wide_characters_take_two_columns():
    text = fit_tables("| 漢字漢字漢字漢字漢字 |\n| a |", 18)
    assert text.split("\n") == ["| 漢字漢字漢字漢 |", "| 字漢字         |", "| a              |"]


@pytest.mark.parametrize(("given", "expected"), [("60", 60), ("", 100), ("x", 100), ("0", 100)])
def test_the_columns_are_those_of_the_environment_or_100(given, expected, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", given)
    assert columns() == expected
