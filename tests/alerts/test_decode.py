"""Messages to Alerts, beside fastavro and astropy, on real packets."""

import copy
import gzip
import io
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import fastavro
import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamfilter.alerts.decode import Decoder
from streamfilter.alerts.field_plan import Gaps
from streamfilter.alerts.surveys import RuleField, Surveys
from streamfilter.errors import Reason, SchemaUnavailable
from streamfilter.limits import Limits
from streamfilter.records import Alert, FieldKind, Message, Origin, Plane, Rejected
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.sources import FolderSource, PackageSource
from streamfilter.schemas.walk import leaf_types
from streamfilter.schemas.wire import read_long

LSST_STAMPS = ("cutoutDifference", "cutoutScience", "cutoutTemplate")
LSST_VERSIONS = (700, 701, 702, 703, 704, 800, 900, 1000, 1100, 1101)


@cache
def decoder() -> Decoder:
    """A decoder that knows what the package of LSST knows."""
    pytest.importorskip("lsst.alert", reason="needs the extra streamfilter[lsst]")
    return Decoder(SchemaFinder([PackageSource()], Limits()), Surveys.load(), Limits())


def decoded(value: bytes) -> Alert | Rejected:
    """The result of decoding a message."""
    return decoder().decode(Message(Origin("t", 0, 0), value))


def alert_of(value: bytes) -> Alert:
    """The Alert of a message that has one."""
    alert = decoded(value)
    assert isinstance(alert, Alert), alert
    return alert


def reason_of(value: bytes) -> Reason:
    """Why a message has no Alert."""
    rejected = decoded(value)
    assert isinstance(rejected, Rejected), rejected
    return rejected.reason


@cache
def lsst_schema(schema_id: int) -> Any:
    """The writer schema of an LSST version, parsed."""
    definition = PackageSource().by_id(schema_id)
    if definition is None:
        pytest.skip(f"lsst-alert-packet has no schema {schema_id}")
    return fastavro.parse_schema(definition)


def record_of(value: bytes) -> tuple[Any, dict[str, Any]]:
    """The writer schema and the whole record, as fastavro reads them."""
    if value.startswith(b"Obj"):
        reader: Any = fastavro.reader(io.BytesIO(value))
        return reader.writer_schema, next(reader)
    schema = lsst_schema(int.from_bytes(value[1:5], "big"))
    record = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None)
    return schema, record  # type: ignore[return-value]


def encoded(schema_id: int, record: dict[str, Any]) -> bytes:
    """A record in the Confluent form."""
    buffer = io.BytesIO(b"\x00" + schema_id.to_bytes(4, "big"))
    buffer.seek(5)
    fastavro.schemaless_writer(buffer, lsst_schema(schema_id), record)
    return buffer.getvalue()


def container(schema: Any, record: dict[str, Any]) -> bytes:
    """A record in a container."""
    buffer = io.BytesIO()
    fastavro.writer(buffer, schema, [record])
    return buffer.getvalue()


def packets(samples: Path) -> Iterator[Path]:
    """Every sample packet that is whole."""
    for survey in ("ztf", "lsst", "winter", "decam", "pgir"):
        yield from sorted(path for path in (samples / survey).iterdir() if path.suffix != ".json")


@cache
def packet(path: Path) -> bytes:
    """A sample's bytes."""
    return path.read_bytes()


def slow_planes(data: bytes) -> list[np.ndarray[Any, Any]]:
    """Every image of a stamp, by astropy."""
    data = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    with fits.open(io.BytesIO(data), ignore_missing_simple=True) as hdus:
        return [hdu.data.astype(np.float32) for hdu in hdus]


