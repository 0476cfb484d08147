"""`compress` files (.Z): codes of every width, with and without new tables, and damage."""

import base64

import numpy as np
import pytest
from compress_writer import compressed, packed

from streamfilter.exposures import lzw
from streamfilter.exposures.records import FrameReason
from streamfilter.exposures.refusal import Refusal

# A FITS image of 4 x 3 px that ncompress 4.2.4.6 has written.
REAL = base64.b64decode(
    "H52QU5I0gcKkCAgQPQ4qXMiwIRUQL0CMeePGzBs5beaAoPMGhJEkVKaAmEMnjBsyYeSQaciyJQghIKEkwXIwoUuXMW"
    "xABJFSTpg8IFCW3JgHTpmbSJE6CYIliciaSVvK2OmmThsxZeSAeGOGpxyfQMmkaVPGzZw0FDVGZbm06ZQYUNcypCG3"
    "rt2DbZ1ORXj34Iy+gJEWwUKliBMice8+DMy4oWHEjSNLnky5suXLmDNr3sy5s+fPoEOLHk26tOnTqFOrXs26tevXsG"
    "PLnk27tu3buHPr3s27t+/fwIMHBkA8AAABAAYAIACgAAADAA4AQAAgAQAFABYQ3869u/fv4MOLH0++vPnz6NOrX8++"
    "vfv38OPLn0+/vv37+PPr38+/v///AAYo4IAEFmjggQgmqOCCDDbo4IMQRijhhBRWaOGFGGao4YYcdujhhyCGKOKI3w"
    "E="
)
RANDOM = np.random.default_rng(1).integers(0, 250, 90_000, dtype=np.uint8).tobytes()


def reason(content: bytes, most: int = 10**6) -> FrameReason:
    with pytest.raises(Refusal) as caught:
        lzw.unpacked(content, most)
    assert caught.value.detail
    return caught.value.reason


def test_a_file_of_the_program_itself_is_read() -> None:
    """Its pixels are 0 to 11."""
    content = lzw.unpacked(REAL, 10**6)
    assert 5760 == len(content)
    assert list(range(12)) == np.frombuffer(content, ">i2", 12, 2880).tolist()


@pytest.mark.parametrize("begins_anew", [True, False])
@pytest.mark.parametrize("widest", [10, 12, 16])
@pytest.mark.parametrize("content", [b"", b"a", b"ab" * 300, RANDOM], ids=len)
def test_codes_of_every_width_are_read(content: bytes, widest: int, begins_anew: bool) -> None:
    """Also the code of a string that this very code makes (of "ababab...")."""
    packed_content = compressed(content, widest, begins_anew=begins_anew)
    assert content == lzw.unpacked(packed_content, 10**6)


def test_a_table_can_begin_anew() -> None:
    """The group of its last code is filled up; codes have nine bits again."""
    head = b"\x1f\x9d\x90"
    tables = packed([97, 257, 256], 9, whole=True) + packed([98, 257], 9, whole=False)
    assert b"aaabbb" == lzw.unpacked(head + tables, 10)


def test_damage_has_a_reason() -> None:
    """No code is taken that the table has not, and nothing beyond the limit."""
    assert FrameReason.TRUNCATED == reason(b"\x1f\x9d")
    assert FrameReason.MALFORMED == reason(b"\x1f\x9d\x9f" + bytes(9))
    assert FrameReason.MALFORMED == reason(b"\x1f\x9d\x90" + packed([300], 9, whole=False))
    assert FrameReason.MALFORMED == reason(b"\x1f\x9d\x90" + packed([97, 300], 9, whole=False))
    assert FrameReason.TOO_LARGE == reason(compressed(bytes(10**6)), 10**5)
    new_tables = packed([256], 9, whole=True)
    assert FrameReason.MALFORMED == reason(b"\x1f\x9d\x90" + new_tables * 30_000)


def test_no_damaged_byte_raises_another_error() -> None:
    """For any changed byte there is content within the limit, or a reason."""
    content, rng, refused = compressed(RANDOM[:3000] * 3), np.random.default_rng(3), 0
    for _ in range(300):
        damaged = bytearray(content)
        for at in rng.integers(2, len(content), 3):
            damaged[at] = int(rng.integers(0, 256))
        try:
            assert len(lzw.unpacked(bytes(damaged), 10**5)) <= 10**5 + 2**16
        except Refusal:
            refused += 1
    assert 0 < refused < 300
