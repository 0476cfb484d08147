"""Output bytes and headers."""

import copy
import io
import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any

import fastavro
import pytest
from factories import LIGHT_END_UNIX_S, make_alert, make_annotation, make_evidence, make_message
from hypothesis import given
from hypothesis import strategies as st

from streamfilter import __version__
from streamfilter.alerts.encode import Agreement, Encoder, agreement, encode_annotation
from streamfilter.contaminants import CODES
from streamfilter.errors import Reason
from streamfilter.headers import HEADERS, rejected_message
from streamfilter.limits import Limits
from streamfilter.records import (
    Action,
    Annotation,
    ClassEvidence,
    ClassPrior,
    EngineIdentity,
    Label,
    NotEvaluated,
    Opinion,
    Plane,
    Rejected,
    StampEvidence,
    Verdict,
)
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.published import PublishedSource, annotation_schema, single_object_header

FIRST = Path(__file__).parent.parent / "golden" / "schemas" / "1"
NOW = 1_765_000_031.0
PARSED = annotation_schema().schema.parsed
UNLIKE = "encode_annotation must write every field of annotation.avsc, in its order"


def make_encoder(**changes: Any) -> Encoder:
    return Encoder(SchemaFinder([PublishedSource()], Limits()), clock=lambda: NOW, **changes)


def decoded(annotation: Annotation) -> dict[str, Any]:
    body = io.BytesIO(encode_annotation(annotation, annotated_unix_s=NOW))
    try:
        record = fastavro.schemaless_reader(body, PARSED, None)
    except Exception as error:  # whatever it is that bytes in a wrong place are read as
        pytest.fail(f"{UNLIKE}: {error!r}")
    assert b"" == body.read(), UNLIKE
    assert isinstance(record, dict)
    return record


def test_an_annotation_is_what_fastavro_writes() -> None:
    """The bytes written by hand are those of the general writer: every field, in its order."""
    body = encode_annotation(make_annotation(), annotated_unix_s=NOW)
    general = io.BytesIO()
    fastavro.schemaless_writer(general, PARSED, decoded(make_annotation()))
    assert general.getvalue() == body, UNLIKE


def test_readers_of_another_age_read_an_annotation() -> None:
    """Old ones do without the new fields; new ones find that old ones did not write them."""
    first = json.loads((FIRST / "annotation.avsc").read_text())
    body = encode_annotation(make_annotation(), annotated_unix_s=NOW)
    now = decoded(make_annotation())
    old = fastavro.schemaless_reader(io.BytesIO(body), PARSED, first)
    assert isinstance(old, dict)
    assert now["science"]["cr"] == old["science"]["cr"]
    assert {"detail", "res", "no_data_distance_px"} == now["science"].keys() - old["science"].keys()
    written = io.BytesIO()
    fastavro.schemaless_writer(written, first, old)
    written.seek(0)
    again = fastavro.schemaless_reader(written, first, PARSED)
    assert isinstance(again, dict)
    expected = copy.deepcopy(now)
    expected["science"] |= {"res": None, "no_data_distance_px": None}
    expected["priors"]["res"] = None
    expected["engine"]["planes"] = []
    expected["also"] = []
    assert expected == again


def opinion() -> Opinion:
    """What MaxiMask says, which has no residuals."""
    codes = [code for code in CODES if code != "RES"]
    stamp = make_evidence()
    priors = tuple(ClassPrior(code, 0.25, 0.5) for code in codes)
    engine = EngineIdentity("maximask", "3c" * 32, "onnxruntime 1.20.1")
    classes = {code: stamp.classes[code] for code in codes}
    return Opinion(engine, priors, (replace(stamp, classes=classes),), 0.0625)


def test_what_further_engines_say_stands_apart() -> None:
    """Each with its engine, evidence, priors and time; the first engine's numbers are as before."""
    alone, annotation = decoded(make_annotation()), make_annotation(also=(opinion(), opinion()))
    found = decoded(annotation)
    assert alone == {**found, "also": []}
    assert 2 == len(found["also"])
    its = found["also"][1]
    assert ("maximask", b"\x3c" * 32) == (its["engine"]["name"], its["engine"]["sha256"])
    assert ["science"] == its["engine"]["planes"]
    assert (None, None, None) == (its["template"], its["difference"], its["science"]["res"])
    assert alone["science"]["cr"] == its["science"]["cr"]
    assert (None, {"prior": 0.25, "threshold": 0.5}) == (its["priors"]["res"], its["priors"]["cr"])
    assert 0.0625 == its["infer_s"]
    body = encode_annotation(annotation, annotated_unix_s=NOW)
    general = io.BytesIO()
    fastavro.schemaless_writer(general, PARSED, found)
    assert general.getvalue() == body, UNLIKE


