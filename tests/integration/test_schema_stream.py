"""Schemas that are late, denied or new, on a real Kafka with real packets."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from filter_site import Site, answered, packets, repeated
from loopback_registry import Registry, serving
from test_filter import site

import streamfilter
from streamfilter.limits import Limits
from streamfilter.schemas import binary
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.sources import PackageSource, crc_64_avro

__all__ = ["site"]

SCHEMA_ID = 1000  # LSST 10.0


@pytest.fixture
def registry() -> Iterator[Registry]:
    definition = PackageSource().by_id(SCHEMA_ID)
    if definition is None:
        pytest.skip("no LSST schemas: install the extra streamfilter[lsst]")
    with serving({SCHEMA_ID: definition}) as made:
        yield made


def of_survey(samples: Path, survey: bytes, times: int = 1) -> dict[bytes, bytes]:
    """Real packets of one survey; those of LSST all of one schema."""
    found = {key: value for key, value in packets(samples).items() if key.startswith(survey + b"/")}
    if survey == b"lsst":
        head = b"\x00" + SCHEMA_ID.to_bytes(4, "big")
        found = {key: value for key, value in found.items() if value.startswith(head)}
    assert len(found) > 20
    return repeated(found, times)


def produce(site: Site, values: dict[bytes, bytes], partition: int) -> None:
    site.broker.produce(site.alerts, values.values(), keys=list(values), partition=partition)


def in_order(site: Site, keys: dict[bytes, bytes]) -> list[bytes | None]:
    """The keys of these that were annotated, in the order of the output."""
    annotated = [message.key for message in site.broker.read(site.topics["annotations"])]
    return [key for key in annotated if key in keys]


@pytest.mark.parametrize("mode", ["hanging", "nonsense", "gone"])
def test_an_outage_of_the_registry_holds_one_partition(
    site: Site, samples: Path, registry: Registry, mode: str
) -> None:
    """The others are annotated meanwhile; its own messages follow in order, none is rejected."""
    late, others = of_survey(samples, b"lsst"), of_survey(samples, b"ztf", 3)
    registry.mode = mode
    produce(site, late, 0)
    worker = site.start(**registry.settings())
    produce(site, others, 1)
    site.wait(set(others), answered)
    assert 1 == worker.metric("streamfilter_held_partitions")
    assert set() == set(late) & answered(site)
    assert worker.get("/healthz")[0] == 200
    registry.mode = "well"
    site.wait(set(late), answered)
    assert list(late) == in_order(site, late)
    assert worker.stop() == 0
    assert Counter() == site.counts("rejected")
    assert len(late) + len(others) == site.committed()


def test_after_the_limit_messages_are_rejected_and_come_back(
    site: Site, samples: Path, registry: Registry
) -> None:
    """One wait for all of them; what a registry denies is rejected without a wait."""
    late = of_survey(samples, b"lsst")
    denied = {b"denied-%d" % n: b"\x00" + n.to_bytes(4, "big") + b"x" for n in range(50)}
    registry.mode = "failing"
    produce(site, late, 0)
    worker = site.start(**registry.settings(), schemas__wait_s="2.0")
    site.wait(set(late), lambda site: set(site.counts("rejected")))
    reasons = {
        dict(m.headers)["streamfilter-reason"] for m in site.broker.read(site.topics["rejected"])
    }
    assert {b"schema_unavailable"} == reasons
    registry.mode = "well"
    started = time.monotonic()
    produce(site, denied, 1)
    site.wait(set(denied), lambda site: set(site.counts("rejected")))
    assert time.monotonic() - started < 10
    assert 50 == worker.metric('streamfilter_rejected_total{reason="schema_unknown"}')
    assert worker.stop() == 0


@pytest.mark.parametrize("kill", [False, True])
def test_a_worker_that_stops_while_it_waits_loses_nothing(
    site: Site, samples: Path, registry: Registry, kill: bool
) -> None:
    """What waited is neither rejected nor committed; the next worker annotates it once."""
    late = of_survey(samples, b"lsst")
    registry.mode = "hanging"
    produce(site, late, 0)
    first = site.start(**registry.settings())
    end = time.monotonic() + 30
    while first.metric("streamfilter_held_partitions") == 0:
        assert time.monotonic() < end
        time.sleep(0.05)
    started = time.monotonic()
    first.kill() if kill else first.stop()
    assert time.monotonic() - started < 10
    assert set() == answered(site)
    assert {} == site.broker.committed(f"group-{site.alerts}", site.alerts)
    registry.mode = "well"
    second = site.start(**registry.settings())
    site.wait(set(late), answered)
    assert second.stop() == 0
    assert Counter(list(late)) == site.counts("annotations")


def test_a_partition_that_moves_while_it_waits_loses_nothing(
    site: Site, samples: Path, registry: Registry
) -> None:
    """Two workers share what one held; each alert is annotated once, none is rejected."""
    late = [of_survey(samples, b"lsst", n + 1) for n in range(4)]
    late = [{b"%d-" % n + key: value for key, value in each.items()} for n, each in enumerate(late)]
    registry.mode = "failing"
    for partition, values in enumerate(late):
        produce(site, values, partition)
    patient = '{"session.timeout.ms" = 45000}'
    first = site.start(**registry.settings(), kafka__consumer=patient)
    second = site.start(**registry.settings(), kafka__consumer=patient)
    site.wait_for_share(second)
    held = [each.metric("streamfilter_held_partitions") for each in (first, second)]
    assert 4 == sum(held)
    assert 0 not in held
    assert first.stop() == 0
    registry.mode = "well"
    every = {key: value for each in late for key, value in each.items()}
    site.wait(set(every), answered)
    assert second.stop() == 0
    assert Counter(list(every)) == site.counts("annotations")
    for values in late:
        assert list(values) == in_order(site, values)


def as_container(value: bytes, definition: dict[str, Any]) -> bytes:
    """A message of the Confluent form as an object container file of one record."""
    metadata = {b"avro.schema": json.dumps(definition).encode(), b"avro.codec": b"null"}
    pairs = b"".join(sized(name) + sized(content) for name, content in metadata.items())
    sync = bytes(range(16))
    block = binary.long(1) + sized(value[5:]) + sync
    return b"Obj\x01" + binary.long(len(metadata)) + pairs + b"\x00" + sync + block


def sized(content: bytes) -> bytes:
    return binary.long(len(content)) + content


def test_a_wire_form_that_changes_is_read_packet_by_packet(
    site: Site, samples: Path, registry: Registry, tmp_path: Path
) -> None:
    """LSST's packets in three forms, ZTF's in two, in turn: the verdicts are the same in all."""
    lsst = registry.schemas[SCHEMA_ID]
    (tmp_path / "lsst.avsc").write_text(json.dumps(lsst))
    object_head = b"\xc3\x01" + crc_64_avro(lsst).to_bytes(8, "little")
    values: dict[bytes, bytes] = {}
    for key, value in of_survey(samples, b"lsst").items():
        values[key + b"#confluent"] = value
        values[key + b"#container"] = as_container(value, lsst)
        values[key + b"#object"] = object_head + value[5:]
    finder = SchemaFinder([], Limits())
    for key, value in of_survey(samples, b"ztf").items():
        envelope = finder.open(value)
        ztf_id = 5000 + sum(envelope.schema.definition["version"].encode())
        registry.schemas[ztf_id] = envelope.schema.definition
        values[key + b"#container"] = value
        values[key + b"#confluent"] = b"\x00" + ztf_id.to_bytes(4, "big") + envelope.body
    produce(site, values, 0)
    worker = site.start(**registry.settings(), schemas__folders=f'["{tmp_path}"]')
    site.wait(set(values), answered)
    changed = 'streamfilter_schema_changes_total{change="wire_form",survey="%s"}'
    assert (2, 1) == (worker.metric(changed % "lsst"), worker.metric(changed % "ztf"))
    said = [event for event in worker.events() if event["event"] == "schema changed"]
    assert worker.stop() == 0
    assert Counter() == site.counts("rejected")
    assert list(values) == in_order(site, values)
    verdicts: dict[bytes, set[object]] = {}
    for message in site.broker.read(site.topics["annotations"]):
        record = streamfilter.read(message.value or b"")
        found = verdicts.setdefault((message.key or b"").partition(b"#")[0], set())
        found.add(json.dumps([record["verdict"], record["science"]], sort_keys=True))
    assert {1} == {len(each) for each in verdicts.values()}
    assert len(said) == len({json.dumps(event["now"]) for event in said})


def test_schemas_that_headers_name_are_found(site: Site, samples: Path, registry: Registry) -> None:
    """By id and by GUID; what is written anew does not pass the survey's schema on."""
    guid = UUID(int=7)
    registry.guids[str(guid)] = SCHEMA_ID
    value = next(iter(of_survey(samples, b"lsst").values()))
    headers = {
        b"prefix": (value, ()),
        b"id": (value[5:], (("__value_schema_id", value[:5]),)),
        b"guid": (value[5:], (("__value_schema_id", b"\x01" + guid.bytes),)),
        b"damaged": (value[5:], (("__value_schema_id", b"\x07"),)),
    }
    for name, (data, given) in headers.items():
        site.broker.produce(site.alerts, [data], keys=[name], headers=given, partition=0)
    worker = site.start(**registry.settings())
    site.wait(set(headers), answered)
    assert worker.stop() == 0
    assert Counter([b"prefix", b"id", b"guid"]) == site.counts("annotations")
    (rejected,) = site.broker.read(site.topics["rejected"])
    assert b"the header __value_schema_id has 1 bytes" in (
        dict(rejected.headers)["streamfilter-detail"] or b""
    )
    for output in ("annotations", "enriched"):
        for message in site.broker.read(site.topics[output]):
            assert "__value_schema_id" not in dict(message.headers)
            streamfilter.read(message.value or b"", schemas=site.home / "schemas" / "published")
    routed = [
        *site.broker.read(site.topics["clean"]),
        *site.broker.read(site.topics["contaminated"]),
    ]
    named = {m.key: dict(m.headers).get("__value_schema_id") for m in routed}
    assert {name: dict(given).get("__value_schema_id") for name, (_, given) in headers.items()
            if name != b"damaged"} == named  # fmt: skip
