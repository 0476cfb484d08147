"""``streamfilter annotate --topic``: an archive's annotations in the stream's own form."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from archive_desk import Driver, annotate, packed, rows
from arrow_factories import fink_like
from kafka_desk import Broker

import streamfilter
from streamfilter.errors import ConfigurationInvalid, TransportFailed
from streamfilter.records import Message

PACKETS = 18  # of ZTF: a tar of so many is a task of its own


@pytest.fixture(autouse=True)
def cached(engine_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMFILTER_HOME", str(engine_home))


def published(message: Message) -> dict[str, Any]:
    """The annotation, without the times of its writing."""
    return {
        name: value
        for name, value in streamfilter.read(message.value or b"").items()
        if name not in ("times", "also")
    }


def to_topics(broker: Broker, *topics: str) -> tuple[str, ...]:
    named = ("--topic", topics[0], "--rejected", topics[1])
    return (*named, "--set", f"kafka.bootstrap={broker.bootstrap}")


def ledger(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "ledger.jsonl").read_text().splitlines()]


def test_what_is_published_is_what_the_library_says(
    broker: Broker, samples: Path, tmp_path: Path
) -> None:
    """Annotations and rejections, keyed and with headers; what is no packet is in a file."""
    lsst, out = sorted((samples / "lsst").glob("*.bin"))[:6], tmp_path / "out"
    notes, rejected = broker.topic(2), broker.topic()
    tar = packed(lsst[:4], tmp_path / "a.tar")
    given = [tar, fink_like(lsst[4:], tmp_path / "b.parquet"), samples / "broken"]
    (tmp_path / "notes.txt").write_text("not a packet")
    to = to_topics(broker, notes, rejected)
    done = annotate(*given, tmp_path / "notes.txt", "--out", out, *to, "--workers", "1")
    assert done.exit_code == 0, done.output
    assert "in all 11: 6 annotated, 5 rejected" in done.output
    assert "audit: all acknowledged" in done.output
    messages = {message.key: message for message in broker.read(notes)}
    with streamfilter.Filter() as filter_:
        expected = {each.alert_id.encode(): each for each in filter_.judge(lsst)}
        assert set(expected) == set(messages)
        for key, judged in expected.items():
            found, said = published(messages[key]), judged.record()
            assert found["origin"]["topic"].startswith(str(tmp_path))
            for name in ("survey", "alert_id", "object_id", "verdict", "engine", "priors"):
                assert said[name] == found[name], name
            assert (
                pytest.approx(said["science"]["cr"]["core"], rel=1e-3, abs=1e-6)
                == (found["science"]["cr"]["core"])
            )
            headers = dict(messages[key].headers)
            assert judged.label.encode() == headers["streamfilter-verdict"]
    refused = broker.read(rejected)
    damaged = {file.read_bytes() for file in (samples / "broken").iterdir()}
    assert damaged == {message.value for message in refused}
    assert {b"avro_malformed"} == {dict(m.headers)["streamfilter-reason"] for m in refused}
    assert not (out / "annotations").exists()
    assert "skipped" in {row["rejected"] for row in rows(out, "rejects")}


def test_what_is_done_is_not_published_again(broker: Broker, samples: Path, tmp_path: Path) -> None:
    """``--resume`` goes on with the same topics, and with no others."""
    out, notes, rejected = tmp_path / "out", broker.topic(), broker.topic()
    tar = packed(sorted((samples / "ztf").iterdir())[:3], tmp_path / "a.tar")
    to = to_topics(broker, notes, rejected)
    assert 0 == annotate(tar, "--out", out, *to).exit_code
    again = annotate(tar, "--out", out, *to, "--resume")
    assert (0, True) == (again.exit_code, again.output.startswith("0 packets"))
    assert 3 == len(broker.read(notes))
    for other in (to_topics(broker, rejected, rejected), ()):
        refused = annotate(tar, "--out", out, *other, "--resume")
        assert "was begun with other settings" in str(refused.exception)
    (head, _) = ledger(out)
    assert {"annotations": notes, "rejected": rejected} == head["begun"]["topics"]


@pytest.mark.process
def test_a_killed_driver_s_tasks_are_published_at_least_once(
    broker: Broker, samples: Path, tmp_path: Path
) -> None:
    """What the ledger names is in the topic; after ``--resume`` all is, some of it twice."""
    files = sorted((samples / "ztf").iterdir())[:PACKETS]
    tars = [packed(files, tmp_path / f"{name}.tar") for name in "abcd"]
    notes, out = broker.topic(), tmp_path / "out"
    to = to_topics(broker, notes, broker.topic())
    driver = Driver(out, *tars, *to, "--workers", "1")
    driver.wait_for(lambda: driver.tasks_done() >= 1)
    driver.process.kill()
    driver.finish()
    done = sum(entry["annotated"] for entry in ledger(out)[1:])
    assert PACKETS <= done < 4 * PACKETS
    assert len(broker.read(notes)) >= done
    resumed = annotate(*tars, "--out", out, *to, "--resume")
    assert resumed.exit_code == 0, resumed.output
    places = Counter(dict(each.headers)["streamfilter-topic"] for each in broker.read(notes))
    assert 4 * PACKETS == len(places)
    assert set(places.values()) <= {1, 2}


def test_what_a_topic_does_not_take_is_rejected(
    broker: Broker, samples: Path, tmp_path: Path
) -> None:
    """As in the stream: an annotation that is too large is a rejected message with its packet."""
    notes, rejected = broker.topic(max_message_bytes="150"), broker.topic()
    (file, *_) = sorted((samples / "ztf").iterdir())
    done = annotate(file, "--out", tmp_path / "out", *to_topics(broker, notes, rejected))
    assert done.exit_code == 0, done.output
    assert "in all 1: 0 annotated, 1 rejected" in done.output
    assert "rejected: 1 output_too_large" in done.output
    (message,) = broker.read(rejected)
    assert file.read_bytes() == message.value
    assert b"output_too_large" == dict(message.headers)["streamfilter-reason"]


def test_topics_that_cannot_be_written_are_told_first(broker: Broker, tmp_path: Path) -> None:
    """One that is not there, one that the filter reads, a broker that is away; nothing is begun."""
    file, out = tmp_path / "x.avro", tmp_path / "out"
    file.write_bytes(b"no packet")
    here = broker.topic()
    read = ("--set", f'alerts.topics=["{here}"]')
    cases: list[tuple[tuple[str, ...], type[Exception], str]] = [
        (to_topics(broker, here, here) + read, ConfigurationInvalid, "is also read"),
        (to_topics(broker, here, "not-there"), ConfigurationInvalid, "not-there"),
        (
            ("--topic", here, "--rejected", here, "--set", "kafka.bootstrap=127.0.0.1:1"),
            TransportFailed,
            "see that the broker is up",
        ),
    ]
    for words, kind, said in cases:
        found = annotate(file, "--out", out, *words)
        assert isinstance(found.exception, kind), found.output
        assert said in str(found.exception)
    assert not out.exists()
    assert 2 == annotate(file, "--out", out, "--topic", here).exit_code
    both = ("--topic", here, "--rejected", here, "--columns", "rb")
    assert 2 == annotate(file, "--out", out, *both).exit_code