def test_a_reader_that_knows_no_further_engine_reads_the_first() -> None:
    """As if it had been alone."""
    first = json.loads((FIRST / "annotation.avsc").read_text())
    both, alone = (
        io.BytesIO(encode_annotation(each, annotated_unix_s=NOW))
        for each in (make_annotation(also=(opinion(),)), make_annotation())
    )
    read = [fastavro.schemaless_reader(each, PARSED, first) for each in (both, alone)]
    assert read[0] == read[1]
    assert b"" == both.read()


def test_what_the_network_judged_by_is_named_once() -> None:
    """In its own order, over all stamps."""
    seen = replace(make_evidence(), planes=("science", "difference", "valid"))
    other = replace(make_evidence(Plane.DIFFERENCE), planes=("difference",))
    record = decoded(make_annotation(stamps=(seen, other)))
    assert ["science", "difference", "valid"] == record["engine"]["planes"]
    assert 2.5 == record["science"]["no_data_distance_px"]


def test_an_annotation_has_a_named_field_for_every_class() -> None:
    """Evidence stands under the lower-case code of its class."""
    record = decoded(make_annotation())
    assert {code.lower(): 300 * i for i, code in enumerate(CODES)} == {
        code.lower(): record["science"][code.lower()]["pixels"] for code in CODES
    }
    assert {"core_raw": 0.5, "core": 0.0, "peak": 0.25, "pixels": 0, "distance_px": 0.5} == (
        record["science"]["cr"]
    )
    assert (None, None) == (record["template"], record["difference"])


def test_an_annotation_dates_the_way_of_its_alert() -> None:
    """Moments are in UTC, durations in seconds."""
    times = decoded(make_annotation())["times"]
    assert datetime.fromtimestamp(LIGHT_END_UNIX_S, UTC) == times["light_end"]
    assert datetime.fromtimestamp(1_765_000_030, UTC) == times["message"]
    assert datetime.fromtimestamp(1_765_000_030.5, UTC) == times["received"]
    assert datetime.fromtimestamp(NOW, UTC) == times["annotated"]
    assert (0.25, 0.5, 0.125) == (times["decode_s"], times["queue_s"], times["infer_s"])


def test_an_annotation_names_its_engine_and_version() -> None:
    """The numbers can be reproduced from the annotation alone."""
    record = decoded(make_annotation())
    engine = {"name": "maximask-1.4.1", "sha256": b"\x5e" * 32, "runtime": "onnxruntime 1.20.1"}
    engine["planes"] = ["science"]
    assert (engine, __version__) == (record["engine"], record["version"])


def test_an_annotation_names_its_alert_and_verdict() -> None:
    """Keys, place and verdict are those of the annotation."""
    record = decoded(make_annotation())
    assert ("lsst", "170587117053804617", "170587117053804544") == (
        record["survey"],
        record["alert_id"],
        record["object_id"],
    )
    assert {"topic": "lsst-alerts-v10", "partition": 7, "offset": 123_456_789} == record["origin"]
    assert {
        "label": "contaminated",
        "action": "drop",
        "contaminant": "CR",
        "rule": "cosmic-ray-core",
    } == record["verdict"]
    flags = {"flagged": ["CR"], "flaggable": ["CR", "SAT", "TRL"], "agreement": "agree"}
    assert flags == record["survey_flags"]


def test_a_stamp_that_was_not_evaluated_says_why() -> None:
    """The stamp has a reason, and no classes."""
    stamps = (StampEvidence(Plane.TEMPLATE, NotEvaluated.NO_DATA, filled_px=3969),)
    template = decoded(make_annotation(stamps=stamps))["template"]
    assert ("no_data", 3969) == (template["not_evaluated"], template["filled_px"])
    assert {None} == {template[code.lower()] for code in CODES}
    assert template["detail"] is None


def test_a_stamp_that_cannot_be_read_says_what_was_found() -> None:
    """The detail is text of limited length."""
    stamps = (StampEvidence(Plane.TEMPLATE, NotEvaluated.NO_DATA, detail="no FITS" * 1000),)
    template = decoded(make_annotation(stamps=stamps))["template"]
    assert ("no_data", ("no FITS" * 1000)[:1000]) == (template["not_evaluated"], template["detail"])


