"""Sources of writer schemas: a folder, an installed package, a registry."""

import contextlib
import hashlib
import importlib.util
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from fastavro.schema import fingerprint, to_parsing_canonical_form

from streamfilter.errors import (
    ConfigurationInvalid,
    MessageRejected,
    Reason,
    SchemaUnavailable,
    plain_words,
)
from streamfilter.files import write_whole
from streamfilter.limits import Limits
from streamfilter.redaction import bare_urls, clean
from streamfilter.schemas.definition import parse_definition, self_contained
from streamfilter.schemas.registry_client import TimedCalls, open_client

Definition = dict[str, Any]

# LSST's rule: schema id = 100 * major + minor.
_MINORS = 100
# Wait before an id that the registry does not know is asked for again.
_UNKNOWN_S = 30.0
_MOST_UNKNOWN = 10_000
_MOST_REFERENCES = 100


class FolderSource:
    """Writer schemas in a folder.

    Either files named by their id (``1000.avsc``, self-contained), or LSST's tree
    ``<major>/<minor>/*.avsc``, one named type per file, for the id 100 * major + minor. For the
    single-object form every schema of the folder is also known by its fingerprint, whatever the
    file's name.

    Raises
    ------
    ConfigurationInvalid
        There is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ConfigurationInvalid(f"schemas.folders: {folder}: no such folder")
        self._folder = folder
        self._lock = threading.Lock()
        self._by_fingerprint: dict[int, Definition] | None = None

    @property
    def name(self) -> str:
        """Name of the folder in messages."""
        return str(self._folder)

    def by_id(self, schema_id: int) -> Definition | None:
        """Returns the definition of an id; None where there is no such file.

        Raises
        ------
        SchemaUnavailable
            The file exists, but cannot be read or holds no schema.
        """
        path = self._folder / f"{schema_id}.avsc"
        if path.is_file():
            return _read(path)
        tree = self._folder / str(schema_id // _MINORS) / str(schema_id % _MINORS)
        return _read_tree(tree) if tree.is_dir() else None

    def by_fingerprint(self, fingerprint: int) -> Definition | None:
        """Returns the definition with a CRC-64-AVRO; the folder is read once, at the first call."""
        with self._lock:
            if self._by_fingerprint is None:
                self._by_fingerprint = dict(self._fingerprints())
        return self._by_fingerprint.get(fingerprint)

    def definitions(self) -> Iterator[Definition]:
        """Yields every schema of the folder, self-contained.

        Raises
        ------
        SchemaUnavailable
            A file cannot be read or holds no schema.
        """
        trees = {path.parent for path in self._folder.glob("*/*/*.avsc")}
        yield from (_read(path) for path in sorted(self._folder.glob("*.avsc")))
        yield from (_read_tree(tree) for tree in sorted(trees))

    def _fingerprints(self) -> Iterator[tuple[int, Definition]]:
        for definition in self.definitions():
            yield crc_64_avro(definition), definition


class PackageSource:
    """LSST's writer schemas from the installed package ``lsst-alert-packet``.

    Only its schema files are read; without the package no schema is found.
    """

    name = "the package lsst-alert-packet (the extra streamfilter[lsst])"

    def __init__(self) -> None:
        try:
            # This imports the empty parents lsst and lsst.alert, not the package itself.
            spec = importlib.util.find_spec("lsst.alert.packet")
        except ImportError:
            spec = None
        places = [] if spec is None else list(spec.submodule_search_locations or ())
        folders = [Path(place) / "schema" for place in places]
        self._folders = [FolderSource(folder) for folder in folders if folder.is_dir()]

    def by_id(self, schema_id: int) -> Definition | None:
        """Returns the definition of LSST's id; None where the package has no such version."""
        for folder in self._folders:
            if (definition := folder.by_id(schema_id)) is not None:
                return definition
        return None

    def by_fingerprint(self, fingerprint: int) -> Definition | None:
        """Returns None: LSST does not send the single-object form."""
        return None

    def definitions(self) -> Iterator[Definition]:
        """Yields every version that the package ships, self-contained."""
        for folder in self._folders:
            yield from folder.definitions()


