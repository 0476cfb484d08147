"""Two engines on a real Kafka, with real packets and the real networks."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filter_site import Site, answered, packets, repeated
from kafka_desk import Broker

import streamfilter

TRACK = b"lsst/170587117053804617.bin"
TWO = {
    "engine__name": "stampmask",
    "engine__also": (
        '[{name = "maximask", when = {classes = ["CR", "TRL", "HCL", "DCL", "HP", "DP"], '
        "above = 0.02}}]"
    ),
}


@pytest.fixture
def site(broker: Broker, tmp_path: Path, engine_home: Path) -> Iterator[Site]:
    with Site.whole(broker, tmp_path, engine_home) as made:
        yield made


def records(site: Site) -> dict[bytes, dict[str, Any]]:
    """Annotations by the key of their alert."""
    found = {}
    for message in site.broker.read(site.topics["annotations"]):
        assert message.key is not None
        found[message.key] = streamfilter.read(message.value or b"")
    return found


def test_every_real_packet_is_judged_by_one_voice_or_two(site: Site, samples: Path) -> None:
    """By the first engine, and by the second where the first is in doubt; damaged ones rejected."""
    values = packets(samples)
    site.broker.produce(site.alerts, values.values(), keys=list(values))
    worker = site.start(**TWO)
    site.wait(set(values), answered)
    good = {key for key in values if not key.startswith(b"broken/")}
    assert set(values) - good == set(site.counts("rejected"))
    assert Counter(list(good)) == site.counts("annotations")
    found = records(site)
    asked = {key for key, record in found.items() if record["also"]}
    assert len(good) / 10 < len(asked) < len(good) * 0.8
    for key, record in found.items():
        assert "stampmask" == record["engine"]["name"]
        highest = max(record["science"][code]["core"] for code in ("cr", "trl", "hcl", "dcl",
                                                                   "hp", "dp"))  # fmt: skip
        assert (key in asked) == (highest > 0.02)
        assert ["maximask"] * (key in asked) == [each["engine"]["name"] for each in record["also"]]
    verdict = found[TRACK]["verdict"]
    assert ("drop", "maximask-cosmic-ray") == (verdict["action"], verdict["rule"])
    counted = worker.lines("streamfilter_also_asked_total{")
    assert len(asked) == sum(float(line.rpartition(" ")[2]) for line in counted)
    (enriched,) = (m for m in site.broker.read(site.topics["enriched"]) if m.key == TRACK)
    whole = streamfilter.read(enriched.value or b"", schemas=site.home / "schemas" / "published")
    assert found[TRACK] == whole["streamfilter"]
    assert worker.stop() == 0


def test_after_a_kill_the_next_worker_goes_on(site: Site, samples: Path) -> None:
    """Every alert is answered, and each by the voices that it had before, whoever judged it."""
    values = repeated(packets(samples), 4)
    site.broker.produce(site.alerts, values.values(), keys=list(values))
    first = site.start(**TWO)
    while first.metric("streamfilter_messages_total") < len(values) / 4:
        time.sleep(0.05)
    first.kill()
    second = site.start(**TWO)
    site.wait(set(values), answered)
    assert second.stop() == 0
    assert site.committed() == len(values)
    voices: dict[bytes, set[int]] = {}
    for key, record in records(site).items():
        packet = key.rpartition(b"#")[0] or key
        voices.setdefault(packet, set()).add(len(record["also"]))
    assert {0, 1} == {count for each in voices.values() for count in each}
    assert all(len(each) == 1 for each in voices.values())


def test_two_voices_exactly_once(site: Site, samples: Path) -> None:
    """In transactions no annotation is there twice, though a worker was killed."""
    values = repeated(packets(samples), 3)
    site.broker.produce(site.alerts, values.values(), keys=list(values))
    settings = TWO | {"delivery__guarantee": "exactly-once"}
    first = site.start(**settings)
    while first.metric("streamfilter_messages_total") < len(values) / 4:
        time.sleep(0.05)
    first.kill()
    second = site.start(**settings)
    site.wait(set(values), answered)
    assert second.stop() == 0
    counted = site.counts("annotations") + site.counts("rejected")
    assert Counter(list(values)) == counted
