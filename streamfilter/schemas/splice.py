"""Appends one field to an encoded record, without decoding or encoding the record.

A record is the concatenation of its fields, so ``body + 0x02 + annotation`` is a record of the
schema ``original fields + ["null", Annotation]``. Readers of the old schema skip the new field.
"""

import re
from functools import lru_cache
from typing import Any

import fastavro

from streamfilter.errors import ConfigurationInvalid, MessageRejected, Reason
from streamfilter.schemas import binary
from streamfilter.schemas.codecs import codec_of
from streamfilter.schemas.published import (
    PublishedSchema,
    Registrar,
    annotation_schema,
    confluent_header,
    publish,
    single_object_header,
    subject,
)
from streamfilter.schemas.store import SchemaStore
from streamfilter.schemas.wire import (
    CONTAINER_MAGIC,
    ContainerHeader,
    Envelope,
    Form,
    WriterSchema,
)

FIELD = "streamfilter"
"""Name of the field that is appended."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SCHEMA_KEY = "avro.schema"
# A stream has a few schemas at a time; an extended one of LSST holds about 1 MB.
_SCHEMAS_CACHED = 32


def extend(schema: WriterSchema, field: str = FIELD) -> PublishedSchema:
    """Returns the writer's schema with the annotation as one more nullable field at the end.

    The annotation's types have the namespace ``streamfilter.v1``. It is ``streamfilter.v1.<field>``
    where the alert already defines one of them, because it went through another streamfilter.

    Raises
    ------
    MessageRejected
        The record has a field of this name.
    ConfigurationInvalid
        Avro does not allow the name of the field.
    """
    _require_name(field)
    definition = schema.definition
    if any(old["name"] == field for old in definition["fields"]):
        raise MessageRejected(
            Reason.ALREADY_ENRICHED,
            f"{schema.name} has a field {field!r} already; read the topic before enrichment",
        )
    annotation = dict(annotation_schema().schema.definition)
    if _names(definition) & _names(annotation):
        annotation["namespace"] = f"{annotation['namespace']}.{field}"
    appended = {
        "name": field,
        "doc": annotation["doc"],
        "type": ["null", annotation],
        "default": None,
    }
    return publish({**definition, "fields": [*definition["fields"], appended]})


class Splicer:
    """Appends annotations to messages, in the wire form in which they came.

    Parameters
    ----------
    registrar
        Registers extended schemas of the Confluent form, and of messages whose schema id is in a
        header, under ``<topic>-value``; both are published in the Confluent form. Without one, such
        messages become single-object encoded.
    store
        Stores the extended schemas of single-object messages for their readers.
    field
        Name of the appended field.

    Raises
    ------
    ConfigurationInvalid
        Avro does not allow the name of the field.
    """

    def __init__(
        self,
        *,
        registrar: Registrar | None = None,
        store: SchemaStore | None = None,
        field: str = FIELD,
    ) -> None:
        _require_name(field)
        self._registrar, self._store, self._field = registrar, store, field
        self._container_start = lru_cache(_SCHEMAS_CACHED)(self._make_container_start)
        self._header = lru_cache(_SCHEMAS_CACHED)(self._make_header)

    def splice(self, envelope: Envelope, annotation: bytes, topic: str) -> bytes:
        """Returns the message with the annotation appended to its record.

        Parameters
        ----------
        envelope
            The message, opened.
        annotation
            An encoded ``streamfilter.v1.Annotation``, without any wire header.
        topic
            Where the result is published.

        Raises
        ------
        MessageRejected
            The record already has the field, or the codec is not known.
        SchemaUnavailable
            The extended schema can be neither registered nor stored.
        """
        parts = (envelope.body, binary.VALUE_BRANCH, annotation)
        if envelope.container:
            return self._splice_container(envelope.schema, envelope.container, parts)
        # One copy: LSST's bodies are up to 0.3 MB.
        return b"".join((self._header(envelope.schema, envelope.form, topic), *parts))

    def prepare(self, schema: WriterSchema, form: Form, topic: str) -> None:
        """Register or store the extended schema now rather than with the first message.

        Raises
        ------
        MessageRejected, SchemaUnavailable
            See ``splice``.
        """
        self._header(schema, form, topic)

    def _make_header(self, schema: WriterSchema, form: Form, topic: str) -> bytes:
        extended = extend(schema, self._field)
        if form is not Form.SINGLE_OBJECT and self._registrar is not None:
            return confluent_header(self._registrar.register(subject(topic), extended))
        if self._store is not None:
            self._store.keep(extended)
        return single_object_header(extended)

    def _splice_container(
        self, schema: WriterSchema, container: ContainerHeader, parts: tuple[bytes, ...]
    ) -> bytes:
        others = tuple(item for item in container.metadata.items() if item[0] != _SCHEMA_KEY)
        block = codec_of(container.codec).compress(b"".join(parts))
        return b"".join(
            (
                self._container_start(schema, others),
                container.sync,
                binary.long(1),
                binary.long(len(block)),
                block,
                container.sync,
            )
        )

    def _make_container_start(
        self, schema: WriterSchema, others: tuple[tuple[str, bytes], ...]
    ) -> bytes:
        metadata = ((_SCHEMA_KEY, extend(schema, self._field).text.encode()), *others)
        pairs = (binary.string(key) + binary.long(len(item)) + item for key, item in metadata)
        return b"".join((CONTAINER_MAGIC, binary.long(len(metadata)), *pairs, b"\x00"))


def _require_name(field: str) -> None:
    if not _NAME.fullmatch(field):
        raise ConfigurationInvalid(
            f"{field!r} cannot be a field's name in Avro: "
            "letters, digits and _, and no digit in front"
        )


def _names(definition: dict[str, Any]) -> set[str]:
    """Returns the full names of all types that a schema defines."""
    named: dict[str, Any] = {}
    fastavro.parse_schema(definition, named_schemas=named)
    return set(named)
