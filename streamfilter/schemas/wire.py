"""The wire forms of a message: Avro object container, Confluent, single-object encoding."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Form(StrEnum):
    """How an Avro record stands in a message."""

    OCF = "ocf"
    """Object container file: magic ``Obj\\x01``, the schema inside (ZTF, WINTER, DECam, PGIR)."""
    CONFLUENT = "confluent"
    """0x00, 4-byte big-endian schema id, the record (LSST)."""
    SINGLE_OBJECT = "single_object"
    """0xC3 0x01, 8-byte little-endian CRC-64-AVRO of the schema, the record."""


@dataclass(frozen=True, slots=True, eq=False)
class WriterSchema:
    """A parsed writer schema.

    ``definition`` is the JSON as found (named types defined where they are first used);
    ``parsed`` is what ``fastavro.parse_schema`` made of it.
    """

    name: str
    """Full name of the top record, such as ``ztf.alert``."""
    definition: dict[str, Any]
    parsed: Any


@dataclass(frozen=True, slots=True, eq=False)
class Envelope:
    """A message opened as far as its one record: the form, the writer's schema, the body."""

    form: Form
    schema: WriterSchema
    body: bytes
    """The encoded record alone: not compressed, no header, no block length, no sync marker."""
    schema_id: int | None = None
    """Of the Confluent form."""