@pytest.mark.filterwarnings("ignore:Found a SIMPLE card")
def test_every_sample_equals_fastavro_and_astropy(samples: Path) -> None:
    """Ids and all planes are those of the straightforward way, but for the sign of ZTF's."""
    for path in packets(samples):
        alert = alert_of(packet(path))
        _, record = record_of(packet(path))
        wanted = record.get("candid", record.get("diaSourceId"))
        assert str(wanted) == alert.alert_id
        assert set(Plane) == set(alert.stamps)
        for name, value in record.items():
            if name.lower().startswith("cutout"):
                stamp = alert.stamps[Plane(name[6:].strip("_").lower())]
                data = value["stampData"] if isinstance(value, dict) else value
                image = -stamp.image if is_turned(path, record, name) else stamp.image
                ours = [p for p in (image, stamp.variance, stamp.psf) if p is not None]
                for slow, fast in zip(slow_planes(data), ours, strict=True):
                    np.testing.assert_array_equal(slow, fast)


def is_turned(path: Path, record: dict[str, Any], name: str) -> bool:
    """Whether a stamp is sent as template minus science; only of ZTF that is known."""
    if path.parent.name != "ztf" or name != "cutoutDifference":
        return False
    return record["candidate"]["isdiffpos"] in ("f", "0")


def agreement(alert: Alert) -> float:
    """Correlation of the difference with science minus the scaled template, off the alert.

    The tenth of the pixels with the brightest template is left out: stars are never subtracted
    exactly.
    """
    science, template, difference = (alert.stamps[plane].image.astype(float) for plane in Plane)
    rows, columns = (np.indices(science.shape).T - (np.array(science.shape) - 1) / 2).T
    used = (np.hypot(rows, columns) > 5) & np.isfinite(science + template + difference)
    used &= template < np.percentile(template[used], 90)
    slope, level = np.polyfit(template[used], science[used], 1)
    residual = science[used] - slope * template[used] - level
    return float(np.corrcoef(residual, difference[used])[0, 1])


def test_the_difference_of_ztf_goes_with_science_minus_template(samples: Path) -> None:
    """In every packet, of both signs: as sent it goes against it in eight."""
    agreements: dict[str, list[float]] = {}
    for path in sorted((samples / "ztf").iterdir()):
        sign = record_of(packet(path))[1]["candidate"]["isdiffpos"]
        agreements.setdefault(sign, []).append(agreement(alert_of(packet(path))))
    assert {"t": 25, "f": 8} == {sign: len(found) for sign, found in agreements.items()}
    assert min(min(found) for found in agreements.values()) > 0.8


def fresh() -> Decoder:
    """A decoder that has reported nothing yet."""
    return Decoder(SchemaFinder([PackageSource()], Limits()), Surveys.load(), Limits())


def reports_of(
    decoder: Decoder, value: bytes, fields: frozenset[RuleField] = frozenset()
) -> list[str]:
    """The gaps that a message adds to what is known of its survey."""
    assert isinstance(decoder.decode(Message(Origin("t", 0, 0), value), fields=fields), Alert)
    return [str(report) for report in decoder.take_reports() if isinstance(report, Gaps)]


def test_an_unknown_sign_of_a_difference_is_reported_once(samples: Path) -> None:
    """The log has a line a survey, not one an alert."""
    schema, record = record_of(packet(samples / "ztf" / "2475433850015010009.avro"))
    decoder, candidate = fresh(), record["candidate"]
    assert [] == reports_of(decoder, container(schema, record))
    odd = container(schema, record | {"candidate": candidate | {"isdiffpos": "no\x1b"}})
    assert [
        "the field map of ztf does not fit ztf.alert 4.01 in sign of the difference: "
        "candidate.isdiffpos is 'no\\x1b' in an alert; its difference stays as it was sent"
    ] == reports_of(decoder, odd)
    assert [] == reports_of(decoder, odd)


def test_a_schema_without_the_sign_of_a_difference_is_a_gap(samples: Path) -> None:
    """Then differences stay as they were sent."""
    schema, record = record_of(packet(samples / "ztf" / "2475433850015010009.avro"))
    candidate = dict(record["candidate"])
    kind = nested(schema, "candidate", {})
    kind["fields"] = [each for each in kind["fields"] if each["name"] != "isdiffpos"]
    del candidate["isdiffpos"]
    value = container(changed(schema, "candidate", type=kind), record | {"candidate": candidate})
    decoder = fresh()
    (gap,) = reports_of(decoder, value)
    assert gap.endswith("in sign of the difference: no candidate.isdiffpos")
    alert = decoder.decode(Message(Origin("t", 0, 0), value))
    assert isinstance(alert, Alert)
    assert agreement(alert) < -0.8


