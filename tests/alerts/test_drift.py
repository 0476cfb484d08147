"""What changed between writer schemas, among the fields that a survey's map names."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfilter.alerts.decode import Decoder
from streamfilter.alerts.drift import (
    Change,
    Drift,
    SchemaHistory,
    UsedField,
    Writer,
    field_changes,
    writer_of,
)
from streamfilter.alerts.surveys import RuleField, Surveys
from streamfilter.errors import Reason
from streamfilter.limits import Limits
from streamfilter.records import FieldKind, Message, Origin, Rejected
from streamfilter.schemas.definition import parse_definition
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.sources import PackageSource
from streamfilter.schemas.wire import Form

SURVEYS = Surveys.load()


def lsst(schema_id: int) -> dict[str, Any]:
    """A writer schema as LSST ships it."""
    definition = PackageSource().by_id(schema_id)
    if definition is None:
        pytest.skip("no LSST schemas: install the extra streamfilter[lsst]")
    return copy.deepcopy(definition)


def writer(definition: dict[str, Any]) -> Writer:
    schema = parse_definition(definition)
    return writer_of(schema, SURVEYS.of_record(schema.name)[0])


def field_of(definition: dict[str, Any], path: str) -> dict[str, Any]:
    """The field at a path, through nullable records."""
    found = definition
    for word in path.split("."):
        (found,) = (each for each in record_of(found)["fields"] if each["name"] == word)
    return found


def record_of(kind: Any) -> dict[str, Any]:
    """The record that a field holds."""
    while "fields" not in kind:
        kind = kind["type"] if isinstance(kind, dict) else next(k for k in kind if k != "null")
    return dict(kind)


def said(before: dict[str, Any], now: dict[str, Any]) -> list[tuple[Change, str]]:
    changes = field_changes(writer(before).used, writer(now).used)
    return [(each.change, each.detail) for each in changes]


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (704, 800, [
            (Change.FIELD_MOVED, "alert_id: diaSource.diaSourceId -> diaSourceId"),
            (Change.FIELD_ADDED, "diaSource.glint_trail"),
        ]),
        (1000, 1100, []),
        (1100, 1101, [(Change.FIELD_ADDED, "diaSource.exposureTime")]),
        (1101, 1100, [(Change.FIELD_REMOVED, "diaSource.exposureTime")]),
    ],
)  # fmt: skip
def test_what_lsst_changed(before: int, now: int, expected: list[tuple[Change, str]]) -> None:
    """LSST's published versions differ in these of the few used fields."""
    assert expected == said(lsst(before), lsst(now))


def test_a_type_and_a_nullability_are_told_apart() -> None:
    """The detail has the field's path, the old and the new types."""
    before, now = lsst(1000), lsst(1000)
    field_of(now, "diaSource.midpointMjdTai")["type"] = "float"
    flag = field_of(now, "diaSource.pixelFlags_cr")
    flag["type"] = "boolean"
    del flag["default"]
    assert [
        (Change.FIELD_TYPE, "diaSource.midpointMjdTai: double -> float"),
        (Change.NULLABILITY, "diaSource.pixelFlags_cr: boolean or null -> boolean"),
    ] == said(before, now)


def test_a_number_that_rules_look_at_is_a_field_that_is_used() -> None:
    """Where nobody looks at it, its going is no change."""
    schema = parse_definition(lsst(1101))
    survey = SURVEYS.of_record(schema.name)[0]
    reads = survey.reading([RuleField("lsst", "reliabilityVersion", FieldKind.TEXT)])
    before, now = (writer_of(schema, survey), writer_of(schema, reads))
    (change,) = field_changes(now.used, before.used)
    assert (Change.FIELD_REMOVED, "diaSource.reliabilityVersion") == (change.change, change.detail)
    old = parse_definition(lsst(1100))
    changes = field_changes(writer_of(old, reads).used, now.used)
    added = {"diaSource.reliabilityVersion", "diaSource.exposureTime"}
    assert added == {each.detail for each in changes}


def test_flags_are_fields_of_their_own() -> None:
    """A flag that goes is a removed field, though another flag of its class is there."""
    before = [UsedField("flags", path, frozenset({"boolean"})) for path in ("cr", "cr_center")]
    (change,) = field_changes(before, before[1:])
    assert (Change.FIELD_REMOVED, "cr") == (change.change, change.detail)


FIELDS = st.lists(
    st.builds(
        UsedField,
        st.sampled_from(["alert_id", "time", "science", "flags"]),
        st.sampled_from(["a", "b", "c.d"]),
        st.frozensets(st.sampled_from(["null", "int", "double"]), min_size=1),
    ),
    unique_by=lambda field: (field.role, field.path),
)
BACK = {Change.FIELD_ADDED: Change.FIELD_REMOVED, Change.FIELD_REMOVED: Change.FIELD_ADDED}


