"""What is at fault in a writer schema is said with the field and with what was found."""

from typing import Any

import pytest
from foreign_words import foreign_words

from streamfilter.errors import MessageRejected, Reason
from streamfilter.limits import Limits
from streamfilter.schemas.definition import parse_definition, parse_text


def record(*fields: Any, **changes: Any) -> dict[str, Any]:
    return {"type": "record", "name": "t.alert", "fields": list(fields), **changes}


def field(kind: Any, name: str = "x") -> dict[str, Any]:
    return {"name": name, "type": kind}


ODD = [
    (record(field("dooble")), 'x: no type is called "dooble"'),
    (record(field({"type": "dooble"})), 'x: no type is called "dooble"'),
    (record(field(record(field(7, "y"), name="in"))), "x.y: 7 is no type"),
    (record(field([{"type": "array"}])), "x: an array has no items"),
    (record(field({"type": "map", "values": None})), "x: null is no type"),
    (record({"name": "x"}), "x: the field has no type"),
    (record({"type": "int"}), "field 0 of t.alert has the name null; expected a text"),
    (record(field("int", "1x")), ""),
    (record(field("int"), field("int")), ""),
    (record(7), "field 0 of t.alert is 7; expected an object"),
    (record(fields=None), "the fields of t.alert are null; expected a list"),
    (record(name=None), "null is no name of a record"),
    (record(name="a b"), ""),
    ({"type": "record", "fields": []}, "a record has no name"),
    (record(namespace=5), ""),
    (record(field(record(name="t.alert"))), "x: the type t.alert is defined twice"),
    (record(field({"type": "enum", "name": "e"})), "are null; expected a list"),
    (record(field({"type": "enum", "name": "e", "symbols": ["a b"]})), 'has the symbol "a b"'),
    (record(field({"type": "enum", "name": "e", "symbols": ["a", "a"]})), "the symbol a twice"),
    (record(field({"type": "fixed", "name": "f"})), "the size of t.f is null; expected a number"),
    (record(field({"type": "fixed", "name": "f", "size": "4"})), "t.f has the size '4'"),
    (record(field("int"), {**field("int", "y"), "default": "a"}), ""),
    (record(field({"type": "bytes", "logicalType": "decimal", "precision": "x"}, "cost")), ""),
    ({"type": ["null"]}, ""),
    ({}, "has no type"),
]


@pytest.mark.parametrize(("definition", "words"), ODD)
def test_a_schema_that_is_none_is_said_with_its_place(
    definition: dict[str, Any], words: str
) -> None:
    """None of it in the words of the library that stumbled; some it takes as it is."""
    found: list[MessageRejected] = []
    try:
        parse_definition(definition)
    except MessageRejected as rejected:
        found.append(rejected)
    assert bool(words) <= bool(found), "it was taken"
    for each in found:
        assert Reason.SCHEMA_MALFORMED == each.reason
        assert words in each.detail
        assert [] == foreign_words(each.detail)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", "no JSON: it ends too early"),
        (b'{"type" "record"}', "no JSON: at character 8 stands '\"record\"}'"),
        (b"\xff\xfe{", "no JSON"),
        (b"[" * 90_000, "no JSON: nested too deeply"),
        (b"[]", "a list; expected a record"),
    ],
)
def test_a_text_that_is_no_json_is_said_with_its_place(text: bytes, words: str) -> None:
    """As far as it can be told."""
    with pytest.raises(MessageRejected) as caught:
        parse_text(text, Limits(max_schema_bytes=2**20))
    assert words in caught.value.detail
    assert [] == foreign_words(caught.value.detail)


def test_what_was_found_is_shortened() -> None:
    """A schema of a megabyte is not repeated in a header."""
    with pytest.raises(MessageRejected) as caught:
        parse_definition(record(field({"type": "x" * 10_000})))
    assert len(caught.value.detail) < 200
