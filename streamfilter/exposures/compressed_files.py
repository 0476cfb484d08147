"""Unpacks files that are compressed as a whole, never beyond a limit: gzip, bzip2, xz, compress."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

from streamfilter.exposures import lzw
from streamfilter.exposures.records import FrameReason
from streamfilter.exposures.refusal import Refusal, too_many_bytes

ENDINGS = ("fz", "gz", "bz2", "xz", "Z")
"""Of the names of compressed frames, the first that of tiles, which the FITS reader unpacks."""

# Block-wise gzip has a member for each 64 kB; each costs microseconds.
_MOST_MEMBERS, _PIECE_BYTES = 20_000, 2**16
# `xz -9` needs 65 MiB; a head may ask for 4 GiB.
_XZ_MEMORY_BYTES = 2**28
_OTHER = {
    b"PK\x03\x04": "zip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
}


class _Machine(Protocol):
    """What ``zlib``, ``bz2`` and ``lzma`` have in common: they unpack one member."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: memoryview, max_length: int, /) -> bytes: ...


_MACHINES: Mapping[bytes, tuple[str, Callable[[], _Machine]]] = {
    b"\x1f\x8b": ("gzip", lambda: zlib.decompressobj(zlib.MAX_WBITS | 16)),
    b"BZh": ("bzip2", bz2.BZ2Decompressor),
    b"\xfd7zXZ\0": ("xz", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY_BYTES)),
}
_COMPRESSED = {magic: name for magic, (name, _) in _MACHINES.items()} | {lzw.MAGIC: "compress"}


def unpacked(content: bytes, most: int) -> bytes:
    """Returns FITS bytes: those of a file as they are, or unpacked where it is compressed.

    Parameters
    ----------
    most
        Limit in bytes, for the file and for what is in it.

    Raises
    ------
    Refusal
        The bytes are no FITS file, damaged, compressed in another way or twice, or too many.
    """
    if not content:
        raise Refusal(FrameReason.EMPTY, "0 bytes")
    if len(content) > most:
        raise too_many_bytes(f"{len(content)} bytes", most)
    for magic, (name, machine) in _MACHINES.items():
        if content.startswith(magic):
            content = _unpacked(content, most, name, machine)
            break
    else:
        if content.startswith(lzw.MAGIC):
            content = lzw.unpacked(content, most)
    for magic, name in (_COMPRESSED | _OTHER).items():
        if content.startswith(magic):
            detail = f"{name}; expected FITS, once in gzip, bzip2, xz or compress, or tiles (.fz)"
            raise Refusal(FrameReason.COMPRESSION_UNKNOWN, detail)
    if not content.startswith(b"SIMPLE  ="):
        raise Refusal(FrameReason.NOT_FITS, f"starts with {content[:9]!r}, not b'SIMPLE  ='")
    return content


def _unpacked(content: bytes, most: int, name: str, machine: Callable[[], _Machine]) -> bytes:
    """Returns the content of a file of one or more members; checks the checksums."""
    result, position = bytearray(), 0
    for _ in range(_MOST_MEMBERS):
        position = _unpack_member(content, position, result, most, name, machine())
        # Zeros after the last member are padding; no member begins with a zero.
        if content[position : position + 1] in (b"", b"\0") and not content[position:].strip(b"\0"):
            return bytes(result)
    raise Refusal(FrameReason.MALFORMED, f"{name} of over {_MOST_MEMBERS} members")


def _unpack_member(
    content: bytes, position: int, result: bytearray, most: int, name: str, machine: _Machine
) -> int:
    """Append a member's content to the result; returns the position behind the member."""
    view = memoryview(content)
    while not machine.eof:
        # Piece by piece, because the machine copies all bytes that follow the member's end.
        piece = view[position : position + _PIECE_BYTES]
        try:
            result += machine.decompress(piece, most + 1 - len(result))
        except (zlib.error, lzma.LZMAError, OSError) as error:
            if str(error) == "Memory usage limit exceeded":
                detail = f"{name} that takes over {_XZ_MEMORY_BYTES} bytes to unpack"
                raise Refusal(FrameReason.TOO_LARGE, detail) from error
            detail = f"{name} is damaged, after {len(result)} bytes"
            raise Refusal(FrameReason.MALFORMED, detail) from error
        if len(result) > most:
            raise too_many_bytes(f"{name} of over {most} bytes", most)
        position += len(piece) - len(machine.unused_data)
        if not piece and not machine.eof:
            detail = f"{name} ends early, after {len(result)} bytes"
            raise Refusal(FrameReason.TRUNCATED, detail)
    return position
