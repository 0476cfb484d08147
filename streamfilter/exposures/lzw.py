"""Unpacks ``compress`` files (.Z), in which the archives of ESO and others keep their frames.

Codes of 9 to 16 bits, the lowest bit first, in groups of eight; a group is filled up where the
codes grow wider or the table begins anew. A file has no checksum and no mark at its end.
Source: Welch 1984, IEEE Computer 17(6), 8; the format is that of ``compress`` 4.0 and gzip.
"""

import numpy as np

from streamfilter.exposures.records import FrameReason
from streamfilter.exposures.refusal import Refusal, too_many_bytes

MAGIC = b"\x1f\x9d"
_FIRST_BITS, _MOST_BITS = 9, 16
_CLEAR = 256
"""The code that begins the table anew, in files whose third byte has the highest bit."""
_GROUP = 8
_AT_ONCE = 4096 * _GROUP
"""Codes taken from the bytes in one step."""
_MOST_TABLES = 20_000
"""``compress`` begins a table anew after 65,280 codes at the earliest; each costs microseconds."""


def unpacked(content: bytes, most: int) -> bytes:
    """Returns the content of a ``compress`` file, of at most ``most`` bytes.

    Raises
    ------
    Refusal
        The file is damaged, cut in its head, or unpacks to more.
    """
    if len(content) < len(MAGIC) + 1:
        raise Refusal(FrameReason.TRUNCATED, "compress ends early, in its head")
    widest, begins_anew = content[2] & 0x1F, bool(content[2] & 0x80)
    if not _FIRST_BITS < widest <= _MOST_BITS:
        detail = f"compress with codes of {widest} bits; expected 10 to {_MOST_BITS}"
        raise Refusal(FrameReason.MALFORMED, detail)
    result = bytearray()
    position = len(MAGIC) + 1
    for _ in range(_MOST_TABLES):
        if position >= len(content):
            return bytes(result)
        position = _Table(widest, begins_anew).read(content, position, result, most)
    raise Refusal(FrameReason.MALFORMED, f"compress of over {_MOST_TABLES} tables")


class _Table:
    """One table of strings, from its first code to the one that begins another.

    A string is a stretch of the result, and each new one is the string before and a byte more: so
    the table holds where strings begin and end, and takes no memory for what is in them.
    """

    def __init__(self, widest: int, begins_anew: bool) -> None:
        self._widest, self._begins_anew = widest, begins_anew
        first = _CLEAR + begins_anew
        self._starts, self._stops = [0] * first, [0] * first
        self._before = -1
        """Where the last string begins in the result; -1 before the first."""

    def read(self, content: bytes, position: int, result: bytearray, most: int) -> int:
        """Append to the result; returns the position behind the table's last code."""
        for width in range(_FIRST_BITS, self._widest + 1):
            while (codes := self._room(width)) and position < len(content):
                numbers = _codes(content, position, width, min(codes, _AT_ONCE))
                read, cleared = self._append(numbers, result, most)
                position += -(-read // _GROUP) * width
                if cleared:
                    return position
                if read < min(codes, _AT_ONCE):
                    return len(content)
        return len(content)

    def _room(self, width: int) -> int:
        """Returns how many more codes have this width."""
        if width == self._widest:
            return _AT_ONCE
        return (1 << width) - len(self._starts) + (self._before < 0)

    def _append(self, codes: list[int], result: bytearray, most: int) -> tuple[int, bool]:
        """Append the codes' strings; returns how many were read, and whether a new table begins."""
        starts, stops, before = self._starts, self._stops, self._before
        clear, full = _CLEAR if self._begins_anew else -1, 1 << self._widest
        for number, code in enumerate(codes):
            at = len(result)
            if at > most:
                raise too_many_bytes(f"compress of over {most} bytes", most)
            if code < _CLEAR:
                result.append(code)
            elif code == clear:
                return number + 1, True
            elif code < len(starts):
                result += result[starts[code] : stops[code]]
            elif code == len(starts) < full and before >= 0:
                # The string before and its own first byte: it is made by this very code.
                result += result[before:at]
                result.append(result[before])
            else:
                raise Refusal(FrameReason.MALFORMED, f"compress is damaged, after {at} bytes")
            if before >= 0 and len(starts) < full:
                starts.append(before)
                stops.append(at + 1)
            before = at
        self._before = before
        return len(codes), False


def _codes(content: bytes, position: int, width: int, count: int) -> list[int]:
    """Returns up to ``count`` codes of a width; fewer where the file ends."""
    piece = content[position : position + -(-count * width // 8)]
    count = min(count, len(piece) * 8 // width)
    octets = np.frombuffer(piece + b"\0\0", np.uint8).astype(np.uint32)
    bit = np.arange(count) * width
    byte = bit >> 3
    words = octets[byte] | octets[byte + 1] << 8
    # A code of up to 16 bits that does not begin with a byte lies in three.
    words |= octets[np.minimum(byte + 2, len(octets) - 1)] << 16
    codes: list[int] = ((words >> (bit & 7).astype(np.uint32)) & ((1 << width) - 1)).tolist()
    return codes
