"""``streamfilter report --topic`` on annotations that a real encoder wrote to a real broker."""

import csv
import json
import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from factories import make_alert, make_annotation, make_message
from kafka_desk import Broker

from streamfilter.alerts.encode import Encoder
from streamfilter.cli import root
from streamfilter.cli.night_tables import duration, share
from streamfilter.errors import Reason, TransportFailed
from streamfilter.headers import rejected_message
from streamfilter.limits import Limits
from streamfilter.records import Action, Label, Message, Origin, Rejected, Times, Verdict
from streamfilter.schemas.finder import SchemaFinder

LIGHT_UNIX_S = 1_796_000_000.0  # 2026-11-30 00:53 UTC: LSST's night of the 29th, ZTF's of the 30th
CLEAN = Verdict(Label.CLEAN, Action.KEEP)


def report(*arguments: str | Path) -> Result:
    return CliRunner().invoke(root, ["report", *map(str, arguments)])


def annotations(
    survey: str, offsets: range, *, infer_s: float, verdict: Verdict
) -> Iterator[bytes]:
    """Annotations of alerts whose light ended at one moment; each took a second more."""
    for n in offsets:
        now = LIGHT_UNIX_S + 10 + n
        encoder = Encoder(SchemaFinder([], Limits()), clock=partial(float, now))
        alert = make_alert(
            message=make_message(origin=Origin(survey, 0, n)),
            survey=survey,
            alert_id=str(n),
            light_end_unix_s=LIGHT_UNIX_S,
            flagged=frozenset(),
        )
        times = Times(now - infer_s, 0.01, 0.01, 0.01)
        yield encoder.annotation(make_annotation(alert=alert, times=times, verdict=verdict), "")


@pytest.fixture(scope="module")
def topic(broker: Broker) -> str:
    """Ten alerts of ZTF, two of LSST that are dropped, one of them twice, and two others."""
    name = broker.topic(2)
    hour_ago = round((time.time() - 3600) * 1000)
    ztf = list(annotations("ztf", range(10), infer_s=0.25, verdict=CLEAN))
    broker.produce(name, ztf[:4], partition=0, timestamp_ms=hour_ago)
    broker.produce(name, ztf[4:], partition=0)
    dropped = make_annotation().verdict
    lsst = list(annotations("lsst", range(2), infer_s=2.0, verdict=dropped))
    broker.produce(name, [*lsst, lsst[1], b"rubbish", None], partition=1)
    return name


def test_nights_latency_and_what_is_no_annotation(
    broker: Broker, topic: str, tmp_path: Path
) -> None:
    """Counted once each, by survey and night, with quantiles in words, JSON and a picture."""
    as_json, figure = tmp_path / "nights.json", tmp_path / "nights.png"
    done = report(
        "--topic", topic, "--bootstrap", broker.bootstrap, "--json", as_json, "--figure", figure
    )
    assert 0 == done.exit_code, done.output
    found = json.loads(as_json.read_text())
    lsst, ztf = found["nights"]
    assert ("lsst", "2026-11-29", 2) == (lsst["survey"], lsst["night"], lsst["alerts"])
    assert ("ztf", "2026-11-30", 10) == (ztf["survey"], ztf["night"], ztf["alerts"])
    assert ({"clean": 10}, {"CR": 2}) == (ztf["counts"]["verdict"], lsst["counts"]["contaminant"])
    light = ztf["light_to_annotation_s"]
    assert 10 == light["alerts"]
    assert pytest.approx([14.0, 18.0, 19.0], rel=0.01) == [light[p] for p in ("p50", "p90", "p99")]
    assert pytest.approx(2.0, rel=0.01) == lsst["receipt_to_annotation_s"]["p50"]
    assert 1 == found["published_twice"]
    assert "12 alerts, 2 dropped (17 %)" in done.output
    assert "1 were published twice, and count once" in done.output
    assert "no annotations: 1 wire_form_unknown, 1 empty; the first is at 1:3: " in done.output
    told = [duration(light[each]) for each in ("p50", "p90", "p99")]
    assert re.search(r"ztf .*2026-11-30 .*" + r" +│ ".join(told), done.output), done.output
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_only_what_was_published_since_then_counts(broker: Broker, topic: str) -> None:
    """By the hour or by a time; where there is nothing, that is told."""
    at = ("--topic", topic, "--bootstrap", broker.bootstrap)
    assert "8 alerts, 2 dropped" in report(*at, "--hours", "0.5").output
    assert "12 alerts, 2 dropped" in report(*at, "--since", "2000-01-01").output
    nothing = report(*at, "--since", "2200-01-01T00:00")
    assert (1, True) == (nothing.exit_code, "there is no message of that time" in nothing.output)


def test_each_survey_may_have_a_topic_of_its_own(broker: Broker, topic: str) -> None:
    """``{survey}`` in ``outputs.annotations`` makes several, which are one report."""
    other = broker.topic()
    ztf = annotations("ztf", range(20, 23), infer_s=0.25, verdict=CLEAN)
    broker.produce(other, ztf)
    done = report("--topic", topic, "--topic", other, "--bootstrap", broker.bootstrap)
    assert "15 alerts, 2 dropped" in done.output
    assert f"{topic}: no annotations: 1 wire_form_unknown, 1 empty" in done.output


def test_rejected_messages_and_disagreements_are_told(
    broker: Broker, topic: str, tmp_path: Path
) -> None:
    """By reason; and a line for each alert that filter or survey finds alone."""
    rejected, path = broker.topic(), tmp_path / "differ.csv"
    alert = Message(Origin("alerts", 0, 0), b"rubbish")
    value, headers = rejected_message(Rejected(alert, Reason.WIRE_FORM_UNKNOWN, "no magic"))
    broker.produce(rejected, [value, value], headers=headers)
    done = report(
        "--topic", topic, "--bootstrap", broker.bootstrap, "--rejected", rejected,
        "--disagreements", path,
    )  # fmt: skip
    assert "rejected: 2 wire_form_unknown" in done.output
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [("lsst", "0"), ("lsst", "1")] == [(row["survey"], row["alert_id"]) for row in rows]
    assert {"streamfilter_only"} == {row["agreement"] for row in rows}


def test_a_topic_of_something_else_is_refused(broker: Broker) -> None:
    """With what was found in it, or that it is not there."""
    topic = broker.topic()
    broker.produce(topic, [b"rubbish"])
    done = report("--topic", topic, "--bootstrap", broker.bootstrap)
    assert (1, True) == (done.exit_code, "no annotations: 1 wire_form_unknown" in done.output)
    missing = report("--topic", "absent", "--bootstrap", broker.bootstrap)
    assert isinstance(missing.exception, TransportFailed)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        (".", "--topic", "t"),
        (".", "--hours", "1"),
        (".", "--bootstrap", "localhost:9092"),
        ("--topic", "t", "--by", "fid"),
        ("--topic", "t", "--hours", "1", "--since", "2026-01-01"),
    ],
)
def test_what_excludes_each_other_is_refused(arguments: tuple[str, ...]) -> None:
    """Before anything is read."""
    assert 2 == report(*arguments).exit_code


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ("100 %", share(3, 3)),
        ("100 %", share(999, 1000)),
        ("17 %", share(1, 6)),
        ("0.034 %", share(1, 2900)),
        ("0 %", share(0, 6)),
        ("1000 ms", duration(0.9999)),
    ],
)
def test_large_shares_and_durations_have_no_exponent(expected: str, found: str) -> None:
    """A share of 1e+02 % is none that a person reads."""
    assert expected == found
