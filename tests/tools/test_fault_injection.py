"""A few of the faults of fault_injection.py, which injects hundreds: `make faults`."""

import fault_injection as faults
import pytest

SEED = 1006


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return faults.Whole(str(tmp_path_factory.mktemp("whole")))


@pytest.mark.parametrize("fault", [faults.killed_in_a_save, faults.largest_file, faults.read_only])
def test_nothing_is_lost(fault, whole):
    outcomes, lost = faults.inject(fault, 1, whole, SEED)
    assert not lost
    assert sum(outcomes.values()) == 1