@given(FIELDS, FIELDS)
def test_the_way_back_is_the_same_in_reverse(before: list[UsedField], now: list[UsedField]) -> None:
    """A field added one way is removed the other way; equal schemas give no changes."""
    there = [each.change for each in field_changes(before, now)]
    back = [BACK.get(each.change, each.change) for each in field_changes(now, before)]
    assert sorted(there) == sorted(back)
    assert [] == [each.change for each in field_changes(before, before)]
    same = {(each.role, each.path, each.types) for each in before}
    if same != {(each.role, each.path, each.types) for each in now}:
        assert there


def seen(
    watch: SchemaHistory, topic: str, form: Form, schema_id: int | None, of: Writer
) -> list[Change]:
    drift = watch.record(topic, form, schema_id, of)
    return list(drift.changes) if drift else []


def test_a_new_schema_is_said_once_for_each_topic() -> None:
    """This holds where two schemas alternate packet by packet; the very first is no change."""
    watch, old, new = SchemaHistory(), writer(lsst(1100)), writer(lsst(1101))
    assert [] == seen(watch, "a", Form.CONFLUENT, 1100, old)
    added = [Change.SCHEMA, Change.FIELD_ADDED]
    assert added == seen(watch, "a", Form.CONFLUENT, 1101, new)
    for _ in range(3):
        assert [] == seen(watch, "a", Form.CONFLUENT, 1100, old)
        assert [] == seen(watch, "a", Form.CONFLUENT, 1101, new)


def test_the_topic_of_the_next_night_is_compared_with_the_night_before() -> None:
    """ZTF makes a topic each night: the same schema in it is nothing new, another one is."""
    watch, old, new = SchemaHistory(), writer(lsst(1100)), writer(lsst(1101))
    assert [] == seen(watch, "night-1", Form.CONFLUENT, 1100, old)
    assert [] == seen(watch, "night-2", Form.CONFLUENT, 1100, old)
    added = [Change.SCHEMA, Change.FIELD_ADDED]
    assert added == seen(watch, "night-3", Form.CONFLUENT, 1101, new)


def test_a_wire_form_that_changes_is_a_change_of_its_own() -> None:
    """The same schema in a container has no id there."""
    watch, same = SchemaHistory(), writer(lsst(1100))
    assert [] == seen(watch, "a", Form.SINGLE_OBJECT, None, same)
    assert [Change.WIRE_FORM] == seen(watch, "a", Form.OCF, None, same)
    assert [] == seen(watch, "a", Form.SINGLE_OBJECT, None, same)
    another = writer(lsst(1101))
    added = [Change.SCHEMA, Change.FIELD_ADDED]
    assert added == seen(watch, "a", Form.OCF, None, another)


def test_surveys_that_share_a_topic_are_not_compared() -> None:
    """Each has a last schema of its own."""
    watch, one = SchemaHistory(), writer(lsst(1100))
    other = Writer("ztf", "ztf.alert", "0", ())
    assert [] == seen(watch, "a", Form.CONFLUENT, 1100, one)
    assert [] == seen(watch, "a", Form.OCF, None, other)
    assert [] == seen(watch, "a", Form.CONFLUENT, 1100, one)


class Shelf:
    """Schemas by id."""

    name = "shelf"

    def __init__(self, schemas: dict[int, dict[str, Any]]) -> None:
        self._schemas = schemas

    def by_id(self, schema_id: int) -> dict[str, Any] | None:
        return self._schemas.get(schema_id)

    by_fingerprint = by_id


def test_a_required_field_that_vanished_rejects_with_its_name() -> None:
    """The change is reported too, with the removed field."""
    now = lsst(1000)
    now["fields"] = [each for each in now["fields"] if each["name"] != "cutoutScience"]
    finder = SchemaFinder([Shelf({1: lsst(1000), 2: now})], Limits())
    (lsst_map,) = SURVEYS.of_record("lsst.v10_0.alert")
    strict = lsst_map.model_copy(update={"required": ("alert_id", "science")})
    decoder = Decoder(finder, Surveys([strict]), Limits())
    answers = [
        decoder.decode(Message(Origin("alerts", 0, n), b"\x00\x00\x00\x00" + bytes([n])))
        for n in (1, 2, 2)
    ]
    assert isinstance(answers[1], Rejected)
    assert isinstance(answers[2], Rejected)
    assert answers[1].reason == answers[2].reason == Reason.FIELD_MISSING
    assert "lsst.v10_0.alert has no cutoutScience, which lsst needs" == answers[1].detail
    (drift,) = decoder.take_reports()
    assert isinstance(drift, Drift)
    assert (Change.SCHEMA, Change.FIELD_REMOVED) == drift.changes
    assert ["cutoutScience"] == [each.detail for each in drift.fields]
    assert ("lsst.v10_0.alert (id 1, confluent)", "lsst.v10_0.alert (id 2, confluent)") == (
        drift.before,
        drift.now,
    )
    assert [] == decoder.take_reports()
