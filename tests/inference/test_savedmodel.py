"""The TensorFlow bundle reader, on made bundles and damaged ones."""

import numpy as np
import pytest
from tiny_release import bundle

from streamfilter.errors import EngineUnavailable
from streamfilter.inference.savedmodel import crc32c_masked, variables

ARRAYS = {
    "conv1/bias": np.arange(3, dtype=np.float32),
    "conv1/kernel": np.arange(2 * 3 * 200, dtype=np.float32).reshape(2, 3, 200),
    "conv10/kernel": np.zeros((1, 1), np.float32),
}


def test_arrays_come_back_as_they_were_written() -> None:
    """Names, shapes and values survive the bundle."""
    found = variables(*bundle(ARRAYS))
    assert list(ARRAYS) == list(found)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(array, found[name])


def test_the_checksum_is_crc_32c_with_leveldbs_mask() -> None:
    """The CRC of RFC 3720's check string, masked."""
    crc = 0xE3069283
    masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    assert masked == crc32c_masked(b"123456789")


@pytest.mark.parametrize("at", [0, 5, 40, 100])
def test_a_flipped_byte_in_the_index_is_found(at: int) -> None:
    """Every block of the index is held by its checksum."""
    index, data = bundle(ARRAYS)
    damaged = bytearray(index)
    damaged[at] ^= 0x40
    with pytest.raises(EngineUnavailable, match="does not match its CRC32C"):
        variables(bytes(damaged), data)


def test_every_truncation_of_the_index_is_refused() -> None:
    """No prefix of an index reads as a bundle, and none raises anything else."""
    index, data = bundle(ARRAYS)
    for length in range(len(index)):
        with pytest.raises(EngineUnavailable, match=r"variables\.index is damaged"):
            variables(index[:length], data)


def test_a_flipped_byte_anywhere_is_refused_or_harmless() -> None:
    """Damage in the footer too ends in EngineUnavailable or in the right arrays."""
    index, data = bundle(ARRAYS)
    for at in range(len(index)):
        damaged = bytearray(index)
        damaged[at] ^= 0xFF
        try:
            found = variables(bytes(damaged), data)
        except EngineUnavailable:
            continue
        assert list(ARRAYS) == list(found)


def test_data_that_is_too_short_is_refused() -> None:
    """An array that does not lie inside the shard is named."""
    index, data = bundle(ARRAYS)
    with pytest.raises(EngineUnavailable, match=r"conv10/kernel.* of 4812 bytes"):
        variables(index, data[:-4])


def test_a_compressed_block_is_refused_by_name() -> None:
    """A block type that is not plain is said, not misread."""
    index, data = bundle({})
    size = index.index(b"\0\0\0\0\1\0\0\0\0") + 8
    damaged = bytearray(index)
    damaged[size] = 1
    body = bytes(damaged[: size + 1])
    damaged[size + 1 : size + 5] = crc32c_masked(body).to_bytes(4, "little")
    with pytest.raises(EngineUnavailable, match=r"compressed \(type 1\)"):
        variables(bytes(damaged), data)
