"""The codecs of containers, both ways."""

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfilter.errors import MessageRejected, Reason
from streamfilter.limits import Limits
from streamfilter.schemas.codecs import CODECS, decompress

SMALL = Limits(max_message_bytes=100_000)


def rejection(block: bytes, codec: str) -> MessageRejected:
    """Why a block cannot be decompressed."""
    with pytest.raises(MessageRejected) as caught:
        decompress(block, codec, SMALL)
    return caught.value


@given(st.binary(max_size=3000), st.sampled_from(sorted(CODECS)))
def test_what_went_in_comes_out(body: bytes, codec: str) -> None:
    """Enriched containers are read as the original ones were."""
    assert body == decompress(CODECS[codec].compress(body), codec, SMALL)


@pytest.mark.parametrize("codec", sorted(set(CODECS) - {"null"}))
def test_every_cut_is_refused(codec: str) -> None:
    """No part of a block is taken for the whole."""
    block = CODECS[codec].compress(b"abc" * 30)
    reasons = {rejection(block[:size], codec).reason for size in range(len(block))}
    assert {Reason.AVRO_MALFORMED} == reasons


@pytest.mark.parametrize("size", [100_000, 100_001])
@pytest.mark.parametrize("codec", sorted(set(CODECS) - {"null"}))
def test_the_limit_is_the_largest_that_comes(codec: str, size: int) -> None:
    """One byte more is refused by the name of the limit."""
    block = CODECS[codec].compress(bytes(size))
    if size > SMALL.max_message_bytes:
        assert Reason.MESSAGE_TOO_LARGE == rejection(block, codec).reason
    else:
        assert bytes(size) == decompress(block, codec, SMALL)


def test_a_zstandard_frame_that_keeps_its_size_to_itself_is_bounded() -> None:
    """Blocks of one repeated byte make 128 KiB of four bytes each."""
    repeated = (1 << 1 | 2**17 << 3).to_bytes(3, "little") + b"a"
    frame = b"\x28\xb5\x2f\xfd\x00\x88" + repeated * 20_000
    assert Reason.MESSAGE_TOO_LARGE == rejection(frame, "zstandard").reason


def test_a_zstandard_frame_that_wants_much_memory_is_refused() -> None:
    """The window may have 128 MiB, the limit of Zstandard's own programs."""
    assert (
        "too much memory" in rejection(b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00", "zstandard").detail
    )


def test_the_size_that_snappy_announces_is_looked_at_first() -> None:
    """Four gigabytes in five bytes are no reason to ask for them."""
    assert (
        Reason.MESSAGE_TOO_LARGE == rejection(b"\xff\xff\xff\xff\x0f" + b"x" * 9, "snappy").reason
    )


def test_snappy_is_checked_by_its_checksum() -> None:
    """Bytes that were changed on the way are noticed."""
    block = bytes(cramjam.snappy.compress_raw(b"abc")) + b"\0\0\0\0"
    assert "checksum" in rejection(block, "snappy").detail
