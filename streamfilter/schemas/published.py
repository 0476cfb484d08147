"""The schemas that streamfilter publishes, their fingerprints, and their registration."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from streamfilter.errors import SchemaUnavailable
from streamfilter.files import bundled_folder
from streamfilter.limits import Limits
from streamfilter.redaction import clean
from streamfilter.schemas.definition import parse_definition
from streamfilter.schemas.registry_client import TimedCalls, open_client
from streamfilter.schemas.sources import crc_64_avro
from streamfilter.schemas.wire import SINGLE_OBJECT_MAGIC, WriterSchema

MAJOR = 1
"""Major version of ``schemas/streamfilter``; its readers read all data of the same version."""

_CONFLUENT_MAGIC = b"\x00"


@dataclass(frozen=True, slots=True, eq=False)
class PublishedSchema:
    """A schema that readers of our topics need."""

    schema: WriterSchema
    fingerprint: int
    """CRC-64-AVRO of the parsing canonical form."""

    @property
    def text(self) -> str:
        """The schema's definition as compact JSON."""
        return json.dumps(self.schema.definition, separators=(",", ":"))

    @property
    def file_name(self) -> str:
        """Name of the exported file: full name and fingerprint."""
        return f"{self.schema.name}-{self.fingerprint:016x}.avsc"


def publish(definition: dict[str, Any]) -> PublishedSchema:
    """Returns a schema with its fingerprint.

    Parameters
    ----------
    definition
        A record's JSON that defines every name which it uses.

    Raises
    ------
    MessageRejected
        The definition is no Avro record.
    """
    schema = parse_definition(definition)
    return PublishedSchema(schema, crc_64_avro(definition))


@cache
def published_schemas() -> tuple[PublishedSchema, ...]:
    """Returns the schemas that are part of the package, in the order of their file names."""
    folder = bundled_folder("schemas") / "streamfilter" / str(MAJOR)
    return tuple(publish(json.loads(path.read_text())) for path in sorted(folder.glob("*.avsc")))


@cache
def annotation_schema() -> PublishedSchema:
    """Returns the schema of an annotation."""
    return _named("streamfilter.v1.Annotation")


@cache
def exposure_schema() -> PublishedSchema:
    """Returns the schema of the exposure stream's messages, which producers write."""
    return _named("streamfilter.v1.Exposure")


@cache
def tracking_schema() -> PublishedSchema:
    """Returns the schema of verdicts on the tracking of a detector or an exposure."""
    return _named("streamfilter.v1.Tracking")


@cache
def label_schema() -> PublishedSchema:
    """Returns the schema of what people say of alerts."""
    return _named("streamfilter.v1.Label")


def _named(name: str) -> PublishedSchema:
    (found,) = (schema for schema in published_schemas() if schema.schema.name == name)
    return found


class PublishedSource:
    """The built-in schemas as a source for the finder."""

    name = "the schemas of streamfilter itself"

    def by_id(self, schema_id: int) -> dict[str, Any] | None:
        """Returns None: ids belong to a registry."""
        return None

    def by_fingerprint(self, fingerprint: int) -> dict[str, Any] | None:
        """Returns the definition with this CRC-64-AVRO; None where there is none."""
        found = (s for s in published_schemas() if s.fingerprint == fingerprint)
        return next((s.schema.definition for s in found), None)


def single_object_header(schema: PublishedSchema) -> bytes:
    """Returns the ten bytes before a record in single-object encoding."""
    return SINGLE_OBJECT_MAGIC + schema.fingerprint.to_bytes(8, "little")


def confluent_header(schema_id: int) -> bytes:
    """Returns the five bytes before a record in the Confluent form."""
    return _CONFLUENT_MAGIC + schema_id.to_bytes(4, "big")


def subject(topic: str) -> str:
    """Returns the registry's subject for the values of a topic, as Confluent's clients name it."""
    return f"{topic}-value"


class Registrar(Protocol):
    """Registers schemas in a schema registry."""

    def register(self, subject_name: str, schema: PublishedSchema) -> int:
        """Register a schema under a subject, if it is not yet; returns its id.

        Raises
        ------
        SchemaUnavailable
            The registry does not answer, or refuses the schema.
        """
        ...


class ConfluentRegistrar:
    """A registry with Confluent's API; it is connected at the first registration.

    Parameters
    ----------
    settings
        Settings of ``confluent_kafka.schema_registry.SchemaRegistryClient``, such as ``url`` and
        ``basic.auth.user.info``. The client remembers registered schemas.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = dict(settings)
        self._client: Any = None
        self._calls = TimedCalls()

    def register(self, subject_name: str, schema: PublishedSchema) -> int:
        """Register a schema under a subject, if it is not yet; returns its id."""
        # The import takes half a second, which only sites with a registry need.
        from confluent_kafka.schema_registry import Schema

        try:
            if self._client is None:
                self._client = open_client(self._settings, Limits())
            client, text = self._client, Schema(schema.text, "AVRO")
            return int(self._calls.run(lambda: client.register_schema(subject_name, text)))
        except Exception as error:  # the client's own, its HTTP client's, and ValueError
            detail = clean(f"{self._settings.get('url')}: {error}")
            raise SchemaUnavailable(
                f"schema {schema.schema.name} could not be registered as {subject_name!r} at "
                f"{detail}; check the address "
                "and the credentials, and that the subject's compatibility admits it (several "
                "surveys need NONE, or {survey} in the topic's name)"
            ) from None
