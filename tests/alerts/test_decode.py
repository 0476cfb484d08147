"""Messages to Alerts, beside fastavro and astropy, on real packets."""

import copy
import gzip
import io
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import fastavro
import numpy as np
import pytest
from astropy.io import fits
from sample_packets import (
    alert_of,
    changed,
    container,
    decoded,
    decoder,
    encoded,
    lsst_schema,
    nested,
    packet,
    packets,
    reason_of,
    record_of,
)

from streamfilter.alerts.decode import Decoder
from streamfilter.alerts.surveys import Surveys
from streamfilter.errors import Reason, SchemaUnavailable
from streamfilter.limits import Limits
from streamfilter.records import Alert, Message, Origin, Plane, Rejected
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.sources import FolderSource

LSST_STAMPS = ("cutoutDifference", "cutoutScience", "cutoutTemplate")


LSST_VERSIONS = (700, 701, 702, 703, 704, 800, 900, 1000, 1100, 1101)


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
