"""The checksums of many tensors of one size, computed together."""

import numpy as np
import pytest
from support.checkpoints import handmade_checkpoints

from bnguard.checkpoint_arrays import crc32c_of_rows


@pytest.mark.parametrize("width", [0, 1, 2, 3, 8, 33])
def test_the_checksum_of_each_row_is_that_of_its_bytes(width):
    rows = np.random.RandomState(width).randint(0, 256, (5, width)).astype(np.uint8)
    assert crc32c_of_rows(rows).tolist() == [
        handmade_checkpoints.crc32c(row.tobytes()) for row in rows
    ]
