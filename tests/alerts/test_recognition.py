"""Which survey an alert is of: by its fields, with its record's name as a hint."""

import copy
import io
from pathlib import Path
from typing import Any

import fastavro
import pytest

from streamfilter.alerts.decode import Decoder
from streamfilter.alerts.surveys import Surveys
from streamfilter.errors import Reason
from streamfilter.limits import Limits
from streamfilter.records import Alert, Message, Origin, Rejected
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.sources import PackageSource

PACKETS = {
    "ztf": "ztf/516377976015010010.avro",
    "winter": "winter/3608694.avro",
    "decam": "",
    "pgir": "",
    "lsst": "lsst/170595945463939107.bin",
}

CUTOUT = ["null", {"type": "record", "name": "cutout", "fields": [
    {"name": "fileName", "type": "string"}, {"name": "stampData", "type": "bytes"}]}]  # fmt: skip


def decoded(value: bytes, *folders: Path) -> Alert | Rejected:
    decoder = Decoder(SchemaFinder([PackageSource()], Limits()), Surveys.load(folders), Limits())
    return decoder.decode(Message(Origin("t", 0, 0), value))


def packet(samples: Path, survey: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The writer schema and the record of a real packet."""
    path = samples / PACKETS[survey] if PACKETS[survey] else min((samples / survey).glob("*.avro"))
    value = path.read_bytes()
    if survey != "lsst":
        reader: Any = fastavro.reader(io.BytesIO(value))
        return reader.writer_schema, next(reader)
    schema = PackageSource().by_id(int.from_bytes(value[1:5], "big"))
    if schema is None:
        pytest.skip("no LSST schemas: install the extra streamfilter[lsst]")
    record: Any = fastavro.schemaless_reader(
        io.BytesIO(value[5:]), fastavro.parse_schema(schema), None
    )
    return schema, record


def container(schema: Any, record: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    fastavro.writer(buffer, fastavro.parse_schema(copy.deepcopy(schema)), [record])
    return buffer.getvalue()


def as_spark(schema: Any, name: str = "topLevelRecord") -> Any:
    """A schema as Spark's ``to_avro`` writes it, which Fink uses.

    Every record has the name of its place below ``topLevelRecord``; every field, every item and
    the type of both can be null, which stands last; nothing else of the schema is left.
    """
    named: dict[str, Any] = {}

    def of(kind: Any, place: str) -> Any:
        if isinstance(kind, list):
            (kind,) = (branch for branch in kind if branch != "null")
        if isinstance(kind, str):
            return of(named[kind], place) if kind in named else kind
        if kind["type"] == "array":
            return {"type": "array", "items": [of(kind["items"], place), "null"]}
        if kind["type"] != "record":
            return of(kind["type"], place)
        named[kind["name"]] = kind
        fields = [
            {"name": each["name"], "type": [of(each["type"], f"{place}.{each['name']}"), "null"]}
            for each in kind["fields"]
        ]
        space, _, last = place.rpartition(".")
        return {"type": "record", "name": last, "namespace": space, "fields": fields}

    parsed: Any = fastavro.parse_schema(copy.deepcopy(schema))
    return of(parsed, name)


@pytest.mark.parametrize("survey", ["ztf", "lsst", "winter"])
def test_packets_that_spark_sends_on_are_of_their_survey(samples: Path, survey: str) -> None:
    """Fink's are all named topLevelRecord, and every field of theirs can be null."""
    schema, record = packet(samples, survey)
    spark = as_spark(schema)
    assert "topLevelRecord" == fastavro.parse_schema(copy.deepcopy(spark))["name"]  # type: ignore[index, call-overload]
    original = decoded(container(schema, record))
    found = decoded(container(spark, record))
    assert isinstance(original, Alert)
    assert isinstance(found, Alert), found
    assert (survey, original.alert_id) == (found.survey, found.alert_id)
    assert original.light_end_unix_s == found.light_end_unix_s
    assert set(original.stamps) == set(found.stamps)


@pytest.mark.parametrize("name", ["broker.v1.Alert", "ConnectDefault", "alert"])
def test_a_survey_s_alerts_may_have_any_name(samples: Path, name: str) -> None:
    """Others that send alerts on name their records as they like."""
    schema, record = packet(samples, "ztf")
    found = decoded(container(dict(schema) | {"name": name, "namespace": ""}, record))
    assert isinstance(found, Alert), found
    assert "ztf" == found.survey


@pytest.mark.parametrize("survey", ["decam", "pgir"])
def test_surveys_that_differ_by_name_alone_are_both_named(samples: Path, survey: str) -> None:
    """Both maps require the same two fields; guessing would name the wrong telescope."""
    schema, record = packet(samples, survey)
    rejected = decoded(container(as_spark(schema), record))
    assert isinstance(rejected, Rejected)
    assert Reason.SURVEY_UNKNOWN == rejected.reason
    assert "the maps of decam and pgir" in rejected.detail
    assert "`record`" in rejected.detail


MAP = """
survey = "{}"
record = '{}'
alert_id = "candid"
[stamps]
science = "cutoutScience.stampData"
"""


@pytest.mark.parametrize("record", ["topLevelRecord", "other"])
def test_two_maps_that_fit_are_an_error_that_names_both(
    samples: Path, tmp_path: Path, record: str
) -> None:
    """Whether both are named for the record or neither is."""
    for survey in ("mine", "yours"):
        (tmp_path / f"{survey}.toml").write_text(MAP.format(survey, record))
    schema, value = packet(samples, "ztf")
    rejected = decoded(container(dict(schema) | {"name": "topLevelRecord"}, value), tmp_path)
    assert isinstance(rejected, Rejected)
    assert Reason.SURVEY_UNKNOWN == rejected.reason
    assert "mine and yours" in rejected.detail


def test_the_name_tells_between_two_maps_that_fit(samples: Path, tmp_path: Path) -> None:
    """So a site may have a map of its own for what a broker sends on."""
    (tmp_path / "fink.toml").write_text(MAP.format("fink", "topLevelRecord"))
    schema, record = packet(samples, "ztf")
    named = decoded(container(dict(schema) | {"name": "topLevelRecord"}, record), tmp_path)
    as_it_came = decoded(container(schema, record), tmp_path)
    assert isinstance(named, Alert)
    assert isinstance(as_it_came, Alert)
    assert ("fink", "ztf") == (named.survey, as_it_came.survey)


def test_a_map_for_all_of_spark_s_records_keeps_no_other_survey_out(
    samples: Path, tmp_path: Path
) -> None:
    """A name without a namespace is nobody's own: where its map does not fit, fields tell."""
    text = MAP.format("fink_lsst", "topLevelRecord").replace("candid", "diaSourceId")
    (tmp_path / "fink.toml").write_text(text)
    schema, record = packet(samples, "ztf")
    found = decoded(container(as_spark(schema), record), tmp_path)
    assert isinstance(found, Alert), found
    assert "ztf" == found.survey


def test_a_record_that_is_named_for_a_survey_is_of_no_other(samples: Path) -> None:
    """What it lacks is said of its own map, though others' fields are there."""
    schema, record = packet(samples, "ztf")
    fields = [
        {"name": "cutoutScience", "type": ["null", "bytes"]}
        if field["name"] == "cutoutScience" else field
        for field in schema["fields"]
    ]  # fmt: skip
    names = {"cutoutTemplate": None, "cutoutDifference": None, "cutoutScience": b"x"}
    kept = [
        field for field in fields if field["name"] not in ("cutoutTemplate", "cutoutDifference")
    ]
    rejected = decoded(container(dict(schema) | {"fields": kept}, record | names))
    assert isinstance(rejected, Rejected)
    assert Reason.FIELD_MISSING == rejected.reason
    assert "ztf.alert has no cutoutScience.stampData, which ztf needs" == rejected.detail


UNRELATED = [
    ([("candid", "long"), ("cutoutScience", CUTOUT)], "of ztf, needs objectId, candidate.jd"),
    (
        [("candid", "string"), ("objectId", "string")],
        "of decam, needs candidate.mjd, cutoutScience, which is not",
    ),
    ([("diaSourceId", "long"), ("ra", "double")], "of lsst, needs diaSource.diaObjectId or "),
    ([("candid", "double")], "no field that a map needs"),
    ([("candid", "double"), ("objectId", "string")], "needs candid (here double), candidate.mjd"),
    ([("number_of_nobody", "long"), ("picture", "bytes")], "no field that a map needs"),
]


@pytest.mark.parametrize(("fields", "words"), UNRELATED)
@pytest.mark.parametrize("name", ["topLevelRecord", "xyz.alert"])
def test_an_unrelated_record_is_of_no_survey(
    fields: list[tuple[str, Any]], words: str, name: str
) -> None:
    """A field or two in common are none; what the nearest map needs besides is said."""
    schema = {"type": "record", "name": name, "fields": [
        {"name": each, "type": kind} for each, kind in fields]}  # fmt: skip
    values: dict[str, Any] = {"long": 1, "string": "x", "double": 1.0, "bytes": b"x"}
    record = {each: values.get(kind) if isinstance(kind, str) else None for each, kind in fields}
    rejected = decoded(container(schema, record))
    assert isinstance(rejected, Rejected), rejected
    assert Reason.SURVEY_UNKNOWN == rejected.reason
    assert words in rejected.detail
    assert name in rejected.detail
    assert "survey_folders" in rejected.detail


def test_the_case_of_a_field_s_name_counts(samples: Path) -> None:
    """WINTER's objectid is not ZTF's objectId."""
    schema, record = packet(samples, "ztf")
    fields = [dict(field) | {"name": field["name"].lower()} for field in schema["fields"]]
    lower = {name.lower(): value for name, value in record.items()}
    rejected = decoded(container(dict(schema) | {"name": "x", "fields": fields}, lower))
    assert isinstance(rejected, Rejected)
    assert Reason.SURVEY_UNKNOWN == rejected.reason