@pytest.mark.parametrize(("kind", "makes"), [("boolean", bool), ("int", int), ("double", float)])
def test_the_sign_of_ztf_may_have_become_true_and_false(
    samples: Path, kind: str, makes: type
) -> None:
    """Brokers that send ZTF's alerts on make that of its letters, or a number."""
    signs = set()
    for path in sorted((samples / "ztf").iterdir())[:12]:
        schema, record = record_of(packet(path))
        candidate = record["candidate"] | {
            "isdiffpos": makes(record["candidate"]["isdiffpos"] == "t")
        }
        value = container(
            changed(schema, "candidate", type=nested(schema, "candidate", {"isdiffpos": kind})),
            record | {"candidate": candidate},
        )
        assert agreement(alert_of(value)) > 0.8
        signs.add(candidate["isdiffpos"])
    assert {True, False} == signs


def looked_at(survey: str, *numbers: str, texts: Collection[str] = ()) -> frozenset[RuleField]:
    """Fields that rules of a survey look at."""
    kinds = [(name, FieldKind.NUMBER) for name in numbers]
    kinds += [(name, FieldKind.TEXT) for name in texts]
    return frozenset(RuleField(survey, name, kind) for name, kind in kinds)


@pytest.mark.parametrize(
    ("survey", "inside", "fields", "count"),
    [
        ("ztf", "candidate", looked_at("ztf", "rb", "ndethist", "nbad", texts=["isdiffpos"]), 33),
        ("lsst", "diaSource", looked_at("lsst", "snr", "isDipole", "pixelFlags_cr"), 25),
        ("winter", "candidate", looked_at("winter", "ndethist", "isdiffpos", "scorr"), 4),
        ("decam", "candidate", looked_at("decam", "reliability", texts=["band"]), 1),
        ("pgir", "candidate", looked_at("pgir", "drb", "ndethist", texts=["drbversion"]), 3),
    ],
)
def test_the_numbers_that_rules_look_at_are_the_packet_s(
    samples: Path, survey: str, inside: str, fields: frozenset[RuleField], count: int
) -> None:
    """For every packet, each is what fastavro reads; without rules none is read."""
    read = 0
    for path in (each for each in packets(samples) if each.parent.name == survey):
        source = record_of(packet(path))[1][inside]
        message = Message(Origin("t", 0, 0), packet(path))
        alert = decoder().decode(message, [Plane.SCIENCE], fields)
        assert isinstance(alert, Alert)
        assert {each.name: source[each.name] for each in fields} == alert.fields
        assert {} == alert_of(packet(path)).fields
        read += 1
    assert count == read


def test_every_field_of_a_bundled_map_is_one_of_its_survey(samples: Path) -> None:
    """Of a real packet, or of LSST's newest schema; one that nothing has is a typing error."""
    finder = SchemaFinder([PackageSource()], Limits())
    newest = b"\x00" + (1101).to_bytes(4, "big")
    for survey in Surveys.load().maps:
        paths = [path for path in packets(samples) if path.parent.name == survey.survey]
        values = [*map(packet, paths), *([newest] if survey.survey == "lsst" else [])]
        schemas = {id(schema): schema for value in values if (schema := finder.open(value).schema)}
        lost = [
            name
            for name, paths_of in survey.fields.items()
            if not any(leaf_types(each, path) for each in schemas.values() for path in paths_of)
        ]
        assert (True, []) == (len(survey.fields) > 5, lost), survey.survey


def test_a_number_that_the_schema_does_not_have_is_a_gap(samples: Path) -> None:
    """ZTF's first schemas have no drb: said once for the schema; alerts have no such field."""
    fields = looked_at("ztf", "drb", "rb")
    decoder, value = fresh(), packet(samples / "ztf" / "516377976015010010.avro")
    assert [
        "the field map of ztf does not fit ztf.alert 1.8 in fields.drb: no candidate.drb"
    ] == reports_of(decoder, value, fields)
    assert [] == reports_of(decoder, value, fields)
    alert = decoder.decode(Message(Origin("t", 0, 0), value), fields=fields)
    assert isinstance(alert, Alert)
    assert ["rb"] == list(alert.fields)