class RegistrySource:
    """Writer schemas of a registry with Confluent's API, cached on disk for ever.

    Parameters
    ----------
    settings
        Settings of ``confluent_kafka.schema_registry.SchemaRegistryClient``: ``url``,
        ``basic.auth.user.info``, ``ssl.ca.location``, ``timeout`` (seconds) ...
    cache
        Folder of fetched schemas; the meaning of an id never changes, so each is fetched once.
        None: nothing is stored on disk.
    limits
        Limits the size of a schema with its references.
    clock
        Returns monotonic seconds.
    calls
        Limits the time for a schema with its references.
    setting
        Name of the configuration table in error messages.

    Raises
    ------
    ConfigurationInvalid
        The client refuses the settings.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        cache: Path | None,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        calls: TimedCalls | None = None,
        setting: str = "schemas.registry",
    ) -> None:
        try:
            self._client = open_client(settings, limits)
        except (ValueError, TypeError, OSError) as error:
            detail = clean(str(error))
            raise ConfigurationInvalid(f"{setting}: {detail}") from None
        # Without user, password and query, which do not identify the registry.
        url = bare_urls(str(settings["url"])).rstrip("/")
        of_registry = hashlib.sha256(url.encode()).hexdigest()[:16]
        self._cache = None if cache is None else cache / of_registry
        self._url = clean(url)
        self._limits = limits
        self._clock = clock
        self._calls = calls or TimedCalls()
        self._lock = threading.Lock()
        self._unknown: dict[str, float] = {}

    @property
    def name(self) -> str:
        """Name of the registry in messages."""
        return self._url

    def by_id(self, schema_id: int) -> Definition | None:
        """Returns the definition of an id; None where the registry says that it has none.

        Raises
        ------
        SchemaUnavailable
            The registry does not answer, or its answer is not that of a registry.
        MessageRejected
            The schema is not Avro or too large.
        """
        return self._known(f"{schema_id}", lambda: self._client.get_schema(schema_id))

    def by_guid(self, guid: UUID) -> Definition | None:
        """Returns the definition under a GUID; see ``by_id``."""
        ask = getattr(self._client, "get_schema_by_guid", None)
        if ask is None:
            raise SchemaUnavailable(
                f"{self._url}: this confluent-kafka cannot ask for the GUID {guid}: "
                "install the newest 2.x"
            )
        return self._known(f"{guid}", lambda: ask(str(guid)))

    def by_fingerprint(self, fingerprint: int) -> Definition | None:
        """Returns None: a registry finds schemas by id or GUID."""
        return None

    def _known(self, name: str, request: Callable[[], Any]) -> Definition | None:
        path = None if self._cache is None else self._cache / f"{name}.avsc"
        with contextlib.suppress(SchemaUnavailable):
            if path is not None and path.is_file():
                return _read(path)
        with self._lock:
            if self._clock() < self._unknown.get(name, -1.0):
                return None
        try:
            definition = self._calls.run(lambda: self._fetch(name, request))
        except SchemaUnavailable as error:
            detail = clean(str(error))
            raise SchemaUnavailable(f"{self._url}: {detail}") from None
        if definition is None:
            self._remember_unknown(name)
            return None
        # A cache that cannot be written only costs another request after a restart.
        with contextlib.suppress(OSError):
            if path is not None:
                write_whole(path, json.dumps(definition).encode())
        return definition

    def _remember_unknown(self, name: str) -> None:
        with self._lock:
            if len(self._unknown) >= _MOST_UNKNOWN:
                self._unknown.clear()
            self._unknown[name] = self._clock() + _UNKNOWN_S

    def _fetch(self, name: str, question: Callable[[], Any]) -> Definition | None:
        schema = self._ask(question)
        if schema is None:
            return None
        named: dict[str, Definition] = {}
        todo = [(schema, True)]
        top: Definition = {}
        size = 0
        while todo:
            schema, is_top = todo.pop()
            size += len(schema.schema_str or "")
            definition = self._definition(schema, name, size)
            if is_top:
                top = definition
            for reference in schema.references or ():
                if reference.name in named or len(named) >= _MOST_REFERENCES:
                    continue
                found = self._referenced(reference)
                if found is None:
                    raise SchemaUnavailable(
                        f"schema {name} refers to {reference.subject} version "
                        f"{reference.version}, which is not there"
                    )
                named[reference.name] = self._definition(found, name, size)
                todo.append((found, False))
        try:
            return self_contained(top, named.get)
        except RecursionError as error:
            raise MessageRejected(
                Reason.SCHEMA_MALFORMED, f"schema {name} nests without an end"
            ) from error

    def _referenced(self, reference: Any) -> Any:
        subject, version = reference.subject, reference.version
        return self._ask(lambda: self._client.get_version(subject, version).schema)

    def _definition(self, schema: Any, name: str, size: int) -> Definition:
        if (schema.schema_type or "AVRO") != "AVRO":
            raise MessageRejected(
                Reason.SCHEMA_MALFORMED,
                f"schema {name} is {schema.schema_type}; expected AVRO",
            )
        if size > self._limits.max_schema_bytes:
            raise MessageRejected(
                Reason.SCHEMA_MALFORMED,
                f"schema {name}: over {self._limits.max_schema_bytes} bytes; "
                "the limit is limits.max_schema_bytes",
            )
        try:
            definition = json.loads(schema.schema_str)
        except (ValueError, RecursionError, TypeError) as error:
            raise MessageRejected(
                Reason.SCHEMA_MALFORMED, f"schema {name} is no JSON: {plain_words(error)}"
            ) from error
        if not isinstance(definition, dict):
            raise MessageRejected(Reason.SCHEMA_MALFORMED, f"schema {name} is no record")
        return definition

    def _ask(self, question: Callable[[], Any]) -> Any:
        """Returns the answer; None where the registry says that it has no such schema."""
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        try:
            return question()
        except SchemaRegistryError as error:
            # A registry's own 404 carries 404xx; a proxy or a wrong path has no such code.
            if error.http_status_code == 404 and str(error.error_code).startswith("404"):
                return None
            answer = clean(f"{error.error_message or 'nothing'}")[:200]
            raise SchemaUnavailable(f"it answers {error.http_status_code}: {answer}") from error
        except SchemaUnavailable:
            raise
        # The HTTP stack differs between versions of the client, and so do its exceptions.
        except Exception as error:
            raise SchemaUnavailable(
                f"it does not answer: {clean(plain_words(error))[:300]}"
            ) from error


def crc_64_avro(definition: Definition) -> int:
    """Returns the CRC-64-AVRO of a schema's parsing canonical form, as messages carry it."""
    text = fingerprint(to_parsing_canonical_form(definition), "CRC-64-AVRO")
    return int.from_bytes(bytes.fromhex(text), "little")


