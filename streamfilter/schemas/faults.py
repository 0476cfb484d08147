"""Finds the type that is at fault in a writer schema that fastavro refuses.

fastavro's own message ("KeyError: 'name'") does not say where the fault is. This module reads the
JSON again and reports the first type that breaks the specification of Avro 1.12.
"""

import json
import re
from collections.abc import Callable, Collection
from typing import Any

_PRIMITIVES = frozenset(("null", "boolean", "int", "long", "float", "double", "bytes", "string"))
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_DEEPEST = 64
_SHOWN = 60  # characters of a value in a message
_NAMED = ("record", "error", "enum", "fixed")


def fault_in(definition: dict[str, Any], taken: Callable[[dict[str, Any]], bool]) -> str:
    """Returns what is at fault in a schema, and in which field, in words for an operator.

    Parameters
    ----------
    definition
        The schema of the top record.
    taken
        Returns whether the library accepts a schema. It is asked about schemas with fewer fields,
        to find the field at fault, if every type is right by itself.
    """
    fault = _Types().fault_of(definition, "", "", 0)
    if fault is not None:
        return fault
    fields = definition.get("fields")
    if not isinstance(fields, list):
        return f"{shown(definition)} is no record"
    # The first field with which the library refuses the schema, by bisection.
    low, high = 0, len(fields)
    while low < high:
        middle = (low + high) // 2
        if taken({**definition, "fields": fields[: middle + 1]}):
            low = middle + 1
        else:
            high = middle
    if low == len(fields):
        return f"{shown({**definition, 'fields': '...'})} cannot be read"
    return f"the field {shown(fields[low])} cannot be read"


def shown(found: object) -> str:
    """Returns a value as JSON, shortened."""
    try:
        text = json.dumps(found)
    except (TypeError, ValueError, RecursionError):
        text = type(found).__name__
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


class _Types:
    """Checks types in the order of reading, and keeps the names that they define."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def fault_of(self, schema: object, space: str, place: str, depth: int) -> str | None:
        at = f"{place}: " if place else ""
        if depth > _DEEPEST:
            return f"{at}types nest deeper than {_DEEPEST}"
        if isinstance(schema, str):
            full = schema if "." in schema or not space else f"{space}.{schema}"
            known = schema in _PRIMITIVES or full in self._names or schema in self._names
            return None if known else f"{at}no type is called {shown(schema)}"
        if isinstance(schema, list):
            found = (self.fault_of(branch, space, place, depth + 1) for branch in schema)
            return next(filter(None, found), None)
        if not isinstance(schema, dict):
            return f"{at}{shown(schema)} is no type"
        if "type" not in schema:
            return f"{at}{shown(schema)} has no type"
        kind = schema["type"]
        if kind in _NAMED if isinstance(kind, str) else False:
            return self._of_named(schema, str(kind), space, place, depth)
        if isinstance(kind, str) and kind in ("array", "map"):
            inner = "items" if kind == "array" else "values"
            if inner not in schema:
                return f"{at}{'an array' if kind == 'array' else 'a map'} has no {inner}"
            return self.fault_of(schema[inner], space, place, depth + 1)
        return self.fault_of(kind, space, place, depth + 1)

    def _of_named(
        self, schema: dict[str, Any], kind: str, space: str, place: str, depth: int
    ) -> str | None:
        at = f"{place}: " if place else ""
        article = "an" if kind[0] in "e" else "a"
        name, own = schema.get("name"), schema.get("namespace", space)
        if "name" not in schema:
            return f"{at}{article} {kind} has no name"
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            return f"{at}{shown(name)} is no name of {article} {kind}: letters, digits and _"
        if not isinstance(own, str):
            return f"{at}the namespace of {name} is {shown(own)}; expected a text"
        full = name if "." in name or not own else f"{own}.{name}"
        if full in self._names:
            return f"{at}the type {full} is defined twice"
        self._names.add(full)
        inside = full.rpartition(".")[0]
        if kind == "enum":
            return self._of_symbols(schema.get("symbols"), f"{at}the enum {full}")
        if kind == "fixed":
            size = schema.get("size")
            whole = isinstance(size, int) and not isinstance(size, bool)
            return None if whole else f"{at}the size of {full} is {shown(size)}; expected a number"
        fields = schema.get("fields")
        if not isinstance(fields, list):
            return f"{at}the fields of {full} are {shown(fields)}; expected a list"
        return self._of_fields(fields, full, inside, place, depth)

    def _of_symbols(self, symbols: object, words: str) -> str | None:
        if not isinstance(symbols, list):
            return f"the symbols of {words} are {shown(symbols)}; expected a list"
        odd = [each for each in symbols if not isinstance(each, str) or not _NAME.fullmatch(each)]
        if odd:
            return f"{words} has the symbol {shown(odd[0])}; expected letters, digits and _"
        return self._twice(symbols, f"{words} has the symbol")

    def _of_fields(
        self, fields: list[Any], full: str, space: str, place: str, depth: int
    ) -> str | None:
        at = f"{place}: " if place else ""
        names = []
        for number, field in enumerate(fields):
            if not isinstance(field, dict):
                return f"{at}field {number} of {full} is {shown(field)}; expected an object"
            name = field.get("name")
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                return f"{at}field {number} of {full} has the name {shown(name)}; expected a text"
            names.append(name)
            inner = f"{place}.{name}" if place else name
            if "type" not in field:
                return f"{inner}: the field has no type"
            if fault := self.fault_of(field["type"], space, inner, depth + 1):
                return fault
        return self._twice(names, f"{at}{full} has the field")

    def _twice(self, names: Collection[str], words: str) -> str | None:
        seen: set[str] = set()
        for name in names:
            if name in seen:
                return f"{words} {name} twice"
            seen.add(name)
        return None