def test_a_number_that_is_null_is_reported_once(samples: Path) -> None:
    """Of 25 LSST packets five have no extendedness, and one has NaN."""
    decoder, fields = fresh(), looked_at("lsst", "extendedness", "reliability")
    reports, without = [], 0
    for path in sorted((samples / "lsst").glob("*.bin")):
        reports += reports_of(decoder, packet(path), fields)
        alert = decoder.decode(Message(Origin("t", 0, 0), packet(path)), fields=fields)
        assert isinstance(alert, Alert)
        without += set(alert.fields) == {"reliability"}
    assert 6 == without
    (said,) = reports
    assert said.endswith(
        "in fields.extendedness: diaSource.extendedness has no value in an alert; it meets no "
        "condition"
    )


def test_a_text_is_not_compared_with_numbers(samples: Path) -> None:
    """A condition that can never hold is told as what the schema does not give."""
    value = packet(samples / "ztf" / "516377976015010010.avro")
    (said,) = reports_of(fresh(), value, looked_at("ztf", "isdiffpos", texts=["rb"]))
    assert "fields.isdiffpos: candidate.isdiffpos is string; fields.isdiffpos can be bool" in said
    assert "fields.rb: candidate.rb is float or null; fields.rb can be enum or null or " in said


def test_other_rules_read_other_numbers_of_the_same_schema(samples: Path) -> None:
    """A reload may change them; what was decoded before stays as it is."""
    decoder, value = fresh(), packet(samples / "ztf" / "2475433850015010009.avro")
    found = []
    for names in (["drb"], [], ["rb", "ndethist"], ["drb"]):
        fields = looked_at("ztf", *names)
        alert = decoder.decode(Message(Origin("t", 0, 0), value), fields=fields)
        assert isinstance(alert, Alert)
        found.append(sorted(alert.fields))
    assert [["drb"], [], ["ndethist", "rb"], ["drb"]] == found
    assert [] == decoder.take_reports()


def test_the_flags_of_lsst_are_the_survey_s(samples: Path) -> None:
    """For every packet, each group of flags is what fastavro reads."""
    groups = {"CR": ("cr", "crCenter"), "SAT": ("saturated", "saturatedCenter"), "HP": ("bad",)}
    raised = set()
    for path in sorted((samples / "lsst").glob("*.bin")):
        source = record_of(packet(path))[1]["diaSource"]
        expected = {c for c, g in groups.items() if any(source[f"pixelFlags_{w}"] for w in g)}
        assert expected == set(alert_of(packet(path)).flagged) & set(groups)
        raised |= expected
    assert {"CR", "HP"} <= raised


def test_the_light_of_lsst_ends_half_an_exposure_after_its_middle(samples: Path) -> None:
    """midpointMjdTai 61219.4245875 is 2026-06-28; half of 30 s and 37 s of TAI apart."""
    value = packet(samples / "lsst" / "170595945463939107.bin")
    middle = record_of(value)[1]["diaSource"]["midpointMjdTai"]
    expected = (middle - 40587) * 86400 - 37 + 15
    assert alert_of(value).light_end_unix_s == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("missing", range(8))
@pytest.mark.parametrize("name", ["169813006111211555", "170094456251351059"])
def test_any_stamps_of_lsst_can_be_null(samples: Path, name: str, missing: int) -> None:
    """Null stamps are absent and the others are read, with and without histories before them."""
    _, record = record_of(packet(samples / "lsst" / f"{name}.bin"))
    whole = alert_of(packet(samples / "lsst" / f"{name}.bin"))
    nulls = [field for bit, field in enumerate(LSST_STAMPS) if missing & 1 << bit]
    alert = alert_of(encoded(1000, record | dict.fromkeys(nulls)))
    expected = set(Plane) - {Plane(field[6:].lower()) for field in nulls}
    assert expected == set(alert.stamps)
    for plane in expected:
        np.testing.assert_array_equal(whole.stamps[plane].image, alert.stamps[plane].image)


