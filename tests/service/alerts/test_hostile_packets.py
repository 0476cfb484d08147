"""Odd packets made of real ones, through a worker: each has its answer, and none is our mistake."""

import copy
import gzip
import io
import json
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import numpy.typing as npt
import pytest
import structlog
from astropy.io import fits
from memory_worker import (
    PARTITION,
    MemorySink,
    MemorySource,
    SimulatedPipeline,
    run_to_the_end,
    worker,
)

from streamfilter.alerts.encode import Encoder
from streamfilter.config import Settings
from streamfilter.limits import Limits
from streamfilter.records import Headers
from streamfilter.schemas import binary
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.sources import PackageSource

Image = npt.NDArray[Any]

FINDER = SchemaFinder([PackageSource()], Limits())
_SYNC = bytes(range(16))


@pytest.fixture
def ztf(samples: Path) -> bytes:
    """A container with a plain block."""
    return (samples / "ztf/2695378462115010012.avro").read_bytes()


@pytest.fixture
def lsst(samples: Path) -> bytes:
    """The original bytes of a packet in Confluent's form."""
    pytest.importorskip("lsst.alert", reason="needs the extra streamfilter[lsst]")
    return (samples / "lsst/boom_v9_7912941781254298.bin").read_bytes()


def answers(
    values: Sequence[bytes | None], headers: Headers = (), settings: Settings | None = None
) -> list[str]:
    """What became of each message: the reason of its rejection, or its verdict."""
    source, sink = MemorySource(values, headers), MemorySink()
    pipeline = SimulatedPipeline(FINDER, settings)
    made = worker(source, sink, pipeline=pipeline, encoder=Encoder(FINDER), batch_size=16)
    run_to_the_end(made, source, 120)
    assert {PARTITION: len(values)} == source.committed
    found: dict[int, str] = {}
    for output in (*sink.to("rejected"), *sink.to("annotations")):
        said = dict(output.headers)
        what = said.get("streamfilter-reason") or said.get("streamfilter-verdict") or b""
        assert found.setdefault(int(output.key or b""), what.decode()) == what.decode()
    return [found[number] for number in range(len(values))]


def every(values: Mapping[str, bytes | None]) -> dict[str, str]:
    return dict(zip(values, answers(list(values.values())), strict=True))


def sized(content: bytes) -> bytes:
    return binary.long(len(content)) + content


def container(
    schema: bytes, body: bytes, *, codec: bytes = b"null", count: int = 1, more: bytes = b""
) -> bytes:
    """An object container file as anyone may write it."""
    metadata = {b"avro.schema": schema, b"avro.codec": codec}
    pairs = b"".join(sized(name) + sized(content) for name, content in metadata.items())
    head = b"Obj\x01" + binary.long(len(metadata)) + pairs + b"\x00" + _SYNC
    return head + binary.long(count) + sized(body) + _SYNC + more


def test_a_packet_cut_at_any_byte_is_rejected(samples: Path) -> None:
    """Every byte of the head and of the end, and many between; the whole one is judged."""
    whole = (samples / "decam/alert.avro").read_bytes()
    cuts = [*range(1500), *range(1500, len(whole) - 500, 97), *range(len(whole) - 500, len(whole))]
    found = answers([*(whole[:cut] for cut in cuts), whole])
    assert "clean" == found.pop()
    assert {"empty", "wire_form_unknown", "avro_malformed"} == set(found)


def test_changed_bytes_are_judged_or_rejected(ztf: bytes, lsst: bytes) -> None:
    """Whatever a byte becomes, the message has its answer, and our own code does not stumble."""
    rng = np.random.default_rng(5)
    values = []
    for whole in (ztf, lsst):
        for place in rng.integers(0, len(whole), 200):
            changed = bytearray(whole)
            changed[place : place + 4] = (
                bytes(rng.integers(0, 256, 4, np.uint8)) if place % 2 else b"\x7f\xc0\x00\x00"
            )
            values.append(bytes(changed))
    assert "internal" not in Counter(answers(values))


