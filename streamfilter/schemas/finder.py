"""Opens a message: its wire form, its writer's schema and the bytes of its one record."""

import threading
from collections.abc import Sequence
from typing import Any, Protocol

from streamfilter.errors import MessageRejected, Reason, SchemaUnavailable
from streamfilter.limits import Limits
from streamfilter.schemas.definition import parse_definition, parse_text
from streamfilter.schemas.wire import (
    SINGLE_OBJECT_MAGIC,
    SYNC_BYTES,
    ContainerHeader,
    Envelope,
    Form,
    WriterSchema,
    form_of,
    malformed,
    read_container_body,
    read_container_header,
    schema_id_of,
)

# Writer schemas in use at once: a few versions for each of a few surveys.
_CONTAINER_HEADERS = 32
_KNOWN_SCHEMAS = 256
_CONFLUENT_HEAD_BYTES = 5
_SINGLE_OBJECT_HEAD_BYTES = 10


SchemaKey = tuple[Form, int]
"""Identifies a writer schema: the wire form, and the schema id or fingerprint."""


def schema_key(value: bytes | None) -> SchemaKey | None:
    """Returns the key of a message's schema; None for a container and for damaged bytes."""
    if not value:
        return None
    if (schema_id := schema_id_of(value)) is not None:
        return Form.CONFLUENT, schema_id
    if value.startswith(SINGLE_OBJECT_MAGIC) and len(value) >= _SINGLE_OBJECT_HEAD_BYTES:
        return Form.SINGLE_OBJECT, int.from_bytes(value[2:_SINGLE_OBJECT_HEAD_BYTES], "little")
    return None


class SchemaSource(Protocol):
    """A place that has writer schemas."""

    @property
    def name(self) -> str:
        """Name of the place in messages."""

    def by_id(self, schema_id: int) -> dict[str, Any] | None:
        """Returns the self-contained definition of a registry id; None where it is unknown.

        Raises
        ------
        SchemaUnavailable
            The place does not answer now.
        """

    def by_fingerprint(self, fingerprint: int) -> dict[str, Any] | None:
        """Returns the self-contained definition of a CRC-64-AVRO; None where it is unknown."""


class SchemaFinder:
    """Opens messages; each writer schema is parsed once and kept.

    Parameters
    ----------
    sources
        Places of schemas for the Confluent and the single-object form, asked in this order.
    limits
        Bounds on the message, its schema and its decompressed record.
    """

    def __init__(self, sources: Sequence[SchemaSource], limits: Limits) -> None:
        self._sources = tuple(sources)
        self._limits = limits
        self._lock = threading.Lock()
        # ZTF repeats 26 kB of schema in each packet; a known one costs only a comparison of bytes.
        self._containers: tuple[tuple[bytes, ContainerHeader, WriterSchema], ...] = ()
        self._found: dict[SchemaKey, WriterSchema] = {}

    def open(self, value: bytes) -> Envelope:
        """Open a message up to its one record.

        Raises
        ------
        MessageRejected
            The message is empty, too large, of no known form, damaged, or of an unknown schema.
        SchemaUnavailable
            A source that may know the schema does not answer now.
        """
        if not value:
            raise MessageRejected(Reason.EMPTY, "the message has no value")
        if len(value) > self._limits.max_message_bytes:
            raise MessageRejected(
                Reason.MESSAGE_TOO_LARGE,
                f"{len(value)} bytes; the limit max_message_bytes is "
                f"{self._limits.max_message_bytes}",
            )
        form = form_of(value)
        if form is Form.OCF:
            return self._open_container(value)
        if form is Form.CONFLUENT:
            return self._open_confluent(value)
        return self._open_single_object(value)

    def _open_container(self, value: bytes) -> Envelope:
        header, schema = self._container(value)
        body = read_container_body(value, header, self._limits)
        return Envelope(Form.OCF, schema, body, container=header)

    def _container(self, value: bytes) -> tuple[ContainerHeader, WriterSchema]:
        for prefix, known, schema in self._containers:
            if value.startswith(prefix) and len(value) >= known.end:
                sync = value[len(prefix) : known.end]
                return ContainerHeader(known.metadata, known.codec, sync, known.end), schema
        header = read_container_header(value, self._limits)
        if "avro.schema" not in header.metadata:
            raise MessageRejected(
                Reason.SCHEMA_MALFORMED, "the container's header has no avro.schema"
            )
        schema = self._schema_of_text(header.metadata["avro.schema"])
        entry = (value[: header.end - SYNC_BYTES], header, schema)
        with self._lock:
            self._containers = (entry, *self._containers[: _CONTAINER_HEADERS - 1])
        return header, schema

    def _schema_of_text(self, text: bytes) -> WriterSchema:
        for _, known, schema in self._containers:
            if known.metadata["avro.schema"] == text:
                return schema
        return parse_text(text, self._limits)

    def _open_confluent(self, value: bytes) -> Envelope:
        key = schema_key(value)
        if key is None:
            raise malformed("the data end inside the schema id", len(value))
        return Envelope(Form.CONFLUENT, self.find(key), value[_CONFLUENT_HEAD_BYTES:], key[1])

    def _open_single_object(self, value: bytes) -> Envelope:
        key = schema_key(value)
        if key is None:
            raise malformed("the data end inside the fingerprint", len(value))
        return Envelope(Form.SINGLE_OBJECT, self.find(key), value[_SINGLE_OBJECT_HEAD_BYTES:])

    def find(self, key: SchemaKey) -> WriterSchema:
        """Returns the writer schema of a key; asks the sources where it is not known yet.

        Raises
        ------
        MessageRejected
            No source has the schema, or it is malformed: asking again does not help.
        SchemaUnavailable
            A source that may have the schema does not answer now.
        """
        known = self._found.get(key)
        if known is not None:
            return known
        form, number = key
        by_id = form is Form.CONFLUENT
        unavailable: SchemaUnavailable | None = None
        for source in self._sources:
            try:
                definition = source.by_id(number) if by_id else source.by_fingerprint(number)
            except SchemaUnavailable as error:
                unavailable = error
                continue
            if definition is not None:
                return self._keep(key, parse_definition(definition))
        if unavailable is not None:
            raise unavailable
        words = f"schema id {number}" if by_id else f"schema fingerprint {number:016x}"
        places = ", ".join(source.name for source in self._sources) or "no source is configured"
        raise MessageRejected(Reason.SCHEMA_UNKNOWN, f"{words} is not known ({places})")

    def _keep(self, key: SchemaKey, schema: WriterSchema) -> WriterSchema:
        with self._lock:
            # The first one stays: decoders keep plans by the identity of the schema object.
            kept = self._found.setdefault(key, schema)
            if len(self._found) > _KNOWN_SCHEMAS:
                del self._found[next(iter(self._found))]
        return kept