def test_a_stamp_that_was_damaged_is_not_taken_for_null(samples: Path) -> None:
    """The shortcut to the stamps never steps over one that does not look like FITS."""
    _, record = record_of(packet(samples / "lsst" / "170094456251351059.bin"))
    for field in LSST_STAMPS:
        value = encoded(1000, record | {field: b"X" + record[field][1:]})
        plane = Plane(field[6:].lower())
        found = decoder().decode(Message(Origin("t", 0, 0), value), [plane])
        assert isinstance(found, Rejected)
        assert Reason.STAMP_MALFORMED == found.reason


@pytest.mark.parametrize("schema_id", LSST_VERSIONS)
def test_every_lsst_version_is_decoded(samples: Path, schema_id: int) -> None:
    """Fields that come, go or are renamed between versions break nothing."""
    schema = lsst_schema(schema_id)
    _, real = record_of(packet(samples / "lsst" / "170587117053804617.bin"))
    source = real["diaSource"] | {"time_processed": 0, "ssObjectId": None, "exposureTime": 40.0}
    record = {
        "alertId": 5, "diaSourceId": 5, "prvDiaSources": [source] * 3, "diaSource": source,
        **{field: real[field] for field in LSST_STAMPS},
    }  # fmt: skip
    buffer = io.BytesIO(b"\x00" + schema_id.to_bytes(4, "big"))
    buffer.seek(5)
    source |= {"x_y_Cov": None, "fpBkgd": None, "reliabilityVersion": None, "trailAlgorithm": 1}
    fastavro.schemaless_writer(buffer, schema, record)
    alert = alert_of(buffer.getvalue())
    expected = str(real["diaSourceId"] if schema_id < 800 else 5)
    half = 20 if schema_id >= 1101 else 15
    middle = (source["midpointMjdTai"] - 40587) * 86400 - 37
    assert (expected, True) == (alert.alert_id, "CR" in alert.flagged)
    assert alert.light_end_unix_s == pytest.approx(middle + half, abs=1e-3)


@pytest.mark.parametrize("version", ["3/0", "4/0", "5/0", "6/0", "6/1", "7/4", "9/0", "11/1"])
def test_the_packets_that_come_with_lsst_s_schemas_are_alerts(version: str) -> None:
    """Every version has its id and its time where the map looks for them."""
    packet_package = pytest.importorskip("lsst.alert.packet", reason="needs streamfilter[lsst]")
    folder = Path(packet_package.__file__).parent / "schema" / version
    alert = alert_of((folder / "sample_data" / "fakeAlert.avro").read_bytes())
    assert (alert.alert_id.isdigit(), {}) == (True, dict(alert.stamps))
    assert alert.light_end_unix_s is not None


def test_lsst_packets_of_before_there_were_science_stamps_keep_the_others(samples: Path) -> None:
    """Their stamps were records, and the record's name had no version."""
    _, real = record_of(packet(samples / "lsst" / "170587117053804617.bin"))
    cutout = {
        "type": "record", "name": "cutout",
        "fields": [{"name": "fileName", "type": "string"}, {"name": "stampData", "type": "bytes"}],
    }  # fmt: skip
    source = {"type": "record", "name": "s", "fields": [{"name": "diaSourceId", "type": "long"}]}
    kinds = {"diaSource": source, "cutoutDifference": ["null", cutout]}
    fields = [{"name": name, "type": kind} for name, kind in kinds.items()]
    schema = {"type": "record", "name": "lsst.alert", "fields": fields}
    stamp = {"fileName": "d.fits", "stampData": real["cutoutDifference"]}
    alert = alert_of(
        container(schema, {"diaSource": {"diaSourceId": 5}, "cutoutDifference": stamp})
    )
    assert ("lsst", "5", {Plane.DIFFERENCE}) == (alert.survey, alert.alert_id, set(alert.stamps))


