"""Which fields are read: those that a map names and a schema has."""

import pytest

from streamfilter.alerts.drift import UsedField, Writer
from streamfilter.alerts.field_plan import FieldPlan, Gaps, field_plan
from streamfilter.alerts.surveys import SurveyMap
from streamfilter.errors import MessageRejected, Reason

MAP = {
    "survey": "mine", "record": "r", "alert_id": ["id", "old"],
    "light": {"time": "mjd", "scale": "mjd-utc", "refers_to": "end", "exposure_s": "s"},
    "stamps": {"science": ["sci", "sci.data"]},
    "flags": [{"classes": ["CR"], "fields": ["cr", "cr2"]}, {"classes": ["SAT"], "fields": "sat"}],
}  # fmt: skip
ALL = {
    "id": "long", "mjd": "double", "s": "float", "sci": "bytes", "cr": "boolean", "cr2": "int",
    "sat": "int",
}  # fmt: skip


def plan(types: dict[str, str], **changes: object) -> FieldPlan:
    """For a schema with these fields."""
    survey = SurveyMap.model_validate(MAP | changes)
    used = tuple(
        UsedField(field.role, field.path, frozenset({types[field.path]}))
        for field in survey.wanted()
        if field.path in types
    )
    return field_plan(Writer("mine", "r", "", used), survey, "r")


def gaps(types: dict[str, str], **changes: object) -> list[tuple[str, str]]:
    return [(gap.role, gap.detail) for gap in plan(types, **changes).gaps]


def test_what_is_there_is_read_and_nothing_is_missing() -> None:
    """One of several paths of a value is enough."""
    found = plan(ALL)
    assert (("id", "mjd", "s", "sci", "cr", "cr2", "sat"), ()) == (found.paths, found.gaps)
    assert (0, None, 1, 2, 3, None, 4, 5, 6) == found.slots
    assert frozenset({"double"}) == found.types[2]


def test_a_value_without_any_of_its_fields_is_a_gap() -> None:
    """The gap names all paths of the value."""
    assert [("time", "time: no mjd"), ("flags", "flags of SAT: no sat")] == gaps(
        {path: kind for path, kind in ALL.items() if path not in ("mjd", "sat", "cr2")}
    )


def test_a_field_of_another_type_is_a_gap_where_no_other_serves() -> None:
    """Each flag counts for itself."""
    found = gaps(ALL | {"mjd": "string", "cr2": "string"})
    assert ["time", "flags"] == [role for role, _ in found]
    assert found[0][1].startswith("time: mjd is string; time can be double or")
    assert found[1][1].startswith("flags of CR: cr2 is string")
    assert [] == gaps(ALL | {"old": "bytes"})
    assert [] == gaps(ALL | {"sci": "record", "sci.data": "bytes"})


def test_what_has_a_default_may_be_gone() -> None:
    """ZTF's exposures were 30 s before its packets said so."""
    types = {path: kind for path, kind in ALL.items() if path != "s"}
    assert [("exposure_s", "exposure_s: no s")] == gaps(types)
    assert [] == gaps(types, light=MAP["light"] | {"default_exposure_s": 30.0})  # type: ignore[operator]


@pytest.mark.parametrize(
    ("types", "reason", "words"),
    [
        ({"mjd": "double"}, Reason.FIELD_MISSING, "r has no id nor old, which mine needs"),
        (ALL | {"id": "double"}, Reason.FIELD_TYPE, "id is double; alert_id can be"),
        (ALL | {"sci": "string"}, Reason.FIELD_TYPE, "sci is string; science can be"),
    ],
)
def test_what_is_required_is_refused_with_its_reason(
    types: dict[str, str], reason: Reason, words: str
) -> None:
    """The first that the map needs and does not get."""
    with pytest.raises(MessageRejected, match=words) as caught:
        plan(types)
    assert reason == caught.value.reason


def test_gaps_are_told_in_plain_letters() -> None:
    """The name of a schema may hold anything, but logs are read on terminals."""
    words = str(Gaps("mine", "a\x1b[2J" * 100, plan({**ALL, "mjd": "string"}).gaps))
    assert words.isprintable()
    assert len(words) < 600
