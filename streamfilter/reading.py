"""Reading of published annotations and enriched alerts, for consumers."""

import io
from datetime import datetime
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any

import fastavro

from streamfilter.errors import MessageRejected, Reason
from streamfilter.limits import Limits
from streamfilter.schemas.finder import SchemaFinder, SchemaSource
from streamfilter.schemas.published import PublishedSource
from streamfilter.schemas.store import SchemaFolder

# Wider than the limits of the filter: enriched alerts and their schemas are larger.
_LIMITS = Limits(max_message_bytes=64 * 2**20, max_schema_bytes=4 * 2**20)
_MEND = (
    "give read() the folder of `streamfilter schemas export` (schemas=...), "
    "or a finder with the registry of the topic (finder=...)"
)


def read(
    value: bytes,
    *,
    schemas: str | PathLike[str] | None = None,
    finder: SchemaFinder | None = None,
) -> dict[str, Any]:
    """Returns the record in a message of an annotation or enriched topic.

    Parameters
    ----------
    value
        The message's value, in any of the three wire forms.
    schemas
        Folder of schemas: that of ``streamfilter schemas export``, or ``schemas/published`` in
        the service's home. Needed for enriched alerts in single-object encoding; annotations
        and containers are read without.
    finder
        Finds writer schemas elsewhere, say in a registry; needed for the Confluent form.

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
    """
    found = finder or _finder(None if schemas is None else Path(schemas))
    try:
        envelope = found.open(value)
    except MessageRejected as error:
        if error.reason is not Reason.SCHEMA_UNKNOWN:
            raise
        raise MessageRejected(error.reason, f"{error.detail}; {_MEND}") from error
    body = io.BytesIO(envelope.body)
    try:
        record = fastavro.schemaless_reader(body, envelope.schema.parsed, None)
    # fastavro answers damaged bytes with nearly any exception.
    except Exception as error:
        raise MessageRejected(
            Reason.AVRO_MALFORMED, f"{envelope.schema.name}: {type(error).__name__}: {error}"
        ) from error
    if rest := body.read():
        raise MessageRejected(Reason.AVRO_MALFORMED, f"{len(rest)} bytes after the record")
    assert isinstance(record, dict), "the top type of a writer schema is a record"
    return record


def plain(value: object) -> str:
    """Returns bytes as hexadecimal digits and moments in ISO 8601: JSON has no form for them.

    Use it as ``json.dumps(record, default=plain)``.
    """
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if isinstance(value, datetime) else str(value)


@cache
def _finder(folder: Path | None) -> SchemaFinder:
    """Returns the one finder of a folder: each schema is parsed only once."""
    sources: list[SchemaSource] = [PublishedSource()]
    if folder:
        sources.append(SchemaFolder(folder))
    return SchemaFinder(sources, _LIMITS)