def test_odd_heads_are_rejected_for_what_they_are(ztf: bytes, lsst: bytes) -> None:
    """Wrong magic, ids of the wrong endianness, lengths and counts without measure, no value."""
    envelope = FINDER.open(ztf)
    schema, body = json.dumps(envelope.schema.definition).encode(), envelope.body
    huge = binary.long(2**62)
    expected: dict[str, tuple[bytes | None, str]] = {
        "tombstone": (None, "empty"),
        "no bytes": (b"", "empty"),
        "text": (b"hello", "wire_form_unknown"),
        "another magic": (b"Obj\x02" + ztf[4:], "wire_form_unknown"),
        "magic alone": (b"Obj\x01", "avro_malformed"),
        "id cut": (b"\x00\x00\x00", "avro_malformed"),
        "little-endian id": (b"\x00" + lsst[4:0:-1] + lsst[5:], "schema_unknown"),
        "id of another version": (b"\x00" + (700).to_bytes(4, "big") + lsst[5:], "avro_malformed"),
        "fingerprint cut": (b"\xc3\x01\x00", "avro_malformed"),
        "fingerprint of nobody": (b"\xc3\x01" + b"\x07" * 8, "schema_unknown"),
        "length without measure": (b"Obj\x01" + binary.long(1) + huge, "avro_malformed"),
        "length below zero": (b"Obj\x01" + binary.long(1) + binary.long(-5), "avro_malformed"),
        "number without end": (b"Obj\x01" + b"\xff" * 50, "avro_malformed"),
        "count without measure": (container(schema, body, count=2**62), "record_count"),
        "count below zero": (container(schema, body, count=-1), "record_count"),
        "bytes after the end": (container(schema, body, more=b"\x00"), "record_count"),
        "codec of nobody": (container(schema, body, codec=b"\xff" * 99), "wire_form_unknown"),
        "too large": (container(schema, b"\x00" * 9 * 2**20), "message_too_large"),
    }
    found = every({name: value for name, (value, _) in expected.items()})
    assert {name: answer for name, (_, answer) in expected.items()} == found


def test_odd_schemas_are_rejected_or_read(ztf: bytes) -> None:
    """Duplicate keys, nesting without end, names that no terminal should see."""
    envelope = FINDER.open(ztf)
    text, body = json.dumps(envelope.schema.definition)[:-1], envelope.body
    deep = {depth: "[" * depth + "]" * depth for depth in (900, 5000, 200_000)}
    tails: dict[str, tuple[str, str]] = {
        "fields twice": (',"fields":[]', "field_missing"),
        "name twice": (',"name":"x"', "clean"),
        "deep": (f',"x":{deep[900]}', "clean"),
        "too deep": (f',"x":{deep[5000]}', "schema_malformed"),
        "far too deep": (f',"x":{deep[200_000]}', "schema_malformed"),
        "number of no length": (f',"x":{"9" * 100_000}', "schema_malformed"),
        "no number": (',"x":NaN', "clean"),
        "half a letter": (r',"version":"\ud800"', "clean"),
        "long version": (f',"version":"{"9" * 100_000}"', "clean"),
        "version for a terminal": (r',"version":"\u001b[2J\n"', "clean"),
        "version that is a number": (',"version":4', "clean"),
    }
    found = every({
        name: container((text + tail + "}").encode(), body) for name, (tail, _) in tails.items()
    })  # fmt: skip
    assert {name: answer for name, (_, answer) in tails.items()} == found