def test_null_stamps_of_ztf_are_absent(samples: Path) -> None:
    """A null cutout record is a missing plane."""
    schema, record = record_of(packet(samples / "ztf" / "2695378462115010012.avro"))
    alert = alert_of(container(schema, record | {"cutoutTemplate": None}))
    assert {Plane.SCIENCE, Plane.DIFFERENCE} == set(alert.stamps)


def test_broken_packets_are_rejected(samples: Path) -> None:
    """Every real damaged packet is a value with a reason."""
    reasons = [reason_of(packet(path)) for path in sorted((samples / "broken").iterdir())]
    assert [Reason.AVRO_MALFORMED] * 5 == reasons


def test_the_place_of_damage_is_counted_from_the_start_of_the_message(samples: Path) -> None:
    """The byte in the reason is the length of the stamp that was cut off."""
    whole = next(packet(path) for path in packets(samples) if path.parent.name == "lsst")
    found = decoded(whole[: len(whole) // 2])
    assert isinstance(found, Rejected)
    claimed, place = re.findall(r"length of (\d+) .* at byte (\d+)$", found.detail)[0]
    assert int(claimed) == read_long(whole, int(place))[0]


@pytest.mark.parametrize("value", [None, b""])
def test_a_message_without_a_value_is_empty(value: bytes | None) -> None:
    """A tombstone is no alert."""
    rejected = decoder().decode(Message(Origin("t", 0, 0), value))
    assert isinstance(rejected, Rejected)
    assert Reason.EMPTY == rejected.reason


def test_an_unknown_schema_id_is_named() -> None:
    """The id travels with the rejection."""
    rejected = decoded(b"\x00\x00\x00\x27\x0f" + bytes(50))
    assert isinstance(rejected, Rejected)
    assert (Reason.SCHEMA_UNKNOWN, 9999) == (rejected.reason, rejected.schema_id)


def test_a_schema_that_cannot_be_had_now_is_no_rejection(tmp_path: Path) -> None:
    """The message may be decoded later."""
    (tmp_path / "7.avsc").write_text("{")
    finder = SchemaFinder([FolderSource(tmp_path)], Limits())
    with pytest.raises(SchemaUnavailable):
        Decoder(finder, Surveys.load(), Limits()).decode(
            Message(Origin("t", 0, 0), b"\x00\x00\x00\x00\x07\x02")
        )


def changed(schema: Any, field: str, **change: Any) -> Any:
    """The schema with another definition of one top field."""
    schema = {k: v for k, v in copy.deepcopy(schema).items() if not k.startswith("__")}
    schema["fields"] = [f | change if f["name"] == field else f for f in schema["fields"]]
    return schema


def nested(schema: Any, field: str, changes: dict[str, Any]) -> Any:
    """The record that a top field is, with other types of some of its fields."""
    kind = next(f["type"] for f in schema["fields"] if f["name"] == field)
    fields = [
        {"name": f["name"], "type": changes.get(f["name"], f["type"])} for f in kind["fields"]
    ]
    return kind | {"fields": fields}


@pytest.mark.parametrize(
    ("field", "change", "reason"),
    [
        ("candid", {"name": "candidate_id"}, Reason.FIELD_MISSING),
        ("cutoutScience", {"name": "cutoutScientific"}, Reason.FIELD_MISSING),
        ("candid", {"type": {"type": "array", "items": "long"}}, Reason.FIELD_TYPE),
        ("candid", {"type": "double"}, Reason.FIELD_TYPE),
    ],
)
def test_a_schema_without_what_is_needed_is_rejected(
    samples: Path, field: str, change: dict[str, Any], reason: Reason
) -> None:
    """Required fields that are gone or of another type have their reasons."""
    schema, record = record_of(packet(samples / "ztf" / "516377976015010010.avro"))
    record = copy.deepcopy(record)
    value = record.pop(field)
    if "type" in change:
        value = 1.0 if change["type"] == "double" else [1]
    record[change.get("name", field)] = value
    assert reason == reason_of(container(changed(schema, field, **change), record))


@pytest.mark.parametrize(
    ("kind", "odd"),
    [("string", "0"), ({"type": "array", "items": "long"}, [1]), (["null", "bytes"], None)],
    ids=repr,
)
def test_optional_fields_of_another_type_are_as_gone(samples: Path, kind: Any, odd: Any) -> None:
    """A survey that changes what a flag or a time is does not lose its alerts by it."""
    schema, record = record_of(packet(samples / "ztf" / "516377976015010010.avro"))
    changes = dict.fromkeys(("nbad", "jd"), kind)
    schema = changed(schema, "candidate", type=nested(schema, "candidate", changes))
    candidate = record["candidate"] | dict.fromkeys(changes, odd)
    alert = alert_of(container(schema, record | {"candidate": candidate}))
    assert (None, frozenset()) == (alert.light_end_unix_s, alert.flaggable)


@pytest.mark.parametrize(
    ("logical", "units"),
    [("timestamp-millis", 1000), ("timestamp-micros", 10**6), ("timestamp-nanos", 10**9)],
)
def test_avro_s_own_timestamps_are_read_as_what_they_are(
    samples: Path, logical: str, units: int
) -> None:
    """The scale of the map is for plain numbers only."""
    schema, record = record_of(packet(samples / "ztf" / "516377976015010010.avro"))
    kind = ["null", {"type": "long", "logicalType": logical}]
    schema = changed(schema, "candidate", type=nested(schema, "candidate", {"jd": kind}))
    candidate = record["candidate"] | {"jd": 1_760_000_000 * units}
    value = container(schema, record | {"candidate": candidate})
    assert 1_760_000_030.0 == alert_of(value).light_end_unix_s


@pytest.mark.parametrize(("size", "name"), [(16, str(UUID(int=258))), (4, "00000102")])
def test_an_alert_id_may_be_fixed_bytes(samples: Path, size: int, name: str) -> None:
    """A UUID is written as that, others in hexadecimal."""
    schema, record = record_of(packet(samples / "ztf" / "516377976015010010.avro"))
    schema = changed(schema, "candid", type={"type": "fixed", "name": "id", "size": size})
    alert = alert_of(container(schema, record | {"candid": (258).to_bytes(size, "big")}))
    assert name == alert.alert_id


def test_optional_fields_may_be_gone(samples: Path) -> None:
    """Without its object and its template a ZTF packet is still an alert."""
    schema, record = record_of(packet(samples / "ztf" / "516377976015010010.avro"))
    schema = changed(changed(schema, "objectId", name="a"), "cutoutTemplate", name="b")
    record = record | {"a": record["objectId"], "b": record["cutoutTemplate"]}
    alert = alert_of(container(schema, record))
    assert (None, False) == (alert.object_id, Plane.TEMPLATE in alert.stamps)


SPARK = """
survey = "{}"
record = "topLevelRecord"
alert_id = "{}"
[stamps]
science = "cutoutScience"
"""


def test_of_maps_for_one_record_that_counts_whose_fields_are_there(tmp_path: Path) -> None:
    """Spark gives the records of all surveys one name."""
    for survey, field in (("fink_ztf", "candid"), ("fink_lsst", "diaSourceId")):
        (tmp_path / f"{survey}.toml").write_text(SPARK.format(survey, field))
    decoder = Decoder(SchemaFinder([], Limits()), Surveys.load([tmp_path]), Limits())

    def survey_of(field: str) -> str:
        names = [(field, "long"), ("cutoutScience", ["null", "bytes"])]
        fields = [{"name": name, "type": kind} for name, kind in names]
        schema = {"type": "record", "name": "topLevelRecord", "fields": fields}
        value = container(schema, {field: 1, "cutoutScience": None})
        found = decoder.decode(Message(Origin("t", 0, 0), value))
        return found.survey if isinstance(found, Alert) else found.detail

    assert ("fink_ztf", "fink_lsst") == (survey_of("candid"), survey_of("diaSourceId"))
    assert survey_of("alertId").startswith("topLevelRecord has no")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[:-5], Reason.STAMP_COMPRESSION),
        (lambda data: data[:-8] + b"\0\0\0\0" + data[-4:], Reason.STAMP_COMPRESSION),
        (lambda data: gzip.compress(gzip.decompress(data)[:9000]), Reason.STAMP_MALFORMED),
        (lambda data: gzip.compress(bytes(30_000_000)), Reason.STAMP_TOO_LARGE),
    ],
    ids=["truncated", "checksum", "short FITS", "bomb"],
)
def test_a_corrupt_stamp_rejects_the_packet(samples: Path, damage: Any, reason: Reason) -> None:
    """Each kind of damage has its reason."""
    schema, record = record_of(packet(samples / "winter" / "3608694.avro"))
    record = record | {"cutout_science": damage(record["cutout_science"])}
    assert reason == reason_of(container(schema, record))


