"""Reading of published annotations and enriched alerts, for consumers."""

import io
import os
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any

import fastavro

from streamfilter.errors import MessageRejected, Reason, printable
from streamfilter.limits import Limits
from streamfilter.schemas.finder import SchemaFinder, SchemaSource, schema_key
from streamfilter.schemas.published import PublishedSource
from streamfilter.schemas.sources import RegistrySource
from streamfilter.schemas.store import SchemaFolder
from streamfilter.schemas.wire import Envelope, Form, Headers

# Wider than the limits of the filter: enriched alerts and their schemas are larger.
_LIMITS = Limits(max_message_bytes=64 * 2**20, max_schema_bytes=4 * 2**20)
_ENVIRONMENT = "STREAMFILTER_"
_PLACES = "STREAMFILTER_SCHEMAS__"
_NO_REGISTRY = (
    'give read() registry="https://...", the address that stands in the filter\'s configuration as '
    "schemas.publish.url, or set the environment variable STREAMFILTER_SCHEMAS__PUBLISH__URL to it"
)
_OTHER_REGISTRY = (
    "what the filter writes is in the registry of its schemas.publish, "
    "what a survey wrote in that of its schemas.registry: give read() that one (registry=...)"
)
_FOLDER = (
    "give read() a folder that has it (schemas=DIR): `streamfilter schemas export DIR` writes "
    "those of the package lsst-alert-packet and, with --survey-schemas, of others; the filter "
    "keeps what it used in schemas/published below its home"
)
_WORDS: Mapping[Form | None, str] = {
    Form.CONFLUENT: "the message is in the Confluent form",
    Form.SINGLE_OBJECT: "the message is in single-object encoding",
    Form.HEADER: "a registry has it",
}

RegistrySettings = tuple[tuple[str, Any], ...]
"""Settings of a registry's client, sorted by name."""


def read(
    value: bytes,
    *,
    headers: Headers | Mapping[str, bytes] | None = None,
    registry: str | Mapping[str, Any] | None = None,
    schemas: str | PathLike[str] | None = None,
    finder: SchemaFinder | None = None,
) -> dict[str, Any]:
    """Returns the record in a message of an annotation or enriched topic.

    Parameters
    ----------
    value
        The message's value, in any of the three wire forms.
    headers
        The message's Kafka headers. Needed where one of them, ``__value_schema_id``, names the
        schema: in what a survey sends that way, as it comes and in ``clean`` and ``contaminated``.
    registry
        The schema registry that the filter registers with: its address, or settings of
        ``confluent_kafka.schema_registry.SchemaRegistryClient`` (``url``,
        ``basic.auth.user.info`` ...). Needed for the Confluent form, and where a header names the
        schema. Without it, those registries are asked that the environment names as it does for
        the filter: ``STREAMFILTER_SCHEMAS__PUBLISH__URL``, then ``..._SCHEMAS__REGISTRY__URL``.
    schemas
        Folder of schemas: that of ``streamfilter schemas export``, or ``schemas/published`` in
        the service's home. Needed for enriched alerts in single-object encoding; annotations
        and containers are read without.
    finder
        Finds writer schemas instead of all these places.

    Returns
    -------
    dict
        Fields by name. An enriched alert has the annotation in ``streamfilter``; class fields
        have the codes of the class table in lower case (``["science"]["cr"]["peak"]``), moments
        are aware datetimes in UTC, the rest is as ``fastavro`` gives it.

    Raises
    ------
    MessageRejected
        The message is damaged, or its schema is unknown.
    SchemaUnavailable
        The registry does not answer, or the folder's file is damaged.
    ConfigurationInvalid
        The registry's client refuses the settings.
    """
    given: Headers = tuple(headers.items() if isinstance(headers, Mapping) else headers or ())
    form, _ = schema_key(value, given) or (None, 0)
    by_id = form in (Form.CONFLUENT, Form.HEADER)
    # The registry's client takes half a second to import: only who needs it should wait.
    registries = (_given(registry) or _configured()) if by_id and finder is None else ()
    found = finder or _finder(None if schemas is None else Path(schemas), registries)
    try:
        envelope = found.open(value, given)
    except MessageRejected as error:
        if error.reason is not Reason.SCHEMA_UNKNOWN or finder is not None:
            raise
        mend = (_OTHER_REGISTRY if registries else _NO_REGISTRY) if by_id else _FOLDER
        raise MessageRejected(error.reason, f"{error.detail}; {_WORDS[form]}: {mend}") from error
    return _record(envelope)


