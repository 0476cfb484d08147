"""Opening a message: its wire form, its writer's schema and the bytes of its one record."""

import threading
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable
from uuid import UUID

from streamfilter.errors import MessageRejected, Reason, SchemaUnavailable
from streamfilter.limits import Limits
from streamfilter.schemas.definition import parse_definition, parse_text
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
"""Under which a writer schema is asked for: the form, and the id, fingerprint or GUID."""


def schema_key(value: bytes | None, headers: Headers = ()) -> SchemaKey | None:
    """What a message's schema is asked for by; None where it needs no asking, or cannot be said.

    Raises
    ------
    MessageRejected
        The header that should say it cannot be used.
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
    """What a schema is asked for by, in words."""
    form, number = key
    if form is Form.SINGLE_OBJECT:
        return f"schema fingerprint {number:016x}"
    named = f"schema GUID {number}" if isinstance(number, UUID) else f"schema id {number}"
    return f"{named} of the header {VALUE_SCHEMA_ID}" if form is Form.HEADER else named


class SchemaSource(Protocol):
    """A place that knows writer schemas."""

    @property
    def name(self) -> str:
        """How messages call the place."""

    def by_id(self, schema_id: int) -> dict[str, Any] | None:
        """The self-contained definition under a registry id; None where it is unknown.

        Raises
        ------
        SchemaUnavailable
            The place does not answer now.
        """

    def by_fingerprint(self, fingerprint: int) -> dict[str, Any] | None:
        """The self-contained definition of a CRC-64-AVRO; None where it is unknown."""


@runtime_checkable
class GuidSource(Protocol):
    """A place that also knows schemas by GUID: a registry."""

    def by_guid(self, guid: UUID) -> dict[str, Any] | None:
        """The self-contained definition under a GUID; None where it is unknown.

        Raises
        ------
        SchemaUnavailable
            The place does not answer now.
        """


class SchemaFinder:
    """Opens messages; writer schemas are parsed once and kept.

    Parameters
    ----------
    sources
        Where schemas of the Confluent and the single-object form are looked up, in this order.
    limits
        Bounds on the message, its schema and its decompressed record.
    """

    def __init__(self, sources: Sequence[SchemaSource], limits: Limits) -> None:
        self._sources = tuple(sources)
        self._limits = limits
        self._lock = threading.Lock()
        # ZTF repeats 26 kB of schema in each packet; comparing bytes is all that a known one costs.
        self._containers: tuple[tuple[bytes, ContainerHeader, WriterSchema], ...] = ()
        self._found: dict[SchemaKey, WriterSchema] = {}

    def open(self, value: bytes, headers: Headers = ()) -> Envelope:
        """The message opened as far as its one record.

        Parameters
        ----------
        value
            Of the message.
        headers
            Its Kafka headers: one of them may name the schema, and then the value is not looked at
            for its form.

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
        return Envelope(Form.CONFLUENT, schema, value[_CONFLUENT_HEAD_BYTES:], schema_id)

    def _open_single_object(self, value: bytes) -> Envelope:
        key = schema_key(value)
        if key is None:
            raise malformed("the data end inside the fingerprint", len(value))
        return Envelope(Form.SINGLE_OBJECT, self.find(key), value[_SINGLE_OBJECT_HEAD_BYTES:])

    def find(self, key: SchemaKey) -> WriterSchema:
        """The writer schema under a key; asks the sources where it is not known yet.

        Raises
        ------
        MessageRejected
            No source knows it, or it is malformed: asking again does not help.
        SchemaUnavailable
            A source that may know the schema does not answer now.
        """
        known = self._found.get(key)
        if known is not None:
            return known
        trouble: SchemaUnavailable | None = None
        for source in self._sources:
            try:
                definition = _asked(source, key)
            except SchemaUnavailable as error:
                trouble = error
                continue
            if definition is not None:
                return self._keep(key, parse_definition(definition))
        if trouble is not None:
            raise trouble
        places = ", ".join(source.name for source in self._sources) or "no source is configured"
        raise MessageRejected(Reason.SCHEMA_UNKNOWN, f"{key_words(key)} is not known ({places})")

    def _keep(self, key: SchemaKey, schema: WriterSchema) -> WriterSchema:
        with self._lock:
            # The first to come stays: decoders keep plans by the schema's identity.
            kept = self._found.setdefault(key, schema)
            if len(self._found) > _KNOWN_SCHEMAS:
                del self._found[next(iter(self._found))]
        return kept


def _asked(source: SchemaSource, key: SchemaKey) -> dict[str, Any] | None:
    """What one source knows under a key."""
    form, number = key
    if isinstance(number, UUID):
        return source.by_guid(number) if isinstance(source, GuidSource) else None
    return source.by_fingerprint(number) if form is Form.SINGLE_OBJECT else source.by_id(number)
