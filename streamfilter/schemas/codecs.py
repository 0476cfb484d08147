"""The codecs of Avro's object container files: how a block of records is compressed."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import cramjam

from streamfilter.errors import MessageRejected, Reason
from streamfilter.limits import Limits

# Decompression of xz may claim a dictionary of gigabytes; real packets need less than 1 MB.
_XZ_MEMORY_BYTES = 64 * 2**20
# After a snappy block: CRC of the uncompressed records, big-endian.
_CRC_BYTES = 4
_FOREIGN = (
    cramjam.DecompressionError, zlib.error, lzma.LZMAError, OSError, ValueError, MemoryError,
    EOFError,
)  # fmt: skip
# cramjam's message where its output does not fit; it has no exception type for that.
_FULL = "failed to write whole buffer"


class _TooLarge(Exception):
    """The decompressed bytes exceed the limit."""


class _Damaged(Exception):
    """Says what is wrong with a block."""


@dataclass(frozen=True, slots=True)
class Codec:
    """The two functions of one codec."""

    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes, int], bytes]
    """Takes a block and the limit of its decompressed bytes."""


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _streamed(decompressor: Callable[[], _Decompressor]) -> Callable[[bytes, int], bytes]:
    def decompress(block: bytes, most: int) -> bytes:
        stream = decompressor()
        body = stream.decompress(block, most + 1)
        if len(body) > most:
            raise _TooLarge
        # Bytes after the stream stay unread: fastavro leaves three of zlib's checksum there.
        if not stream.eof:
            raise _Damaged("the stream is cut short")
        return body

    return decompress


def _from_snappy(block: bytes, most: int) -> bytes:
    content, checksum = block[:-_CRC_BYTES], block[-_CRC_BYTES:]
    # The content begins with the size, which is allocated before the rest is read.
    if cramjam.snappy.decompress_raw_len(content) > most:
        raise _TooLarge
    body = bytes(cramjam.snappy.decompress_raw(content))
    if zlib.crc32(body) != int.from_bytes(checksum, "big"):
        raise _Damaged("the checksum is another")
    return body


def _to_snappy(body: bytes) -> bytes:
    checksum = zlib.crc32(body).to_bytes(_CRC_BYTES, "big")
    return bytes(cramjam.snappy.compress_raw(body)) + checksum


def _from_zstandard(block: bytes, most: int) -> bytes:
    import numpy as np  # takes 0.3 s, which readers of annotations save

    # A frame need not state its size. Memory that is never written costs nothing.
    room: Any = np.empty(most, np.uint8)
    try:
        size = cramjam.zstd.decompress_into(block, room)
    except cramjam.DecompressionError as error:
        if _FULL in str(error):
            raise _TooLarge from error
        raise
    return bytes(room[:size])


CODECS: Mapping[str, Codec] = {
    "null": Codec(lambda body: body, lambda block, most: block),
    "deflate": Codec(
        lambda body: zlib.compress(body, wbits=-zlib.MAX_WBITS),
        _streamed(lambda: zlib.decompressobj(-zlib.MAX_WBITS)),
    ),
    "bzip2": Codec(bz2.compress, _streamed(bz2.BZ2Decompressor)),
    "xz": Codec(lzma.compress, _streamed(lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES))),
    "snappy": Codec(_to_snappy, _from_snappy),
    "zstandard": Codec(lambda body: bytes(cramjam.zstd.compress(body)), _from_zstandard),
}
"""Codecs by their name in a container's header: all that Avro 1.12 specifies."""


def codec_of(name: str) -> Codec:
    """Returns the codec of a name.

    Raises
    ------
    MessageRejected
        There is no such codec.
    """
    if name not in CODECS:
        raise MessageRejected(
            Reason.WIRE_FORM_UNKNOWN, f"codec {name[:40]!r}; expected one of {', '.join(CODECS)}"
        )
    return CODECS[name]


def decompress(block: bytes, name: str, limits: Limits) -> bytes:
    """Returns the decompressed records of a block of an object container file.

    Raises
    ------
    MessageRejected
        The codec is unknown, the block is damaged or holds more than ``max_message_bytes``.
    """
    try:
        return codec_of(name).decompress(block, limits.max_message_bytes)
    except _TooLarge as error:
        raise MessageRejected(
            Reason.MESSAGE_TOO_LARGE,
            f"a {name} record of over {limits.max_message_bytes} bytes; "
            "the limit is limits.max_message_bytes",
        ) from error
    except _Damaged as error:
        raise MessageRejected(Reason.AVRO_MALFORMED, f"{name} block: {error}") from error
    except _FOREIGN as error:
        within = ", or that want too much memory" if name in ("xz", "zstandard") else ""
        detail = f"{name} block: {len(block)} bytes that are not {name}{within}"
        raise MessageRejected(Reason.AVRO_MALFORMED, detail) from error
