"""The checksum is that of the standard, for data of any length."""

import random

import pytest
from support.checkpoints import handmade_checkpoints

from bnguard.analysis.checkpoints.crc32c import checksum, crc32c


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(reversed(range(32))), 0x113FDB5C),
        (b"123456789", 0xE3069283),
    ],
)
def test_the_values_of_rfc_3720(data, crc):
    assert crc32c(data) == crc


@pytest.mark.parametrize("length", [0, 1, 511, 512, 513, 1023, 1024, 1025, 5000, 70_001])
def test_long_data_have_the_checksum_that_is_computed_byte_by_byte(length):
    data = bytes(random.Random(length).getrandbits(8) for _ in range(length))
    assert checksum(data) == handmade_checkpoints.masked_crc(data)


def test_the_other_implementation_agrees_with_a_computation_bit_by_bit():
    data = bytes(range(200))
    crc = handmade_checkpoints.crc32c(data)
    rotated = (crc >> 15 | crc << 17) & 0xFFFFFFFF
    assert handmade_checkpoints.masked_crc(data) == (rotated + 0xA282EAD8) & 0xFFFFFFFF
