"""Avro's binary encoding of the few types that streamfilter encodes itself.

Source: Apache Avro specification 1.12, "Binary Encoding".
"""

from struct import Struct

FLOAT = Struct("<f")

NULL_BRANCH = b"\x00"
"""Branch 0 of ``["null", T]``: nothing follows."""
VALUE_BRANCH = b"\x02"
"""Branch 1 of ``["null", T]``: the value follows."""


def long(value: int) -> bytes:
    """Encode an int or long: zig-zag, 7 bits a byte, lowest first."""
    rest = (value << 1) ^ (value >> 63)
    if rest < 0x80:
        return bytes((rest,))
    out = bytearray()
    while rest >= 0x80:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def string(text: str) -> bytes:
    """Encode a string: its length in bytes, then UTF-8."""
    encoded = text.encode()
    return long(len(encoded)) + encoded


def nullable_string(text: str | None) -> bytes:
    """Encode a ``["null", "string"]``."""
    return NULL_BRANCH if text is None else VALUE_BRANCH + string(text)


def nullable_float(value: float | None) -> bytes:
    """Encode a ``["null", "float"]``."""
    return NULL_BRANCH if value is None else VALUE_BRANCH + FLOAT.pack(value)


def nullable_long(value: int | None) -> bytes:
    """Encode a ``["null", "long"]``."""
    return NULL_BRANCH if value is None else VALUE_BRANCH + long(value)


def strings(texts: list[str]) -> bytes:
    """Encode an array of strings, in one block."""
    return array([string(text) for text in texts])


def array(items: list[bytes]) -> bytes:
    """Encode an array of encoded items, in one block."""
    if not items:
        return b"\x00"
    return b"".join((long(len(items)), *items, b"\x00"))
