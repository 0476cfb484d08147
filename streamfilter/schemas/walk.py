"""Reads a few fields of an Avro record by its writer's schema, and skips all others.

A general reader builds every value: 18 ms for an LSST packet with a year of history. Here
neighbouring fields without strings become one regular expression, so that skipping a record costs
one match. Every step checks the end of the data: no bytes can make it loop or allocate.
"""

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streamfilter.errors import MessageRejected, Reason
from streamfilter.limits import Limits
from streamfilter.schemas.definition import SMALLEST_BYTES
from streamfilter.schemas.last_stamps import LastStamp, LastStamps
from streamfilter.schemas.wire import WriterSchema, malformed, read_long


class Values(list[object]):
    """The wanted values of one record, and the number of array and map items still allowed."""

    items_left: int = Limits().max_array_items

    def take(self, items: int) -> None:
        """Count skipped items; raises where there are more than allowed."""
        self.items_left -= items
        if self.items_left < 0:
            raise MessageRejected(
                Reason.MESSAGE_TOO_LARGE,
                "more items in arrays and maps than limits.max_array_items",
            )


_NO_MATCH = "values that do not follow the schema, from or behind the one"

Step = Callable[[bytes, int, Values], int]
"""Reads from a position, stores wanted values in their slots, and returns the next position."""
Reader = Callable[[bytes, int], object]
Wants = Mapping[str, Any]
"""Wanted fields by name: a slot (int), or the wanted fields of a nested record."""

_LONG = rb"[\x80-\xff]{0,9}+[\x00-\x7f]"
_PATTERNS: Mapping[str, bytes] = {
    "null": b"", "boolean": rb"[\x00\x01]", "int": _LONG, "long": _LONG, "float": b".{4}",
    "double": b".{8}",
}  # fmt: skip
_FLOAT, _DOUBLE = struct.Struct("<f"), struct.Struct("<d")
# Array items that one match skips; more would only make the expression longer.
_CHUNK = 16
# Branch numbers over 63 take two bytes; no survey has such a union.
_MOST_BRANCHES = 64
# Types that are a length and so many bytes; values of other types may be no keys of a set.
_PREFIXED = ("bytes", "string")


@dataclass(frozen=True, slots=True)
class _Run:
    """Neighbouring fields that one regular expression matches; each group is a wanted value."""

    pattern: bytes
    groups: tuple[tuple[int, Reader], ...] = ()


_Piece = _Run | Step

# A tuple and no set: values in a schema need not be hashable.
_TIMESTAMPS = ("timestamp-millis", "timestamp-micros", "timestamp-nanos")


def leaf_types(schema: WriterSchema, path: str) -> frozenset[str] | None:
    """Returns the Avro types of the field at a dotted path; None where there is no such field.

    ``null`` is among them where the field, or a record on the path, is nullable. A long with a
    timestamp type has that type's name. A path cannot go through arrays and maps.
    """
    names = _names(schema.parsed)
    kind: Any = schema.parsed
    nullable = False
    for word in path.split("."):
        record, through_null = _record_of(kind, names)
        nullable = nullable or through_null
        fields = {field["name"]: field["type"] for field in record["fields"]} if record else {}
        if word not in fields:
            return None
        kind = fields[word]
    branches = kind if isinstance(kind, list) else [kind]
    types = frozenset(_type_name(branch, names) for branch in branches)
    return types | {"null"} if nullable else types