def test_a_schema_is_logged_in_a_few_plain_letters(
    ztf: bytes, log: list[structlog.typing.EventDict]
) -> None:
    """Whatever its version says: a log is read on terminals."""
    envelope = FINDER.open(ztf)
    text = json.dumps(envelope.schema.definition)[:-1]
    versions = [r"\ud800", "9" * 100_000, r"\u001b[2J\n"]
    answers([
        ztf,
        *(container(f'{text},"version":"{each}"}}'.encode(), envelope.body) for each in versions),
    ])  # fmt: skip
    said = [event["now"] for event in log if event["event"] == "schema changed"]
    assert 3 == len(said)
    for words in said:
        assert words.isprintable()
        assert len(words) < 150


def test_what_a_schema_does_not_give_is_logged_once(
    ztf: bytes, log: list[structlog.typing.EventDict]
) -> None:
    """A flag that became text costs its alerts nothing else."""
    envelope = FINDER.open(ztf)
    text = json.dumps(envelope.schema.definition).replace('"nbad"', '"nbad_"')
    assert 3 * ["clean"] == answers([container(text.encode(), envelope.body)] * 3)
    said = [event for event in log if event["event"] == "fields not given"]
    assert [("ztf", "warning")] == [(event["survey"], event["log_level"]) for event in said]
    assert "no candidate.nbad" in said[0]["detail"]


# CR is above this everywhere, so that the conditions decide.
ALWAYS = {"name": "always", "contaminant": "CR", "statistic": "core", "above": -1.0}


def test_a_number_that_rules_look_at_and_alerts_lack_is_logged_once(
    ztf: bytes, log: list[structlog.typing.EventDict]
) -> None:
    """The condition is silent for those, and the others are judged by it."""
    remade, low = Remade(ztf), {"drb": {"below": 0.5}}
    values = [remade.packet(drb=drb) for drb in (0.1, None, float("nan"), -999.0, 0.9)]
    rules = {"ztf": {"rules": [ALWAYS | {"when": low}]}}
    found = answers(values, settings=Settings.model_validate({"surveys": rules}))
    assert ["contaminated", "clean", "clean", "clean", "clean"] == found
    (said,) = [event for event in log if event["event"] == "fields not given"]
    assert ("ztf", "warning") == (said["survey"], said["log_level"])
    assert "fields.drb: candidate.drb has no value in an alert" in said["detail"]


def test_a_number_of_another_type_or_gone_makes_a_condition_silent(
    ztf: bytes, log: list[structlog.typing.EventDict]
) -> None:
    """``unless`` does not spare the alert then, and the log says why."""
    envelope = FINDER.open(ztf)
    text = json.dumps(envelope.schema.definition)
    gone = container(text.replace('"drb"', '"drb_"').encode(), envelope.body)
    rules = {"ztf": {"rules": [ALWAYS | {"unless": {"drb": {"above": 0.5}}}]}}
    settings = Settings.model_validate({"surveys": rules})
    assert ["clean", "contaminated", "contaminated"] == answers([ztf, gone, gone], (), settings)
    (said,) = [event["detail"] for event in log if event["event"] == "fields not given"]
    assert "fields.drb: no candidate.drb" in said


class Remade:
    """A ZTF packet whose record is changed before it is written again."""

    def __init__(self, ztf: bytes) -> None:
        self._schema = fastavro.parse_schema(copy.deepcopy(FINDER.open(ztf).schema.definition))
        self._record: Any = next(iter(fastavro.reader(io.BytesIO(ztf))))

    def packet(self, stamp: bytes | None = None, **changes: object) -> bytes:
        record = copy.deepcopy(self._record)
        for name, value in changes.items():
            (record["candidate"] if name in record["candidate"] else record)[name] = value
        if stamp is not None:
            record["cutoutScience"]["stampData"] = stamp
        out = io.BytesIO()
        fastavro.writer(out, self._schema, [record])
        return out.getvalue()

    def image(self, image: Image) -> bytes:
        """The packet with this science stamp."""
        out = io.BytesIO()
        fits.PrimaryHDU(image).writeto(out)
        return self.packet(gzip.compress(out.getvalue()))