def test_a_class_that_the_engine_does_not_have_has_no_prior() -> None:
    """Priors are nullable, so that networks with fewer classes fit the same schema."""
    priors = decoded(make_annotation(priors=(ClassPrior("TRL", 0.5, 0.25),)))["priors"]
    assert {"trl": {"prior": 0.5, "threshold": 0.25}} == {
        name: row for name, row in priors.items() if row
    }


@pytest.mark.parametrize("light_end", [float("nan"), float("inf"), 1e300, -1e300, None])
def test_a_moment_that_no_calendar_holds_is_null(light_end: float | None) -> None:
    """A damaged date costs the date, not the annotation."""
    annotation = make_annotation(alert=make_alert(light_end_unix_s=light_end))
    assert decoded(annotation)["times"]["light_end"] is None


def test_an_engine_hash_of_wrong_length_is_refused() -> None:
    """A shorter hash would shift every byte after it."""
    engine = EngineIdentity("maximask", "5e" * 20, "onnxruntime")
    with pytest.raises(ValueError, match="20 bytes, not 32"):
        encode_annotation(make_annotation(engine=engine), annotated_unix_s=NOW)


probabilities = st.floats(0, 1, width=32)
evidence = st.builds(
    ClassEvidence,
    core_raw=probabilities,
    core=probabilities,
    peak=probabilities,
    pixels=st.integers(0, 128 * 128),
    distance_px=st.none() | st.floats(0, 91, width=32),
)
stamps = st.builds(
    StampEvidence,
    plane=st.just(Plane.SCIENCE),
    not_evaluated=st.none(),
    filled_px=st.integers(0, 128 * 128),
    classes=st.fixed_dictionaries(dict.fromkeys(CODES, evidence)),
    planes=st.just(("science", "template", "difference", "variance", "valid")),
    no_data_distance_px=st.none() | st.floats(0, 91, width=32),
)
verdicts = st.builds(
    Verdict,
    label=st.sampled_from(Label),
    action=st.sampled_from(Action),
    contaminant=st.none() | st.sampled_from(CODES),
    rule=st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
)


@given(stamp=stamps, verdict=verdicts)
def test_any_annotation_of_one_stamp_is_read_back_and_under_a_kilobyte(
    stamp: StampEvidence, verdict: Verdict
) -> None:
    """What fastavro reads writes the same bytes, whatever the values."""
    annotation = make_annotation(stamps=(stamp,), verdict=verdict)
    body = encode_annotation(annotation, annotated_unix_s=NOW)
    general = io.BytesIO()
    fastavro.schemaless_writer(general, PARSED, decoded(annotation))
    assert general.getvalue() == body
    assert len(single_object_header(annotation_schema()) + body) < 1000


def test_an_annotation_message_is_small() -> None:
    """About 630 bytes with every class present, wire header included."""
    value = make_encoder().annotation(make_annotation(), "annotations")
    assert single_object_header(annotation_schema()) == value[:10]
    assert 600 < len(value) < 700


def test_without_a_registry_three_stamps_fit_one_and_a_half_kilobytes() -> None:
    """Template and difference add about 310 bytes each."""
    stamps = tuple(make_evidence(plane) for plane in Plane)
    assert len(make_encoder().annotation(make_annotation(stamps=stamps), "annotations")) < 1500


class CountingRegistrar:
    """Gives ids in turn and remembers what they are of."""

    def __init__(self) -> None:
        self.given: list[tuple[str, str]] = []

    def register(self, subject_name: str, schema: Any) -> int:
        self.given.append((subject_name, schema.schema.name))
        return len(self.given)


def test_with_a_registry_an_annotation_is_in_the_confluent_form() -> None:
    """The schema is registered once per topic."""
    registrar = CountingRegistrar()
    encoder = make_encoder(registrar=registrar)
    values = [encoder.annotation(make_annotation(), "annotations") for _ in range(2)]
    assert [b"\x00\x00\x00\x00\x01"] * 2 == [value[:5] for value in values]
    assert [("annotations-value", "streamfilter.v1.Annotation")] == registrar.given


def test_headers_carry_the_verdict_after_the_originals() -> None:
    """A consumer skips without decoding, and loses nothing that was sent along."""
    headers = make_encoder().headers(make_annotation())
    assert ("producer_timestamp", b"1765000029000") == headers[0]
    assert {
        "streamfilter-verdict": b"contaminated",
        "streamfilter-action": b"drop",
        "streamfilter-contaminant": b"CR",
        "streamfilter-rule": b"cosmic-ray-core",
        "streamfilter-survey": b"lsst",
        "streamfilter-alert-id": b"170587117053804617",
        "streamfilter-version": __version__.encode(),
        "streamfilter-topic": b"lsst-alerts-v10",
        "streamfilter-partition": b"7",
        "streamfilter-offset": b"123456789",
    } == dict(headers[1:])


