"""From the JSON of a writer schema to a WriterSchema that is safe to decode with."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import fastavro

from streamfilter.errors import MessageRejected, Reason
from streamfilter.limits import Limits
from streamfilter.schemas.wire import WriterSchema

# Encoded bytes that a primitive takes at least; bounds how often an array item can occur.
SMALLEST_BYTES: Mapping[str, int] = {
    "null": 0, "boolean": 1, "int": 1, "long": 1, "float": 4, "double": 8, "bytes": 1, "string": 1,
}  # fmt: skip
# LSST 11.1 has 1,101 types after expansion, ZTF 4.02 has 528.
_MOST_TYPES = 8_000
_DEEPEST = 64
# Bytes of a fixed type; real ones are hashes and identifiers.
_LARGEST_FIXED = 2**20
# JSON values of a definition; each takes some 100 bytes while it is kept. LSST's have 12,000.
_MOST_VALUES = 100_000
# An array item may make the reader visit at most so many types per encoded byte.
_MOST_TYPES_PER_BYTE = 64


def parse_text(text: bytes, limits: Limits) -> WriterSchema:
    """A writer schema from its JSON text.

    Raises
    ------
    MessageRejected
        The text is too long, no JSON, no Avro schema, or one that could not be read safely.
    """
    if len(text) > limits.max_schema_bytes:
        raise _refused(
            f"{len(text)} bytes; the limit max_schema_bytes is {limits.max_schema_bytes}"
        )
    if text.count(b",") + text.count(b"[") + text.count(b"{") > _MOST_VALUES:
        raise _refused(f"over {_MOST_VALUES} values")
    try:
        definition = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refused(f"no JSON: {error}") from error
    return parse_definition(definition)


def parse_definition(definition: object) -> WriterSchema:
    """A writer schema from its decoded JSON; see ``parse_text``."""
    if not isinstance(definition, dict):
        raise _refused(f"a {type(definition).__name__}; expected a record")
    try:
        parsed: Any = fastavro.parse_schema(definition)
    # fastavro answers odd schemas with nearly any exception; none of them is our own bug.
    except Exception as error:
        raise _refused(f"{type(error).__name__}: {str(error)[:200]}") from error
    _Measure().require_safe(parsed)
    # fastavro also takes a record without fields, and a type within a type.
    if definition.get("type") != "record" or not isinstance(definition.get("fields"), list):
        raise _refused(f"the top type is {parsed['type']!r}; expected a record with fields")
    return WriterSchema(parsed["name"], definition, parsed)


def self_contained(
    definition: dict[str, Any], find: Callable[[str], dict[str, Any] | None]
) -> dict[str, Any]:
    """The definition with referenced types written out where they are first used.

    Parameters
    ----------
    definition
        The top record; it may name types that are defined elsewhere.
    find
        Gives the definition of a full name, or None for what is unknown (left as it is).
    """
    result: dict[str, Any] = _Inliner(find).written_out(definition, "")
    return result


def _refused(detail: str) -> MessageRejected:
    return MessageRejected(Reason.SCHEMA_MALFORMED, f"writer schema: {detail}")


class _Measure:
    """Counts types and smallest sizes, so that no message can make a reader loop or recurse."""

    def __init__(self) -> None:
        self._named: dict[str, tuple[int, int] | None] = {}

    def require_safe(self, parsed: Any) -> None:
        try:
            types, _ = self._of(parsed, 0)
        except (KeyError, TypeError, AttributeError) as error:
            raise _refused(f"{type(error).__name__}: {str(error)[:200]}") from error
        if types > _MOST_TYPES:
            raise _refused(f"over {_MOST_TYPES} types after expansion")

    def _of(self, schema: Any, depth: int) -> tuple[int, int]:
        """Number of types after expansion, and smallest encoded size in bytes."""
        if depth > _DEEPEST:
            raise _refused(f"nested deeper than {_DEEPEST}")
        if isinstance(schema, list):
            if not schema:
                raise _refused("a union of nothing")
            if any(isinstance(branch, list) for branch in schema):
                raise _refused("a union in a union, which Avro does not have")
            branches = [self._of(branch, depth + 1) for branch in schema]
            smallest = min(size for _, size in branches)
            return 1 + sum(types for types, _ in branches), 1 + smallest
        if isinstance(schema, str):
            return self._of_name(schema)
        kind = schema["type"]
        if kind in ("record", "error", "enum", "fixed"):
            return self._of_definition(schema, kind, depth)
        if kind in ("array", "map"):
            return self._of_repeated(schema, kind, depth)
        return self._of(kind, depth + 1)

    def _of_name(self, name: str) -> tuple[int, int]:
        if name in SMALLEST_BYTES:
            return 1, SMALLEST_BYTES[name]
        known = self._named[name]
        if known is None:
            raise _refused(f"{name} contains itself; no survey does, and it could nest for ever")
        return known

    def _of_definition(self, schema: Any, kind: str, depth: int) -> tuple[int, int]:
        # fastavro takes names of any type, and anything that can be gone through as a list.
        listed = schema["symbols"] if kind == "enum" else schema.get("fields", [])
        if not isinstance(listed, list):
            raise _refused(f"symbols or fields that are a {type(listed).__name__}; expected a list")
        names = listed if kind == "enum" else [field["name"] for field in listed]
        name = schema["name"]
        if not all(isinstance(each, str) for each in (name, *names)):
            raise _refused(f"{str(name)[:100]!r} or what is in it has a name that is no text")
        if name in SMALLEST_BYTES:
            raise _refused(f"a type of the name {name}, which is Avro's own")
        self._named[name] = None
        if kind == "enum":
            measured = (1, 1)
        elif kind == "fixed":
            if not isinstance(schema["size"], int) or not 0 <= schema["size"] <= _LARGEST_FIXED:
                raise _refused(f"{name} has the size {schema['size']!r}")
            measured = (1, schema["size"])
        else:
            fields = [self._of(field["type"], depth + 1) for field in schema["fields"]]
            measured = (1 + sum(t for t, _ in fields), sum(size for _, size in fields))
        # Capped, because doubling at each of 64 levels makes numbers without end.
        self._named[name] = measured = (min(measured[0], _MOST_TYPES + 1), measured[1])
        return measured

    def _of_repeated(self, schema: Any, kind: str, depth: int) -> tuple[int, int]:
        types, smallest = self._of(schema["items" if kind == "array" else "values"], depth + 1)
        smallest += kind == "map"
        if types > _MOST_TYPES_PER_BYTE * smallest:
            raise _refused(f"an {kind} of items that take {smallest} bytes and {types} types")
        return 1 + types, 1


class _Inliner:
    """Writes references out, each at its first use."""

    def __init__(self, find: Callable[[str], dict[str, Any] | None]) -> None:
        self._find = find
        self._defined: set[str] = set()

    def written_out(self, schema: Any, namespace: str) -> Any:
        if isinstance(schema, list):
            return [self.written_out(branch, namespace) for branch in schema]
        if isinstance(schema, str):
            return self._reference(schema, namespace)
        if not isinstance(schema, dict):
            return schema
        result = dict(schema)
        kind = schema.get("type")
        if kind in ("record", "error", "enum", "fixed"):
            full = _full_name(str(schema.get("name")), schema.get("namespace", namespace))
            self._defined.add(full)
            namespace = full.rpartition(".")[0]
            if isinstance(schema.get("fields"), list):
                result["fields"] = [
                    {**field, "type": self.written_out(field.get("type"), namespace)}
                    for field in schema["fields"]
                    if isinstance(field, dict)
                ]
        elif kind in ("array", "map"):
            inner = "items" if kind == "array" else "values"
            result[inner] = self.written_out(schema.get(inner), namespace)
        else:
            result["type"] = self.written_out(kind, namespace)
        return result

    def _reference(self, name: str, namespace: str) -> Any:
        full = _full_name(name, namespace)
        if name in SMALLEST_BYTES or full in self._defined:
            return name
        found = self._find(full)
        if found is None:
            return name
        # Without this the definition would inherit the namespace of the place it is put into.
        return self.written_out({**found, "namespace": full.rpartition(".")[0]}, "")


def _full_name(name: str, namespace: str) -> str:
    return name if "." in name or not namespace else f"{namespace}.{name}"