def test_a_packet_without_a_template_is_an_alert(samples: Path) -> None:
    """WINTER's stamps are plain bytes, which cannot be null; a broken one is left out too."""
    schema, record = record_of(packet(samples / "winter" / "3608694.avro"))
    for template, unreadable in ((b"", set()), (b"junk", {Plane.TEMPLATE})):
        alert = alert_of(container(schema, record | {"cutout_template": template}))
        assert {Plane.SCIENCE, Plane.DIFFERENCE} == set(alert.stamps)
        assert unreadable == set(alert.unreadable)


def test_a_bomb_takes_little_memory(samples: Path) -> None:
    """A hundred megabytes of zeros in gzip are never held."""
    schema, record = record_of(packet(samples / "winter" / "3608694.avro"))
    bomb = container(schema, record | {"cutout_science": gzip.compress(bytes(100_000_000))})
    tracemalloc.start()
    try:
        reason_of(bomb)
        assert tracemalloc.get_traced_memory()[1] < 32e6
    finally:
        tracemalloc.stop()


MUTATED = ["ztf/2695378462115010012.avro", "lsst/170094456251351059.bin", "winter/boom.avro"]


@pytest.mark.parametrize("name", MUTATED)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_damaged_packets_are_alerts_or_rejections(
    samples: Path, name: str, data: st.DataObject
) -> None:
    """Flipped, cut, filled or extended anywhere, a packet raises nothing."""
    value = bytearray(packet(samples / name))
    # The dense places: headers, the head of the record, the ends; and anywhere.
    places = st.integers(0, 300) | st.integers(25_000, 27_000) | st.integers(0, len(value) - 1)
    for _ in range(data.draw(st.integers(1, 6))):
        value[data.draw(places)] = data.draw(st.sampled_from((0, 1, 0x7F, 0x80, 0xFE, 0xFF)))
    if data.draw(st.booleans()):
        del value[data.draw(places) :]
    value += data.draw(st.binary(max_size=20))
    assert isinstance(decoded(bytes(value)), Alert | Rejected)


