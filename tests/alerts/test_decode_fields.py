"""What rules look at of real packets, and of which sign ZTF's differences are."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
from sample_packets import alert_of, changed, container, decoder, nested, packet, packets, record_of

from streamfilter.alerts.decode import Decoder
from streamfilter.alerts.field_plan import Gaps
from streamfilter.alerts.surveys import RuleField, Surveys
from streamfilter.limits import Limits
from streamfilter.records import Alert, FieldKind, Message, Origin, Plane
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.sources import PackageSource
from streamfilter.schemas.walk import leaf_types


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