class RecordWalk:
    """Reads the fields of a record at given paths.

    Parameters
    ----------
    schema
        The writer's schema.
    paths
        Dotted names of scalar, string or bytes fields that exist in the schema.
    anchors
        First bytes of stamps in the last fields, such as those of FITS and of gzip. The unwanted
        fields before the stamps are skipped unread where, from one of the first anchors after the
        head on, the lengths of the last fields fill the record exactly.
    limits
        Limits the items of arrays and maps.
    """

    def __init__(
        self,
        schema: WriterSchema,
        paths: Sequence[str],
        anchors: Sequence[bytes] = (),
        limits: Limits | None = None,
    ) -> None:
        self._slots = len(paths)
        self._most_items = (limits or Limits()).max_array_items
        wants: dict[str, Any] = {}
        for slot, path in enumerate(paths):
            *parents, leaf = path.split(".")
            place = wants
            for word in parents:
                place = place.setdefault(word, {})
            place[leaf] = slot
        names, fields = _names(schema.parsed), schema.parsed["fields"]
        compiler = _Compiler(names)
        pairs = _with_wants(fields, wants)
        chain = _chain(pairs, names)
        tail = len(fields) - len(chain)
        last_wanted = max((i for i in range(tail) if pairs[i][1] is not None), default=-1) + 1
        self._head = compiler.fields(pairs[:last_wanted])
        self._middle = compiler.fields(pairs[last_wanted:tail])
        self._tail = compiler.fields(pairs[tail:])
        self._last_stamps = LastStamps(chain, anchors if last_wanted < tail else ())
        if chain:
            first = _length_prefixed(chain[0].slot, False)
            self._from_first = _in_turn([first, compiler.fields(pairs[tail + 1 :])])

    def read(self, body: bytes, start: int = 0) -> Values:
        """Returns the values in the order of the paths; None for null, also of a record around it.

        Parameters
        ----------
        body
            The record, from ``start`` to the end.

        Raises
        ------
        MessageRejected
            The body does not follow the schema, ends early or goes on after the record, or has
            more items than the limit.
        """
        values = Values([None] * self._slots)
        values.items_left = self._most_items
        position = self._head(body, start, values)
        first = self._last_stamps.first(body, position)
        if first >= 0:
            end = self._from_first(body, first, values)
        else:
            end = self._tail(body, self._middle(body, position, values), values)
        if end != len(body):
            raise malformed(f"{len(body) - end} bytes after the record", end)
        return values


def _chain(pairs: Sequence[tuple[Any, Any]], names: Mapping[str, Any]) -> tuple[LastStamp, ...]:
    """Returns the stamps in the last fields, each field given by its type and its wants."""
    links: list[LastStamp] = []
    for kind, want in reversed(pairs):
        link = _link(_resolved(kind, names), want, names)
        if link is None:
            break
        links.insert(0, link)
    return tuple(links)


def _link(kind: Any, want: Any, names: Mapping[str, Any]) -> LastStamp | None:
    branch = b""
    if isinstance(kind, list):
        branches = [_resolved(each, names) for each in kind]
        if len(branches) != 2 or "null" not in branches:
            return None
        at = 1 - branches.index("null")
        kind, branch = branches[at], bytes([2 * at])
    if isinstance(want, int):
        return LastStamp(want, branch, 0) if kind == "bytes" else None
    if want is None or not isinstance(kind, dict) or kind["type"] not in ("record", "error"):
        return None
    *others, (last, slot) = _with_wants(kind["fields"], want)
    plain = all(w is None and _resolved(k, names) in _PREFIXED for k, w in others)
    stamp = isinstance(slot, int) and _resolved(last, names) == "bytes"
    return LastStamp(slot, branch, len(others)) if plain and stamp else None


def _with_wants(fields: Sequence[Any], wants: Wants) -> list[tuple[Any, Any]]:
    """Returns each field's type with its wants; of two of one name (WINTER) the last counts."""
    last = {field["name"]: index for index, field in enumerate(fields)}
    return [
        (field["type"], wants.get(field["name"]) if last[field["name"]] == index else None)
        for index, field in enumerate(fields)
    ]


def _names(parsed: Any) -> dict[str, Any]:
    """Returns the definitions of named types by full name."""
    found: dict[str, Any] = {}
    todo = [parsed]
    while todo:
        kind = todo.pop()
        if isinstance(kind, list):
            todo.extend(kind)
        elif isinstance(kind, dict):
            if "name" in kind:
                found[kind["name"]] = kind
            todo.extend(field["type"] for field in kind.get("fields", ()))
            todo.extend(kind[key] for key in ("items", "values", "type") if key in kind)
    return found


def _resolved(kind: Any, names: Mapping[str, Any]) -> Any:
    """Returns the type itself for a name or for a wrapper such as ``{"type": "long"}``."""
    while True:
        if isinstance(kind, str) and kind in names:
            kind = names[kind]
        elif isinstance(kind, dict) and (
            isinstance(kind["type"], dict | list) or kind["type"] in SMALLEST_BYTES
        ):
            kind = kind["type"]
        else:
            return kind


def _type_name(kind: Any, names: Mapping[str, Any]) -> str:
    if isinstance(kind, dict) and kind["type"] == "long" and kind.get("logicalType") in _TIMESTAMPS:
        return str(kind["logicalType"])
    kind = _resolved(kind, names)
    return kind if isinstance(kind, str) else "union" if isinstance(kind, list) else kind["type"]