def _read(path: Path) -> Definition:
    """Returns the schema in a file."""
    try:
        definition = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SchemaUnavailable(
            f"{path} cannot be read: {plain_words(error)}; replace it"
        ) from error
    if not isinstance(definition, dict) or "name" not in definition:
        raise SchemaUnavailable(f"{path} holds no named type; replace the file")
    return definition


def _read_tree(folder: Path) -> Definition:
    """Returns the top record of a folder with one named type per file, self-contained."""
    named = {}
    for path in sorted(folder.glob("*.avsc")):
        definition = _read(path)
        space = definition.get("namespace")
        name = str(definition["name"])
        named[f"{space}.{name}" if space and "." not in name else name] = definition
    used = {word for definition in named.values() for word in _words(definition.get("fields"))}
    tops = [name for name in named if name not in used and name.rpartition(".")[2] not in used]
    if len(tops) > 1:
        # LSST ships records that its alert no longer uses.
        tops = [name for name in tops if name.rpartition(".")[2] == "alert"]
    if len(tops) != 1:
        raise SchemaUnavailable(
            f"{folder}: expected one record that no other refers to, or one named alert"
        )
    result = self_contained(named[tops[0]], named.get)
    try:
        parse_definition(result)
    except MessageRejected as error:
        raise SchemaUnavailable(f"{folder}: {error.detail}; replace its files") from error
    return result


def _words(schema: Any) -> Iterator[str]:
    """Yields every text in a part of a schema that can be the name of a type."""
    if isinstance(schema, str):
        yield schema
    elif isinstance(schema, list):
        for item in schema:
            yield from _words(item)
    elif isinstance(schema, dict):
        for key in ("type", "items", "values", "fields"):
            yield from _words(schema.get(key))
