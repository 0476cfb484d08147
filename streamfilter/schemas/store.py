"""A folder of published schemas, found by fingerprint."""

import json
from pathlib import Path
from typing import Any, Protocol

from streamfilter.errors import MessageRejected, SchemaUnavailable, told
from streamfilter.files import write_whole
from streamfilter.schemas.published import PublishedSchema, publish


class SchemaStore(Protocol):
    """Keeps the schemas that readers of single-object messages need."""

    def keep(self, schema: PublishedSchema) -> None:
        """Make the schema findable by its fingerprint; known ones are left alone.

        Raises
        ------
        SchemaUnavailable
            It cannot be kept, so nobody could read what is written with it.
        """
        ...


class SchemaFolder:
    """One ``<full name>-<fingerprint>.avsc`` per schema; several processes may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def keep(self, schema: PublishedSchema) -> None:
        """Write the schema's file, at once or not at all; a file that stands is left alone."""
        target = self.path / schema.file_name
        if target.exists():
            return
        try:
            text = json.dumps(schema.schema.definition, indent=1) + "\n"
            write_whole(target, text.encode())
        except OSError as error:
            raise SchemaUnavailable(
                f"schema {schema.schema.name} cannot be kept in {self.path}: {told(error)}; "
                "name a folder that can be written"
            ) from error

    @property
    def name(self) -> str:
        """How messages call the folder."""
        return str(self.path)

    def by_id(self, schema_id: int) -> dict[str, Any] | None:
        """Nothing: ids belong to a registry."""
        return None

    def by_fingerprint(self, fingerprint: int) -> dict[str, Any] | None:
        """The definition with this CRC-64-AVRO, None where there is none.

        Raises
        ------
        SchemaUnavailable
            The file is there but holds no schema, or another one.
        """
        path = next(self.path.glob(f"[!.]*-{fingerprint:016x}.avsc"), None)
        if path is None:
            return None
        try:
            found = publish(json.loads(path.read_text()))
        except (OSError, ValueError, MessageRejected) as error:
            why = error.detail if isinstance(error, MessageRejected) else told(error)
            raise SchemaUnavailable(f"{path} holds no schema: {why}; export it again") from error
        if found.fingerprint != fingerprint:
            raise SchemaUnavailable(
                f"{path} holds a schema of fingerprint {found.fingerprint:016x}; export it again"
            )
        return found.schema.definition
