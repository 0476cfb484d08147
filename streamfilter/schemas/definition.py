"""Turns the JSON of a writer schema into a WriterSchema that is safe to decode with."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import fastavro

from streamfilter.errors import MessageRejected, Reason, plain_words
from streamfilter.limits import Limits
from streamfilter.schemas.faults import fault_in
from streamfilter.schemas.wire import WriterSchema

# Fewest bytes of an encoded primitive; they limit how many items an array can have.
SMALLEST_BYTES: Mapping[str, int] = {
    "null": 0, "boolean": 1, "int": 1, "long": 1, "float": 4, "double": 8, "bytes": 1, "string": 1,
}  # fmt: skip
# LSST 11.1 has 1,101 types after expansion, ZTF 4.02 has 528.
_MOST_TYPES = 8_000
_DEEPEST = 64
# Characters of a field's path in a message.
_LONGEST_PLACE = 200
# Bytes of a fixed type; surveys use it for hashes and identifiers.
_LARGEST_FIXED = 2**20
# JSON values of a definition; each takes some 100 bytes of memory. LSST's have 12,000.
_MOST_VALUES = 100_000
# Most types per encoded byte that an item of an array or map may make the reader visit.
_MOST_TYPES_PER_BYTE = 64


def parse_text(text: bytes, limits: Limits) -> WriterSchema:
    """Parse a writer schema from its JSON text.

    Raises
    ------
    MessageRejected
        The text is too long, no JSON, no Avro schema, or no schema that is safe to decode with.
    """
    if len(text) > limits.max_schema_bytes:
        raise _refused(f"{len(text)} bytes; limits.max_schema_bytes is {limits.max_schema_bytes}")
    if text.count(b",") + text.count(b"[") + text.count(b"{") > _MOST_VALUES:
        raise _refused(f"over {_MOST_VALUES} values")
    try:
        definition = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refused(f"no JSON: {plain_words(error)}") from error
    return parse_definition(definition)


def parse_definition(definition: object) -> WriterSchema:
    """Parse a writer schema from its decoded JSON; see ``parse_text``."""
    if not isinstance(definition, dict):
        raise _refused(f"a {type(definition).__name__}; expected a record")
    try:
        parsed: Any = fastavro.parse_schema(definition)
    # fastavro raises nearly any exception for odd schemas; none of them is our own bug.
    except Exception as error:
        raise _refused(fault_in(definition, _taken)) from error
    _Measure().require_safe(parsed)
    # fastavro also takes a record without fields, and a type within a type.
    if definition.get("type") != "record" or not isinstance(definition.get("fields"), list):
        raise _refused(f"the top type is {parsed['type']!r}; expected a record with fields")
    return WriterSchema(parsed["name"], definition, parsed)


def _taken(definition: dict[str, Any]) -> bool:
    try:
        fastavro.parse_schema(definition)
    except Exception:  # see above
        return False
    return True


def self_contained(
    definition: dict[str, Any], find: Callable[[str], dict[str, Any] | None]
) -> dict[str, Any]:
    """Returns the definition with each referenced type inserted where it is first used.

    Parameters
    ----------
    definition
        The top record; it may name types that are defined elsewhere.
    find
        Returns the definition of a full name; None for an unknown one, whose reference stays.
    """
    result: dict[str, Any] = _Inliner(find).inlined(definition, "")
    return result


def _refused(detail: str) -> MessageRejected:
    return MessageRejected(Reason.SCHEMA_MALFORMED, f"writer schema: {detail}")


@dataclass(frozen=True, slots=True)
class _Cost:
    """The cost of reading a value of a type."""

    types: int
    """Number of types after expansion, over all branches: the size of a reader."""
    excess: int
    """Most types that one value makes a reader visit, less ``_MOST_TYPES_PER_BYTE`` per byte."""


def _leaf(size: int) -> _Cost:
    return _Cost(1, 1 - _MOST_TYPES_PER_BYTE * size)


class _Measure:
    """Computes the cost of types, so that no message can make a reader loop or recurse."""

    def __init__(self) -> None:
        self._named: dict[str, _Cost | None] = {}
        self._place: list[str] = []

    def require_safe(self, parsed: Any) -> None:
        try:
            types = self._of(parsed, 0).types
        except (KeyError, TypeError, AttributeError) as error:
            raise self._refused("a part that is no type of Avro") from error
        if types > _MOST_TYPES:
            raise _refused(f"over {_MOST_TYPES} types after expansion")

    def _refused(self, detail: str) -> MessageRejected:
        place = ".".join(self._place)[:_LONGEST_PLACE]
        return _refused(f"{place}: {detail}" if place else detail)

    def _of(self, schema: Any, depth: int) -> _Cost:
        if depth > _DEEPEST:
            raise self._refused(f"nested deeper than {_DEEPEST}")
        if isinstance(schema, list):
            return self._of_union(schema, depth)
        if isinstance(schema, str):
            return self._of_name(schema)
        kind = schema["type"]
        if kind in ("record", "error", "enum", "fixed"):
            return self._of_definition(schema, kind, depth)
        if kind in ("array", "map"):
            return self._of_repeated(schema, kind, depth)
        return self._of(kind, depth + 1)

    def _of_union(self, branches: list[Any], depth: int) -> _Cost:
        if not branches:
            raise self._refused("a union of nothing")
        if any(isinstance(branch, list) for branch in branches):
            raise self._refused("a union in a union, which Avro does not have")
        costs = [self._of(branch, depth + 1) for branch in branches]
        # A value has one branch, so the one with the highest cost for its bytes counts.
        number = _leaf(1)
        return _Cost(
            number.types + sum(cost.types for cost in costs),
            number.excess + max(cost.excess for cost in costs),
        )

    def _of_name(self, name: str) -> _Cost:
        if name in SMALLEST_BYTES:
            return _leaf(SMALLEST_BYTES[name])
        known = self._named[name]
        if known is None:
            raise self._refused(
                f"{name} contains itself; no survey does, and it could nest for ever"
            )
        return known

    def _of_definition(self, schema: Any, kind: str, depth: int) -> _Cost:
        # fastavro accepts names of any type, and any iterable as a list.
        listed = schema["symbols"] if kind == "enum" else schema.get("fields", [])
        if not isinstance(listed, list):
            raise self._refused(
                f"symbols or fields that are a {type(listed).__name__}; expected a list"
            )
        names = listed if kind == "enum" else [field["name"] for field in listed]
        name = schema["name"]
        if not all(isinstance(each, str) for each in (name, *names)):
            raise self._refused(f"{str(name)[:100]!r} or what is in it has a name that is no text")
        if name in SMALLEST_BYTES:
            raise self._refused(f"a type of the name {name}, which is Avro's own")
        self._named[name] = None
        if kind == "enum":
            cost = _leaf(1)
        elif kind == "fixed":
            if not isinstance(schema["size"], int) or not 0 <= schema["size"] <= _LARGEST_FIXED:
                raise self._refused(f"{name} has the size {schema['size']!r}")
            cost = _leaf(schema["size"])
        else:
            cost = self._of_fields(schema["fields"], depth)
        self._named[name] = cost
        return cost

    def _of_fields(self, fields: list[Any], depth: int) -> _Cost:
        types = excess = 1
        for field in fields:
            self._place.append(field["name"])
            cost = self._of(field["type"], depth + 1)
            self._place.pop()
            types += cost.types
            excess += cost.excess
        # Clamped, because doubling at each of 64 levels would make huge numbers. A saving beyond
        # so many types cannot be used up by a schema with fewer types.
        most = _MOST_TYPES + 1
        return _Cost(min(types, most), max(-most, min(excess, most)))

    def _of_repeated(self, schema: Any, kind: str, depth: int) -> _Cost:
        is_map = kind == "map"
        item = self._of(schema["values" if is_map else "items"], depth + 1)
        # The key of a map's item is a string.
        if item.excess + is_map * _leaf(SMALLEST_BYTES["string"]).excess > 0:
            raise self._refused(
                f"items of {'a map' if is_map else 'an array'} that can make a reader visit over "
                f"{_MOST_TYPES_PER_BYTE} types for each byte; "
                "leave out fields of null, empty records and fixed types of size 0"
            )
        # The smallest array is empty and takes one byte, its end.
        end = _leaf(1)
        return _Cost(end.types + item.types, end.excess)


class _Inliner:
    """Inserts the definition of each referenced type at its first use."""

    def __init__(self, find: Callable[[str], dict[str, Any] | None]) -> None:
        self._find = find
        self._defined: set[str] = set()

    def inlined(self, schema: Any, namespace: str) -> Any:
        if isinstance(schema, list):
            return [self.inlined(branch, namespace) for branch in schema]
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
                    {**field, "type": self.inlined(field.get("type"), namespace)}
                    for field in schema["fields"]
                    if isinstance(field, dict)
                ]
        elif kind in ("array", "map"):
            inner = "items" if kind == "array" else "values"
            result[inner] = self.inlined(schema.get(inner), namespace)
        else:
            result["type"] = self.inlined(kind, namespace)
        return result

    def _reference(self, name: str, namespace: str) -> Any:
        full = _full_name(name, namespace)
        if name in SMALLEST_BYTES or full in self._defined:
            return name
        found = self._find(full)
        if found is None:
            return name
        # Otherwise the definition would inherit the namespace of the type around it.
        return self.inlined({**found, "namespace": full.rpartition(".")[0]}, "")


def _full_name(name: str, namespace: str) -> str:
    return name if "." in name or not namespace else f"{namespace}.{name}"