def test_every_cut_of_a_packet_is_rejected(samples: Path) -> None:
    """No truncation of a packet passes for an alert."""
    for name in MUTATED:
        value = packet(samples / name)
        cuts = [*range(0, 300, 7), *range(300, len(value), 4999), len(value) - 1]
        assert {Rejected} == {type(decoded(value[:cut])) for cut in cuts}


@pytest.mark.process
def test_the_usual_packets_need_no_astropy(samples: Path) -> None:
    """Start-up and decoding stay quick: astropy is imported only for odd stamps."""
    program = (
        "import sys\n"
        "from streamfilter.alerts.decode import Decoder\n"
        "from streamfilter.limits import Limits\n"
        "from streamfilter.records import Alert, Message, Origin\n"
        "from streamfilter.schemas.finder import SchemaFinder\n"
        "from streamfilter.alerts.surveys import Surveys\n"
        "decoder = Decoder(SchemaFinder([], Limits()), Surveys.load(), Limits())\n"
        "value = open(sys.argv[1], 'rb').read()\n"
        "assert isinstance(decoder.decode(Message(Origin('t', 0, 0), value)), Alert)\n"
        "assert 'astropy' not in sys.modules\n"
    )
    path = samples / "ztf" / "2695378462115010012.avro"
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, timeout=60)
