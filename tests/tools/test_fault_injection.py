"""Inject a few faults of tools/fault_injection.py; `make faults` injects hundreds."""

import fault_injection as faults
import pytest

SEED = 1006


pytestmark = pytest.mark.slow  # every fault is a run of a second or more


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return faults.Reference(str(tmp_path_factory.mktemp("reference")))


@pytest.mark.full_disk
@pytest.mark.parametrize(
    "fault",
    [faults.killed_in_a_save, faults.largest_file, faults.read_only, faults.two_at_once],
    ids=lambda fault: fault.__name__,
)
def test_no_checkpoint_is_lost_or_broken(fault, reference):
    outcomes, lost = faults.inject(fault, 1, reference, SEED)
    assert not lost
    assert sum(outcomes.values()) == 1


@pytest.mark.parametrize("ending", [".index", ".data-00000-of-00001"])
def test_a_half_written_checkpoint_would_be_noticed(tmp_path, reference, ending):
    """Cut a file of the first run, as a save in place would leave it."""
    folder = reference.copy(str(tmp_path))
    with open(faults.run_folder(folder) + "/trained.ckpt" + ending, "rb+") as file:
        file.truncate(10)
    with pytest.raises(faults.BnguardError, match=r"trained\.ckpt"):
        reference.assert_nothing_lost(folder)


def test_the_table_replaces_the_text_between_the_markers(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{faults.BEGIN}\nold\n{faults.END}\nafter\n")
    faults.write(str(page), "new")
    assert page.read_text() == f"before\n{faults.BEGIN}\nnew\n{faults.END}\nafter\n"
