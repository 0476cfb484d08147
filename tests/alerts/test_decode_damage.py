"""Damaged packets, real and made, are Alerts or rejections with a reason."""

import gzip
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sample_packets import alert_of, container, decoded, packet, packets, reason_of, record_of

from streamfilter.errors import Reason
from streamfilter.records import Alert, Plane, Rejected
from streamfilter.schemas.wire import read_long


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
