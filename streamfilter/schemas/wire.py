"""The wire forms of a message: Avro object container, Confluent, single-object encoding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from streamfilter.errors import MessageRejected, Reason
from streamfilter.limits import Limits
from streamfilter.schemas.codecs import codec_of, decompress
from streamfilter.schemas.foreign_forms import foreign_form

CONTAINER_MAGIC = b"Obj\x01"
SINGLE_OBJECT_MAGIC = b"\xc3\x01"
SYNC_BYTES = 16
# A varint of 64 bits takes at most ten bytes of seven bits.
_LONG_BYTES = 10
# Metadata besides the schema; real containers have two or three short entries.
_MOST_METADATA = 100
_METADATA_BYTES = 2**16


VALUE_SCHEMA_ID = "__value_schema_id"
"""Kafka header of Confluent's newer serialisers: 00 and the schema's id in 4 bytes, big-endian, or
01 and its GUID in 16. The value is the record alone then, whatever it begins with."""
_ID, _GUID = b"\x00", b"\x01"
_ID_BYTES, _GUID_BYTES = 4, 16
_SHOWN_BYTES = 24  # of a header that cannot be used

Headers = Sequence[tuple[str, bytes | None]]
"""A message's Kafka headers."""


class Form(StrEnum):
    """How a message carries an Avro record."""

    OCF = "ocf"
    """Object container file: magic ``Obj\\x01``, the schema inside (ZTF, WINTER, DECam, PGIR)."""
    CONFLUENT = "confluent"
    """0x00, 4-byte big-endian schema id, the record (LSST)."""
    SINGLE_OBJECT = "single_object"
    """0xC3 0x01, 8-byte little-endian CRC-64-AVRO of the schema, the record."""
    HEADER = "header"
    """Only the record: a Kafka header has the schema's id or GUID."""


@dataclass(frozen=True, slots=True, eq=False)
class WriterSchema:
    """A parsed writer schema.

    ``definition`` is the original JSON, with named types defined where they are first used;
    ``parsed`` is the result of ``fastavro.parse_schema``.
    """

    name: str
    """Full name of the top record, such as ``ztf.alert``."""
    definition: dict[str, Any]
    parsed: Any


@dataclass(frozen=True, slots=True)
class ContainerHeader:
    """The head of an object container file."""

    metadata: Mapping[str, bytes]
    codec: str
    sync: bytes
    end: int
    """Position of the first block, right after the sync marker."""


@dataclass(frozen=True, slots=True, eq=False)
class Envelope:
    """An opened message: its form, its writer's schema, and the body of its one record."""

    form: Form
    schema: WriterSchema
    data: bytes
    """The encoded record, decompressed, from ``start`` to the end: a large one is not copied."""
    schema_id: int | None = None
    """Only in the Confluent form, and where a header names the schema by id."""
    container: ContainerHeader | None = None
    """Only in the object container form."""
    start: int = 0

    @property
    def body(self) -> bytes:
        """Only the encoded record: without header, block length and sync marker."""
        return self.data[self.start :]


def malformed(detail: str, byte: int) -> MessageRejected:
    """Returns the rejection of bytes that are not Avro, with the position of the first."""
    return MessageRejected(Reason.AVRO_MALFORMED, detail, byte)


def read_long(data: bytes, position: int) -> tuple[int, int]:
    """Returns an Avro ``int`` or ``long`` (zigzag varint) and the position after it.

    Raises
    ------
    MessageRejected
        The data end inside the number, or it takes over ten bytes.
    """
    result = shift = 0
    number = data[position : position + _LONG_BYTES]
    for byte in number:
        result |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (result >> 1) ^ -(result & 1), position + shift // 7
    if len(number) < _LONG_BYTES:
        raise malformed("the data end inside a number", len(data))
    raise malformed(f"a number of over {_LONG_BYTES} bytes", position)


def read_bytes(data: bytes, position: int) -> tuple[bytes, int]:
    """Returns an Avro ``bytes`` or ``string``, undecoded, and the position after it.

    Raises
    ------
    MessageRejected
        The length is negative or reaches past the end of the data.
    """
    size, start = read_long(data, position)
    if not 0 <= size <= len(data) - start:
        raise malformed(f"a length of {size} where {len(data) - start} bytes are left", position)
    return data[start : start + size], start + size


