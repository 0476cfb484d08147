"""Encodes records of the simulated surveys' schemas, in two halves.

An Avro record is the concatenation of its fields. History and stamps stay the same from packet to
packet and are encoded once; only the head is encoded for each packet.
"""

import io
import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import fastavro

from streamfilter.files import bundled_folder
from streamfilter.schemas import binary

SIMULATED_SCHEMA_ID = 900001
"""Schema id of the LSST-like packets: no survey's major version will reach 9000."""

Record = dict[str, Any]

_FILES = {"ztf": "ztf.avsc", "lsst": f"{SIMULATED_SCHEMA_ID}.avsc"}
_DETECTION = {"ztf": "candidate", "lsst": "diaSource"}
_SYNC = b"streamfilter-sim"


@dataclass(frozen=True, slots=True, eq=False)
class Writer:
    """A survey's schema: whole, and in two parts, cut after the field with the detection."""

    definition: Record
    head: Any
    tail: Any
    flags: tuple[str, ...]
    """The detection's boolean fields."""

    def encode_head(self, record: Record) -> bytes:
        """Encodes the fields up to the detection."""
        return _encode(self.head, record)

    def encode_tail(self, record: Record) -> bytes:
        """Encodes the fields after the detection: history, objects, stamps."""
        return _encode(self.tail, record)


@cache
def writer(survey: str) -> Writer:
    """Returns the writer of a simulated survey, ``ztf`` or ``lsst``."""
    path = bundled_folder("schemas") / "simulated" / _FILES[survey]
    definition: Record = json.loads(path.read_text(encoding="utf-8"))
    fields = definition["fields"]
    cut = 1 + next(i for i, field in enumerate(fields) if field["name"] == _DETECTION[survey])
    types: Record = {}
    head, tail = (
        fastavro.parse_schema({"type": "record", "name": name, "fields": part}, types)
        for name, part in (("head", fields[:cut]), ("tail", fields[cut:]))
    )
    detection = fields[cut - 1]["type"]["fields"]
    flags = tuple(field["name"] for field in detection if "boolean" in field["type"])
    return Writer(definition, head, tail, flags)


def object_container(survey: str, body: bytes) -> bytes:
    """Returns an Avro object container of one record, uncompressed, with its schema."""
    return b"".join((_ocf_header(survey), binary.long(1), binary.long(len(body)), body, _SYNC))


def confluent(body: bytes) -> bytes:
    """Returns Confluent's wire form: 0x00, the 4-byte big-endian schema id, the record."""
    return b"\x00" + SIMULATED_SCHEMA_ID.to_bytes(4, "big") + body


@cache
def _ocf_header(survey: str) -> bytes:
    """Returns the container's header: magic, metadata (codec and schema) and sync marker."""
    text = json.dumps(writer(survey).definition, separators=(",", ":"))
    metadata = ("avro.codec", "null", "avro.schema", text)
    entries = b"".join(map(binary.string, metadata))
    return b"".join((b"Obj\x01", binary.long(2), entries, b"\x00", _SYNC))


def _encode(schema: Any, record: Record) -> bytes:
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, schema, record)
    return buffer.getvalue()