def plain(value: object) -> str:
    """Returns bytes as hexadecimal digits and moments in ISO 8601: JSON has no form for them.

    Use it as ``json.dumps(record, default=plain)``.
    """
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _record(envelope: Envelope) -> dict[str, Any]:
    """Returns all fields of the one record."""
    body = io.BytesIO(envelope.body)
    try:
        record = fastavro.schemaless_reader(body, envelope.schema.parsed, None)
    # fastavro answers damaged bytes with nearly any exception.
    except Exception as error:
        raise MessageRejected(Reason.AVRO_MALFORMED, _fault_in(envelope)) from error
    if rest := body.read():
        raise MessageRejected(Reason.AVRO_MALFORMED, f"{len(rest)} bytes after the record")
    assert isinstance(record, dict), "the top type of a writer schema is a record"
    return record


def _fault_in(envelope: Envelope) -> str:
    """Returns words for the field from which a record does not follow its schema."""
    definition, body = envelope.schema.definition, io.BytesIO(envelope.body)

    def end(count: int) -> int | None:
        """Where the first fields end; None where they cannot be read."""
        shorter = fastavro.parse_schema({**definition, "fields": definition["fields"][:count]})
        body.seek(0)
        try:
            fastavro.schemaless_reader(body, shorter, None)
        except Exception:  # as above
            return None
        return body.tell()

    low, high = 0, len(definition["fields"])
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if end(middle) is None else (middle, high)
    name = printable(str(definition["fields"][low]["name"]))
    return (
        f"{envelope.schema.name}: the field {name}, at byte {end(low)} of the record, "
        "does not hold what the schema says"
    )


def _given(registry: str | Mapping[str, Any] | None) -> tuple[RegistrySettings, ...]:
    """Returns the settings of the registry that the caller names; none where none is named."""
    if not registry:
        return ()
    settings = {"url": registry} if isinstance(registry, str) else registry
    return (tuple(sorted(settings.items())),)


def _configured() -> tuple[RegistrySettings, ...]:
    """Returns the settings of the registries that the environment names."""
    named = tuple(sorted(each for each in os.environ.items() if each[0].startswith(_PLACES)))
    return _configured_by(named) if named else ()


@cache
def _configured_by(named: tuple[tuple[str, str], ...]) -> tuple[RegistrySettings, ...]:
    from streamfilter.config import load

    # Other settings of the filter in the environment do not concern its readers.
    others = {k: v for k, v in os.environ.items() if not k.startswith(_ENVIRONMENT)}
    places = load(environment={**others, **dict(named)}).schemas
    found = (
        tuple(sorted({"url": each.url, **each.settings}.items()))
        for each in (places.publish, places.registry)
        if each.url
    )
    return tuple(dict.fromkeys(found))


@cache
def _finder(folder: Path | None, registries: tuple[RegistrySettings, ...]) -> SchemaFinder:
    """Returns the one finder of these places: each schema is fetched and parsed only once."""
    sources: list[SchemaSource] = [PublishedSource()]
    if folder:
        sources.append(SchemaFolder(folder))
    for each in registries:
        sources.append(RegistrySource(dict(each), None, _LIMITS, setting="registry"))
    return SchemaFinder(sources, _LIMITS)