def form_of(value: bytes) -> Form:
    """Returns the wire form, which the first bytes identify.

    Raises
    ------
    MessageRejected
        They identify none.
    """
    if value.startswith(CONTAINER_MAGIC):
        return Form.OCF
    if value.startswith(b"\x00"):
        return Form.CONFLUENT
    if value.startswith(SINGLE_OBJECT_MAGIC):
        return Form.SINGLE_OBJECT
    raise MessageRejected(
        Reason.WIRE_FORM_UNKNOWN,
        f"first bytes {value[:4].hex(' ')}{foreign_form(value)}; expected an Avro object "
        "container (4f 62 6a 01), the Confluent form (00), single-object encoding (c3 01), or a "
        f"bare record with the Kafka header {VALUE_SCHEMA_ID}",
    )


def schema_in(headers: Headers) -> int | UUID | None:
    """Returns the schema's id or GUID in the Kafka headers; None where there is none.

    Raises
    ------
    MessageRejected
        It cannot be used: it is neither, or there are two that differ.
    """
    found = {data for name, data in headers if name == VALUE_SCHEMA_ID and data is not None}
    if not found:
        return None
    if len(found) > 1:
        raise MessageRejected(
            Reason.WIRE_FORM_UNKNOWN,
            f"{len(found)} headers {VALUE_SCHEMA_ID} that differ; expected one",
        )
    (data,) = found
    if data.startswith(_ID) and len(data) == 1 + _ID_BYTES:
        return int.from_bytes(data[1:], "big")
    if data.startswith(_GUID) and len(data) == 1 + _GUID_BYTES:
        return UUID(bytes=data[1:])
    shown = data[:_SHOWN_BYTES].hex(" ") + (" ..." if len(data) > _SHOWN_BYTES else "")
    raise MessageRejected(
        Reason.WIRE_FORM_UNKNOWN,
        f"the header {VALUE_SCHEMA_ID} has {len(data)} bytes, {shown or 'none'}; expected 00 and a "
        f"schema id of {_ID_BYTES} bytes, or 01 and a GUID of {_GUID_BYTES}",
    )


def schema_id_of(value: bytes, headers: Headers = ()) -> int | None:
    """Returns the schema id of a message, from its headers or the Confluent form; else None."""
    try:
        named = schema_in(headers)
    except MessageRejected:
        return None
    if named is not None:
        return named if isinstance(named, int) else None
    if value.startswith(b"\x00") and len(value) >= 5:
        return int.from_bytes(value[1:5], "big")
    return None


def read_container_header(value: bytes, limits: Limits) -> ContainerHeader:
    """Returns the metadata, codec and sync marker of an object container file.

    Raises
    ------
    MessageRejected
        The header is damaged, or holds more than a schema of ``max_schema_bytes`` takes.
    """
    metadata: dict[str, bytes] = {}
    most = limits.max_schema_bytes + _METADATA_BYTES
    entries, position = 0, len(CONTAINER_MAGIC)
    while True:
        count, position = read_long(value, position)
        if count == 0:
            break
        if count < 0:
            # A negative count is followed by the block's size in bytes, which nobody needs.
            count = -count
            _, position = read_long(value, position)
        for _ in range(count):
            name, position = read_bytes(value, position)
            metadata[name.decode("utf-8", "replace")], position = read_bytes(value, position)
            # A name may repeat, so all entries count, not only different ones.
            entries += 1
            if entries > _MOST_METADATA or position > most:
                raise MessageRejected(
                    Reason.SCHEMA_MALFORMED,
                    f"a container's header of over {_MOST_METADATA} entries or {most} bytes",
                )
    sync = value[position : position + SYNC_BYTES]
    if len(sync) < SYNC_BYTES:
        raise malformed("the data end inside the sync marker", len(value))
    codec = metadata.get("avro.codec", b"null").decode("utf-8", "replace")
    return ContainerHeader(metadata, codec, sync, position + SYNC_BYTES)


def read_container_body(value: bytes, header: ContainerHeader, limits: Limits) -> bytes:
    """Returns the one record of an object container file, decompressed.

    Raises
    ------
    MessageRejected
        The codec is unknown, the file holds no record or several, is damaged, or its record is
        too large.
    """
    codec_of(header.codec)
    if header.end == len(value):
        raise MessageRejected(Reason.RECORD_COUNT, "no block of records; expected one record")
    count, position = read_long(value, header.end)
    if count != 1:
        raise MessageRejected(
            Reason.RECORD_COUNT, f"a block of {count} records at byte {header.end}; expected one"
        )
    block, position = read_bytes(value, position)
    if value[position : position + SYNC_BYTES] != header.sync:
        raise malformed("the sync marker is missing", position)
    if position + SYNC_BYTES != len(value):
        raise MessageRejected(
            Reason.RECORD_COUNT,
            f"{len(value) - position - SYNC_BYTES} bytes after the first block; expected one block",
        )
    return decompress(block, header.codec, limits)