def changed(place: Any, value: float) -> Image:
    """A sky of 63 x 63 px with some pixels of this value."""
    sky = np.random.default_rng(1).normal(100, 5, (63, 63)).astype(np.float32)
    sky[place] = value
    return sky


def test_odd_stamps_are_judged_or_say_why_not(ztf: bytes) -> None:
    """NaN of both kinds, infinity, no variation, no pixels, too many, other numbers of axes."""
    remade, everywhere = Remade(ztf), slice(None)
    signalling = changed(0, 0.0)
    signalling.view(np.uint32)[::3, ::3] = 0x7FA00001
    images: dict[str, tuple[Image, str]] = {
        "NaN": (changed(everywhere, np.nan), "not_evaluated"),
        "infinity": (changed(everywhere, np.inf), "not_evaluated"),
        "one value": (changed(everywhere, 7.0), "not_evaluated"),
        "NaN in the middle": (changed((slice(28, 35), slice(28, 35)), np.nan), "not_evaluated"),
        "NaN that signals": (signalling, "clean"),
        "one infinity": (changed((31, 31), np.inf), "clean"),
        "largest numbers": (changed(slice(30), 3e38), "clean"),
        "smallest numbers": (changed(0, 0.0) * np.float32(1e-42), "clean"),
        "beyond float32": (changed(0, 0.0).astype(np.float64) * 1e300, "not_evaluated"),
        "one pixel": (changed(0, 0.0)[:1, :1], "not_evaluated"),
        "too large": (np.ones((1025, 1025), np.float32), "stamp_too_large"),
        "three axes": (np.ones((2, 63, 63), np.float32), "stamp_malformed"),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = every({name: remade.image(image) for name, (image, _) in images.items()})
    assert {name: answer for name, (_, answer) in images.items()} == found


def test_odd_bytes_for_a_stamp_are_rejected(ztf: bytes) -> None:
    """No file, a file cut short, and one that unpacks to more than it should."""
    remade = Remade(ztf)
    stamps = {
        "nothing": (b"", "not_evaluated"),
        "gzip of nothing": (gzip.compress(b""), "stamp_malformed"),
        "half a gzip": (gzip.compress(b"SIMPLE  =" * 99)[:20], "stamp_compression"),
        "a first card": (b"SIMPLE  =", "stamp_malformed"),
        "a bomb": (gzip.compress(b"\0" * 10**7), "stamp_too_large"),
    }
    found = every({name: remade.packet(stamp) for name, (stamp, _) in stamps.items()})
    assert {name: answer for name, (_, answer) in stamps.items()} == found


@pytest.mark.parametrize("number", [np.nan, np.inf, -1e300, 1e300, 0.0])
def test_odd_numbers_are_no_reason_to_reject(ztf: bytes, number: float) -> None:
    """A time or an exposure that cannot be leaves the alert undated."""
    remade = Remade(ztf)
    assert ["clean", "clean"] == answers([remade.packet(jd=number), remade.packet(exptime=number)])


def test_odd_names_are_kept_or_rejected(ztf: bytes) -> None:
    """Up to 200 characters of any kind; they stand in keys, headers and records."""
    remade = Remade(ztf)
    names = ["", "a\x00\n\x1b[2J", "\u202eabc", "\U0001f52d" * 200, "x" * 201]
    found = answers([remade.packet(objectId=name) for name in names])
    assert ["clean"] * 4 + ["field_type"] == found


def test_odd_headers_are_carried_along(ztf: bytes) -> None:
    """A megabyte, a thousand of one name, none at all, and some that pass for ours."""
    headers: list[tuple[str, bytes | None]] = [("big", b"x" * 2**20), ("", b""), ("none", None)]
    headers += [("twice", b"%d" % n) for n in range(1000)]
    headers += [("streamfilter-verdict", b"clean"), ("producer_timestamp", b"-1e999")]
    assert ["clean", "wire_form_unknown"] == answers([ztf, b"hello"], tuple(headers))