def _record_of(kind: Any, names: Mapping[str, Any]) -> tuple[Any, bool]:
    """Returns the record of a type or of a nullable type, and whether it can be null."""
    kind = _resolved(kind, names)
    branches = [_resolved(branch, names) for branch in (kind if isinstance(kind, list) else [kind])]
    records = [b for b in branches if isinstance(b, dict) and b["type"] in ("record", "error")]
    return (records[0] if len(records) == 1 else None), "null" in branches


class _Compiler:
    """Compiles types into steps."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        self._names = names
        self._skips: dict[str, tuple[_Piece, ...]] = {}

    def fields(self, fields: Sequence[tuple[Any, Any]]) -> Step:
        """Returns one step for some fields of a record, each given by its type and its wants."""
        return _in_turn(_fused([p for kind, want in fields for p in self._pieces(kind, want)]))

    def _pieces(self, kind: Any, want: Any) -> tuple[_Piece, ...]:
        kind = _resolved(kind, self._names)
        if isinstance(kind, list):
            return self._union(kind, want)
        if isinstance(kind, dict):
            return self._complex(kind, want)
        if kind in _PREFIXED:
            return (_length_prefixed(want, kind == "string"),)
        return (_run(_PATTERNS[kind], want, _reader(kind, self._names)),)

    def _complex(self, kind: Any, want: Any) -> tuple[_Piece, ...]:
        if kind["type"] in ("record", "error"):
            if want is None:
                return self._skipped(kind)
            pairs = _with_wants(kind["fields"], want)
            return tuple(p for inner, wanted in pairs for p in self._pieces(inner, wanted))
        if kind["type"] == "array":
            return (_repeated(_fused(self._pieces(kind["items"], None))),)
        if kind["type"] == "map":
            value = self._pieces(kind["values"], None)
            return (_repeated(_fused([_length_prefixed(None, False), *value])),)
        pattern = _LONG if kind["type"] == "enum" else b".{%d}" % kind["size"]
        return (_run(pattern, want, _reader(kind, self._names)),)

    def _skipped(self, record: Any) -> tuple[_Piece, ...]:
        name = record["name"]
        if name not in self._skips:
            pieces = [p for f in record["fields"] for p in self._pieces(f["type"], None)]
            self._skips[name] = tuple(_fused(pieces))
        return self._skips[name]

    def _union(self, branches: list[Any], want: Any) -> tuple[_Piece, ...]:
        branches = branches[:_MOST_BRANCHES]
        if want is None or isinstance(want, int):
            skips = [_fused(self._pieces(branch, None)) for branch in branches]
            patterns = [_pattern_of(pieces) for pieces in skips]
            if None not in patterns:
                choices = [re.escape(bytes([2 * i])) + (p or b"") for i, p in enumerate(patterns)]
                return (
                    _run(b"(?>" + b"|".join(choices) + b")", want, _reader(branches, self._names)),
                )
            # The skips are reused: compiling them again would double the work at each level.
            if want is None:
                return (_either([_in_turn(pieces) for pieces in skips]),)
        steps = [
            _in_turn(_fused(self._pieces(branch, self._passed_on(branch, want))))
            for branch in branches
        ]
        return (_either(steps),)

    def _passed_on(self, branch: Any, want: Any) -> Any:
        """Returns the wants for one branch of a union: nested wants go only to a record."""
        if not isinstance(want, Mapping):
            return want
        kind = _resolved(branch, self._names)
        return want if isinstance(kind, dict) and kind["type"] in ("record", "error") else None


def _run(pattern: bytes, want: int | None, reader: Reader) -> _Run:
    if want is None:
        return _Run(pattern)
    return _Run(b"(" + pattern + b")", ((want, reader),))


def _pattern_of(pieces: Sequence[_Piece]) -> bytes | None:
    """Returns the expression of pieces; None where there are steps or groups among them."""
    if not pieces:
        return b""
    if len(pieces) == 1 and isinstance(pieces[0], _Run) and not pieces[0].groups:
        return pieces[0].pattern
    return None


def _fused(pieces: Sequence[_Piece]) -> list[_Piece]:
    """Returns the pieces with neighbouring runs joined."""
    fused: list[_Piece] = []
    for piece in pieces:
        if isinstance(piece, _Run) and fused and isinstance(fused[-1], _Run):
            last = fused[-1]
            fused[-1] = _Run(last.pattern + piece.pattern, last.groups + piece.groups)
        else:
            fused.append(piece)
    return fused


def _in_turn(pieces: Sequence[_Piece]) -> Step:
    steps = [_matched(piece) if isinstance(piece, _Run) else piece for piece in pieces]
    if len(steps) == 1:
        return steps[0]

    def walk(data: bytes, position: int, values: Values) -> int:
        for step in steps:
            position = step(data, position, values)
        return position

    return walk


def _matched(run: _Run) -> Step:
    match = re.compile(run.pattern, re.DOTALL).match
    groups = tuple((slot, index + 1, reader) for index, (slot, reader) in enumerate(run.groups))

    def walk(data: bytes, position: int, values: Values) -> int:
        found = match(data, position)
        if found is None:
            raise malformed(_NO_MATCH, position)
        for slot, group, reader in groups:
            values[slot] = reader(data, found.start(group))
        return found.end()

    return walk


def _length_prefixed(want: int | None, text: bool) -> Step:
    def walk(data: bytes, position: int, values: Values) -> int:
        size, start = read_long(data, position)
        end = start + size
        if size < 0 or end > len(data):
            raise malformed(f"a length of {size} where {len(data) - start} are left", position)
        if want is not None:
            values[want] = _text(data[start:end], start) if text else data[start:end]
        return end

    return walk


def _text(content: bytes, position: int) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise malformed("text that is not UTF-8", position) from error


def _either(steps: Sequence[Step]) -> Step:
    def walk(data: bytes, position: int, values: Values) -> int:
        branch, start = read_long(data, position)
        if not 0 <= branch < len(steps):
            raise malformed(f"branch {branch} of a union of {len(steps)}", position)
        return steps[branch](data, start, values)

    return walk


def _repeated(item: Sequence[_Piece]) -> Step:
    """Returns a step that skips an array or map whose items take at least one byte."""
    step = _in_turn(item)
    pattern = _pattern_of(item)
    chunk = _matched(_Run(b"(?>%s){%d}" % (pattern, _CHUNK))) if pattern is not None else None

    def walk(data: bytes, position: int, values: Values) -> int:
        while True:
            count, start = read_long(data, position)
            if count == 0:
                return start
            if count < 0:
                values.take(1)
                size, start = read_long(data, start)
                if not 0 <= size <= len(data) - start:
                    raise malformed(f"a block of {size} bytes", position)
                position = start + size
                continue
            if count > len(data) - start:
                raise malformed(f"{count} items where {len(data) - start} bytes are left", position)
            values.take(count)
            position = start
            if chunk is not None:
                for _ in range(count // _CHUNK):
                    position = chunk(data, position, values)
                count %= _CHUNK
            for _ in range(count):
                position = step(data, position, values)

    return walk


def _reader(kind: Any, names: Mapping[str, Any]) -> Reader:
    """Returns a reader for a value that a run has already matched."""
    kind = _resolved(kind, names)
    if isinstance(kind, list):
        readers = [_reader(branch, names) for branch in kind]
        return lambda data, position: readers[data[position] >> 1](data, position + 1)
    if isinstance(kind, dict):
        return _reader_of_named(kind)
    return _SCALARS.get(kind, _nothing)


def _reader_of_named(kind: Any) -> Reader:
    if kind["type"] == "fixed":
        size = kind["size"]
        return lambda data, position: data[position : position + size]
    if kind["type"] == "enum":
        symbols = kind["symbols"]

        def symbol(data: bytes, position: int) -> object:
            index, _ = read_long(data, position)
            if not 0 <= index < len(symbols):
                raise malformed(f"symbol {index} of {len(symbols)}", position)
            return symbols[index]

        return symbol
    return _nothing


def _nothing(data: bytes, position: int) -> object:
    return None


_SCALARS: Mapping[str, Reader] = {
    "boolean": lambda data, position: data[position] == 1,
    "int": lambda data, position: read_long(data, position)[0],
    "long": lambda data, position: read_long(data, position)[0],
    "float": lambda data, position: _FLOAT.unpack_from(data, position)[0],
    "double": lambda data, position: _DOUBLE.unpack_from(data, position)[0],
}
