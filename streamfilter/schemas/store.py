"""A folder of published schemas, indexed by fingerprint."""

import json
from pathlib import Path
from typing import Any, Protocol

from streamfilter.errors import MessageRejected, SchemaUnavailable, plain_words
from streamfilter.files import write_whole
from streamfilter.schemas.published import PublishedSchema, publish


class SchemaStore(Protocol):
    """Stores the schemas that readers of single-object messages need."""

    def keep(self, schema: PublishedSchema) -> None:
        """Store a schema so that its fingerprint finds it; a stored one does not change.

        Raises
        ------
        SchemaUnavailable
            The schema cannot be stored, so nobody could read messages written with it.
        """
        ...


class SchemaFolder:
    """A folder of ``<full name>-<fingerprint>.avsc`` files, which processes may share."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def keep(self, schema: PublishedSchema) -> None:
        """Write the schema's file atomically; an existing file is left as it is."""
        target = self.path / schema.file_name
        if target.exists():
            return
        try:
            text = json.dumps(schema.schema.definition, indent=1) + "\n"
            write_whole(target, text.encode())
        except OSError as error:
            raise SchemaUnavailable(
                f"schema {schema.schema.name} cannot be kept in {self.path}: {plain_words(error)}; "
                "name a folder that can be written"
            ) from error

    @property
    def name(self) -> str:
        """Name of the folder in messages."""
        return str(self.path)

    def by_id(self, schema_id: int) -> dict[str, Any] | None:
        """Returns None: ids belong to a registry."""
        return None

    def by_fingerprint(self, fingerprint: int) -> dict[str, Any] | None:
        """Returns the definition with this CRC-64-AVRO; None where there is none.

        Raises
        ------
        SchemaUnavailable
            The file exists, but holds no schema or another one.
        """
        path = next(self.path.glob(f"[!.]*-{fingerprint:016x}.avsc"), None)
        if path is None:
            return None
        try:
            stored = publish(json.loads(path.read_text()))
        except (OSError, ValueError, MessageRejected) as error:
            why = error.detail if isinstance(error, MessageRejected) else plain_words(error)
            raise SchemaUnavailable(f"{path} holds no schema: {why}; export it again") from error
        if stored.fingerprint != fingerprint:
            raise SchemaUnavailable(
                f"{path} holds a schema of fingerprint {stored.fingerprint:016x}; export it again"
            )
        return stored.schema.definition