def test_a_producer_cannot_give_a_verdict() -> None:
    """Consumers that skip by headers see ours alone, first or last."""
    forged = (("streamfilter-verdict", b"clean"), ("streamfilter-reason", b"none"), ("x", b"kept"))
    message = make_message(headers=forged)
    encoder = make_encoder()
    judged = encoder.headers(make_annotation(alert=make_alert(message=message)))
    _, rejected = rejected_message(Rejected(message, Reason.EMPTY, ""))
    assert ("x", b"kept") == judged[0] == rejected[0]
    assert [b"contaminated"] == [value for name, value in judged if name == "streamfilter-verdict"]
    assert "streamfilter-reason" not in dict(judged)
    assert "streamfilter-verdict" not in dict(rejected)


def test_headers_leave_out_what_no_rule_said() -> None:
    """A clean alert has neither contaminant nor rule."""
    annotation = make_annotation(verdict=Verdict(Label.CLEAN, Action.KEEP))
    names = {name for name, _ in make_encoder().headers(annotation)}
    assert set() == names & {"streamfilter-contaminant", "streamfilter-rule"}


def test_every_header_that_is_written_is_documented() -> None:
    """The table of headers is complete and has nothing else."""
    encoder = make_encoder()
    rejected = Rejected(make_message(headers=()), Reason.EMPTY, "", 1)
    annotation = make_annotation(alert=make_alert(message=make_message(headers=())))
    written = {name for name, _ in encoder.headers(annotation) + rejected_message(rejected)[1]}
    assert set(HEADERS) == written


@pytest.mark.parametrize(
    ("found", "flagged", "flaggable", "expected"),
    [
        ("CR", "CR", "CR SAT", Agreement.AGREE),
        (None, "", "CR SAT", Agreement.AGREE),
        ("CR", "SAT", "CR SAT", Agreement.OTHER_CLASS),
        ("TRL", "SAT", "CR SAT", Agreement.OTHER_CLASS),
        (None, "CR", "CR SAT", Agreement.SURVEY_ONLY),
        ("CR", "", "CR SAT", Agreement.STREAMFILTER_ONLY),
        ("TRL", "", "CR SAT", Agreement.NOT_COMPARABLE),
        ("CR", "", "", Agreement.NOT_COMPARABLE),
        (None, "", "", Agreement.NOT_COMPARABLE),
    ],
)
def test_agreement_compares_the_verdicts_class_with_the_flags(
    found: str | None, flagged: str, flaggable: str, expected: Agreement
) -> None:
    """A survey that has no flag for a class cannot disagree about it."""
    label = Label.CONTAMINATED if found else Label.CLEAN
    verdict = Verdict(label, Action.FLAG, found, "rule" if found else None)
    given_flags = frozenset(flagged.split()), frozenset(flaggable.split())
    assert expected == agreement(verdict, *given_flags)


def test_an_alert_that_was_not_evaluated_is_not_comparable() -> None:
    """Silence of the network is not an opinion."""
    verdict = Verdict(Label.NOT_EVALUATED, Action.KEEP)
    flags = frozenset({"CR"})
    assert Agreement.NOT_COMPARABLE == agreement(verdict, flags, flags)


def test_the_annotation_is_the_same_in_both_outputs_though_time_passes() -> None:
    """An annotation is encoded once per alert; a new alert gets a new time."""
    ticks = iter([NOW, NOW + 1])
    encoder = Encoder(SchemaFinder([], Limits()), clock=lambda: next(ticks))
    first = make_annotation()
    bodies = [encoder.annotation(item, "a") for item in (first, first, replace(first))]
    assert bodies[0] == bodies[1] != bodies[2]


def test_an_annotation_stays_the_same_whatever_other_threads_encode() -> None:
    """The enriched alert carries the bytes of the annotation, also with several judges."""
    ticks = itertools.count(NOW)
    encoder = Encoder(SchemaFinder([PublishedSource()], Limits()), clock=lambda: next(ticks))
    mine, other = make_annotation(), make_annotation()
    first = encoder.annotation(mine, "annotations")
    thread = Thread(target=encoder.annotation, args=(other, "annotations"))
    thread.start()
    thread.join()
    assert first == encoder.annotation(mine, "annotations")
