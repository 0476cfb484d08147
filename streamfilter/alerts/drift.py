"""Changes between writer schemas, in the fields that a survey's map names."""

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from streamfilter.alerts.surveys import SurveyMap
from streamfilter.errors import printable
from streamfilter.schemas.walk import leaf_types
from streamfilter.schemas.wire import Form, WriterSchema

# Schemas and topics that are remembered; a stream has a few, but anyone may write more.
_MOST_SCHEMAS, _MOST_TOPICS = 1024, 256
_DIGITS = 12
_LONGEST = 100  # characters of a name or of types


class Change(StrEnum):
    """The kinds of changes: a closed set, so that it can label a metric."""

    SCHEMA = "schema"
    """A schema that is new in the topic, whatever it changes."""
    WIRE_FORM = "wire_form"
    FIELD_ADDED = "field_added"
    FIELD_REMOVED = "field_removed"
    FIELD_MOVED = "field_moved"
    """The map names several paths for a value, and the first existing one is another now."""
    FIELD_TYPE = "field_type"
    NULLABILITY = "nullability"


@dataclass(frozen=True, slots=True)
class UsedField:
    """A field that the map names and the schema has."""

    role: str
    path: str
    types: frozenset[str]
    """Avro types; ``null`` is among them where the field or a record around it can be null."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """The change of one field."""

    change: Change
    detail: str


@dataclass(frozen=True, slots=True)
class Writer:
    """The part of a writer schema that a survey's map uses."""

    survey: str
    name: str
    """Full name of the record, with its version where the schema gives one."""
    identity: str
    """Hash of the definition: equal definitions have equal identities."""
    used: tuple[UsedField, ...]


@dataclass(frozen=True, slots=True)
class Drift:
    """A schema, or a wire form, that a topic did not have before."""

    topic: str
    survey: str
    before: str
    """Description of the survey's last schema before, if possible in the same topic."""
    now: str
    changes: tuple[Change, ...]
    fields: tuple[FieldChange, ...]


def writer_of(schema: WriterSchema, survey: SurveyMap) -> Writer:
    """Returns the part of a writer schema that a survey's map uses."""
    used = tuple(
        UsedField(field.role, field.path, types)
        for field in survey.wanted()
        if (types := leaf_types(schema, field.path)) is not None
    )
    version = schema.definition.get("version")
    name = f"{schema.name} {version}" if isinstance(version, str) else schema.name
    text = json.dumps(schema.definition, sort_keys=True)
    identity = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    return Writer(survey.survey, name, identity, used)


def field_changes(before: Sequence[UsedField], now: Sequence[UsedField]) -> tuple[FieldChange, ...]:
    """Returns the changes, each field once; empty where the used fields are the same."""
    old, new = _by_role_and_path(before), _by_role_and_path(now)
    changes = []
    moved: set[tuple[str, str]] = set()
    for role in dict.fromkeys(each.role for each in before):
        was, became = _first(before, role), _first(now, role)
        # Each flag is a field of its own, not one of several paths of one value.
        if role != "flags" and became is not None and was != became:
            changes.append(FieldChange(Change.FIELD_MOVED, f"{role}: {was} -> {became}"))
            moved |= {(role, str(was)), (role, became)}
    for key in [*old, *(key for key in new if key not in old)]:
        types, types_now = old.get(key), new.get(key)
        if types is not None and types_now is not None:
            changes += _retyped(key[1], types, types_now)
        elif key not in moved:
            change = Change.FIELD_REMOVED if types_now is None else Change.FIELD_ADDED
            changes.append(FieldChange(change, key[1]))
    return tuple(changes)


def _by_role_and_path(used: Sequence[UsedField]) -> Mapping[tuple[str, str], frozenset[str]]:
    return {(each.role, each.path): each.types for each in used}


def _first(used: Sequence[UsedField], role: str) -> str | None:
    return next((each.path for each in used if each.role == role), None)


def _retyped(path: str, before: frozenset[str], now: frozenset[str]) -> list[FieldChange]:
    if before == now:
        return []
    kind = Change.NULLABILITY if before ^ now == {"null"} else Change.FIELD_TYPE
    words = _plain(" -> ".join(" or ".join(sorted(types)) for types in (before, now)))
    return [FieldChange(kind, f"{path}: {words}")]


_SchemaInUse = tuple[Form, int | None, Writer]


class SchemaHistory:
    """Remembers the schemas and wire forms of each topic; any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._schemas: OrderedDict[tuple[str, Form, int | None, str], None] = OrderedDict()
        self._forms: OrderedDict[tuple[str, str, Form], None] = OrderedDict()
        self._last: OrderedDict[tuple[str, str], _SchemaInUse] = OrderedDict()
        self._of_survey: dict[str, _SchemaInUse] = {}

    def record(self, topic: str, form: Form, schema_id: int | None, writer: Writer) -> Drift | None:
        """Record the schema of a message; returns what is new, once for each topic, else None."""
        key = (topic, form, schema_id, writer.identity)
        with self._lock:
            # A topic may hold several surveys, and a survey may have a topic for each night.
            stream, now = (topic, writer.survey), (form, schema_id, writer)
            before = self._last.get(stream) or self._of_survey.get(writer.survey)
            self._last[stream] = self._of_survey[writer.survey] = now
            if key in self._schemas:
                return None
            in_form = (topic, writer.survey, form)
            known_form = in_form in self._forms
            self._schemas[key] = self._forms[in_form] = None
            for kept, most in (
                (self._schemas, _MOST_SCHEMAS),
                (self._forms, _MOST_SCHEMAS),
                (self._last, _MOST_TOPICS),
            ):
                if len(kept) > most:
                    kept.popitem(last=False)
        return _drift(topic, before, now, known_form) if before else None


def _drift(topic: str, before: _SchemaInUse, now: _SchemaInUse, known_form: bool) -> Drift | None:
    changes = []
    fields: tuple[FieldChange, ...] = ()
    if before[1:] != now[1:]:
        changes.append(Change.SCHEMA)
        fields = field_changes(before[2].used, now[2].used)
    if before[0] != now[0] and not known_form:
        changes.append(Change.WIRE_FORM)
    if not changes:
        return None
    changes += [each.change for each in fields]
    return Drift(topic, now[2].survey, _words(before), _words(now), tuple(changes), fields)


def _words(schema: _SchemaInUse) -> str:
    form, schema_id, writer = schema
    known_by = f"id {schema_id}" if schema_id is not None else writer.identity
    return f"{_plain(writer.name)} ({known_by}, {form})"


def _plain(text: str) -> str:
    """Returns a text from a schema, which may hold anything, short and printable for the log."""
    return printable(text[:_LONGEST])
