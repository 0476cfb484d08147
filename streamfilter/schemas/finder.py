"""Opens a message: its wire form, its writer's schema and the bytes of its one record."""

import threading
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable
from uuid import UUID

from streamfilter.errors import MessageRejected, Reason, SchemaUnavailable
from streamfilter.limits import Limits
from streamfilter.schemas.definition import parse_definition, parse_text
from streamfilter.schemas.foreign_forms import odd_id
from streamfilter.schemas.wire import (
    SINGLE_OBJECT_MAGIC,
    SYNC_BYTES,
    VALUE_SCHEMA_ID,
    ContainerHeader,
    Envelope,
    Form,
    Headers,
    WriterSchema,
    form_of,
    malformed,
    read_container_body,
    read_container_header,
    schema_id_of,
    schema_in,
)

# Writer schemas in use at once: a few versions for each of a few surveys.
_CONTAINER_HEADERS = 32
_KNOWN_SCHEMAS = 256
_CONFLUENT_HEAD_BYTES = 5
_SINGLE_OBJECT_HEAD_BYTES = 10


SchemaKey = tuple[Form, int | UUID]
"""Identifies a writer schema: the wire form, and the schema id, GUID or fingerprint."""


def schema_key(value: bytes | None, headers: Headers = ()) -> SchemaKey | None:
    """Returns the key of a message's schema; None for a container and for damaged bytes.

    Raises
    ------
    MessageRejected
        The header that names the schema cannot be used.
    """
    if not value:
        return None
    if (named := schema_in(headers)) is not None:
        return Form.HEADER, named
    if (schema_id := schema_id_of(value)) is not None:
        return Form.CONFLUENT, schema_id
    if value.startswith(SINGLE_OBJECT_MAGIC) and len(value) >= _SINGLE_OBJECT_HEAD_BYTES:
        return Form.SINGLE_OBJECT, int.from_bytes(value[2:_SINGLE_OBJECT_HEAD_BYTES], "little")
    return None


def key_words(key: SchemaKey) -> str:
    """Returns the words for a key in messages."""
    form, number = key
    if form is Form.SINGLE_OBJECT:
        return f"schema fingerprint {number:016x}"
    named = f"schema GUID {number}" if isinstance(number, UUID) else f"schema id {number}"
    return f"{named} of the header {VALUE_SCHEMA_ID}" if form is Form.HEADER else named


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


@runtime_checkable
class GuidSource(Protocol):
    """A place that also has schemas by GUID: a registry."""

    def by_guid(self, guid: UUID) -> dict[str, Any] | None:
        """Returns the self-contained definition of a GUID; None where it is unknown.

        Raises
        ------
        SchemaUnavailable
            The place does not answer now.
        """


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

    def open(self, value: bytes, headers: Headers = ()) -> Envelope:
        """Open a message up to its one record.

        Parameters
        ----------
        value
            The message's value.
        headers
            Its Kafka headers: where one of them names the schema, the value is the record alone.

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
                f"{len(value)} bytes; limits.max_message_bytes is {self._limits.max_message_bytes}",
            )
        if (named := schema_in(headers)) is not None:
            schema_id = named if isinstance(named, int) else None
            return Envelope(Form.HEADER, self.find((Form.HEADER, named)), value, schema_id)
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
        schema_id = schema_id_of(value)
        if schema_id is None:
            raise malformed("the data end inside the schema id", len(value))
        schema = self.find((Form.CONFLUENT, schema_id))
        return Envelope(Form.CONFLUENT, schema, value, schema_id, start=_CONFLUENT_HEAD_BYTES)

    def _open_single_object(self, value: bytes) -> Envelope:
        key = schema_key(value)
        if key is None:
            raise malformed("the data end inside the fingerprint", len(value))
        schema = self.find(key)
        return Envelope(Form.SINGLE_OBJECT, schema, value, start=_SINGLE_OBJECT_HEAD_BYTES)

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
        unavailable: SchemaUnavailable | None = None
        for source in self._sources:
            try:
                definition = _definition(source, key)
            except SchemaUnavailable as error:
                unavailable = error
                continue
            if definition is not None:
                return self._keep(key, parse_definition(definition))
        if unavailable is not None:
            raise unavailable
        places = ", ".join(source.name for source in self._sources) or "no source is configured"
        form, number = key
        odd = odd_id(number) if form is Form.CONFLUENT and isinstance(number, int) else ""
        raise MessageRejected(
            Reason.SCHEMA_UNKNOWN, f"{key_words(key)} is not known ({places}){odd}"
        )

    def _keep(self, key: SchemaKey, schema: WriterSchema) -> WriterSchema:
        with self._lock:
            # The first one stays: decoders keep plans by the identity of the schema object.
            kept = self._found.setdefault(key, schema)
            if len(self._found) > _KNOWN_SCHEMAS:
                del self._found[next(iter(self._found))]
        return kept


def _definition(source: SchemaSource, key: SchemaKey) -> dict[str, Any] | None:
    """Returns the definition that one source has for a key."""
    form, number = key
    if isinstance(number, UUID):
        return source.by_guid(number) if isinstance(source, GuidSource) else None
    return source.by_fingerprint(number) if form is Form.SINGLE_OBJECT else source.by_id(number)
