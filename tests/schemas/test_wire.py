"""Wire forms, read from bytes."""

import io
from pathlib import Path

import cramjam
import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfilter.errors import MessageRejected, Reason
from streamfilter.limits import Limits
from streamfilter.schemas import binary
from streamfilter.schemas.codecs import CODECS
from streamfilter.schemas.wire import (
    Form,
    form_of,
    read_bytes,
    read_container_body,
    read_container_header,
    read_long,
    schema_id_of,
)

SCHEMA = {"type": "record", "name": "t.alert", "fields": [{"name": "x", "type": "bytes"}]}


def container(records: list[dict[str, object]], codec: str = "null") -> bytes:
    """An object container file written by fastavro."""
    if codec == "zstandard":
        return zstandard(container(records))
    buffer = io.BytesIO()
    fastavro.writer(buffer, fastavro.parse_schema(SCHEMA), records, codec=codec)
    return buffer.getvalue()


def zstandard(value: bytes) -> bytes:
    """A container of one block in zstandard, for which fastavro wants one more package."""
    header = read_container_header(value, Limits())
    count, start = read_long(value, header.end)
    block, _ = read_bytes(value, start)
    packed = bytes(cramjam.zstd.compress(block))
    head = value[: header.end].replace(b"\x08null", b"\x12zstandard")
    return head + binary.long(count) + binary.long(len(packed)) + packed + header.sync


def rejection(value: bytes, limits: Limits | None = None) -> MessageRejected:
    """Why a container cannot be read."""
    with pytest.raises(MessageRejected) as caught:
        read_container_body(value, read_container_header(value, Limits()), limits or Limits())
    return caught.value


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_long_reads_back_as_fastavro_wrote_it(number: int) -> None:
    """Zigzag varints of the whole 64-bit range are understood."""
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema("long"), number)
    assert (number, len(buffer.getvalue())) == read_long(buffer.getvalue(), 0)


@pytest.mark.parametrize(
    ("data", "byte"), [(b"", 0), (b"\x80", 1), (b"\xff" * 10 + b"\x01", 0)], ids=repr
)
def test_a_bad_number_is_refused_with_its_byte(data: bytes, byte: int) -> None:
    """A number that ends early or never is malformed at a byte."""
    with pytest.raises(MessageRejected, match=f"at byte {byte}$") as caught:
        read_long(data, 0)
    assert Reason.AVRO_MALFORMED == caught.value.reason


@pytest.mark.parametrize("data", [b"\x01", b"\x06ab", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"])
def test_a_hostile_length_is_refused(data: bytes) -> None:
    """Negative lengths and lengths past the end are malformed."""
    with pytest.raises(MessageRejected) as caught:
        read_bytes(data, 0)
    assert Reason.AVRO_MALFORMED == caught.value.reason


def test_the_forms_are_told_by_their_first_bytes() -> None:
    """Each of the three forms has its own magic."""
    values = [b"Obj\x01..", b"\x00\x00\x00\x03\xe8..", b"\xc3\x01.."]
    assert [Form.OCF, Form.CONFLUENT, Form.SINGLE_OBJECT] == [form_of(v) for v in values]


def test_bytes_of_no_form_are_refused() -> None:
    """JSON is no wire form."""
    with pytest.raises(MessageRejected) as caught:
        form_of(b'{"a": 1}')
    assert Reason.WIRE_FORM_UNKNOWN == caught.value.reason


def test_the_confluent_id_is_big_endian() -> None:
    """LSST's schema 10.0 is 00 00 03 e8."""
    assert 1000 == schema_id_of(b"\x00\x00\x00\x03\xe8\x00")


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_gives_the_same_body(codec: str) -> None:
    """Compressed containers give the record that was put in."""
    value = container([{"x": b"abc"}], codec)
    assert b"\x06abc" == read_container_body(
        value, read_container_header(value, Limits()), Limits()
    )


@pytest.mark.parametrize("codec", [name for name in CODECS if name != "null"])
def test_a_container_bomb_is_refused(codec: str) -> None:
    """A record over the message limit is refused without being held in memory."""
    value = container([{"x": bytes(10_000_000)}], codec)
    assert Reason.MESSAGE_TOO_LARGE == rejection(value, Limits(max_message_bytes=100_000)).reason


@pytest.mark.parametrize("count", [0, 2])
def test_a_container_must_hold_one_record(count: int) -> None:
    """None or two records in a message are refused."""
    assert Reason.RECORD_COUNT == rejection(container([{"x": b"abc"}] * count)).reason


def test_a_second_block_is_refused() -> None:
    """Two blocks of one record are two records."""
    value = container([{"x": b"abc"}])
    header = read_container_header(value, Limits())
    assert Reason.RECORD_COUNT == rejection(value + value[header.end :]).reason


def test_a_wrong_sync_marker_is_refused() -> None:
    """The marker after the block must be the header's."""
    value = container([{"x": b"abc"}])
    assert Reason.AVRO_MALFORMED == rejection(value[:-1] + bytes([value[-1] ^ 1])).reason


@pytest.mark.parametrize("codec", ["deflate", "bzip2", "xz", "snappy"])
def test_a_damaged_block_is_refused(codec: str) -> None:
    """Bytes that do not decompress are malformed."""
    value = bytearray(container([{"x": b"abc" * 50}], codec))
    value[read_container_header(bytes(value), Limits()).end + 3] ^= 0xFF
    assert Reason.AVRO_MALFORMED == rejection(bytes(value)).reason


def test_an_unknown_codec_is_named() -> None:
    """A codec that is not supported is refused by name."""
    value = container([{"x": b"abc"}], "deflate").replace(b"deflate", b"defLATE")
    assert "defLATE" in rejection(value).detail


def test_an_unknown_codec_is_named_also_where_a_block_has_many_records() -> None:
    """What a sender has to change first is said first."""
    value = container([{"x": b"abc"}] * 3, "deflate").replace(b"deflate", b"defLATE")
    assert Reason.WIRE_FORM_UNKNOWN == rejection(value).reason


def test_a_header_with_negative_block_counts_is_read() -> None:
    """Writers may announce the metadata's size with a negative count."""
    value = container([{"x": b"abc"}])
    header = read_container_header(value, Limits())
    entries = value[5 : header.end - 17]
    count = -len(header.metadata)
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema("long"), count)
    fastavro.schemaless_writer(buffer, fastavro.parse_schema("long"), len(entries))
    other = value[:4] + buffer.getvalue() + entries + value[header.end - 17 :]
    assert header.metadata == read_container_header(other, Limits()).metadata


def test_every_truncation_of_a_container_is_refused() -> None:
    """No cut leaves a readable container."""
    value = container([{"x": b"abc"}])
    for length in range(4, len(value)):
        assert isinstance(rejection(value[:length]), MessageRejected)


def test_broken_packets_are_refused(samples: Path) -> None:
    """Every real damaged packet is refused by its container."""
    reasons = {rejection(path.read_bytes()).reason for path in (samples / "broken").glob("*.avro")}
    assert {Reason.AVRO_MALFORMED} == reasons


@pytest.mark.parametrize(
    "header", [b"\xd0\x0f" + bytes(4000), b"\x02\x02x" + b"\x80\x80\x20" + bytes(2**18)]
)
def test_a_header_of_very_much_is_refused(header: bytes) -> None:
    """A thousand entries of nothing, and one longer than any schema may be."""
    with pytest.raises(MessageRejected, match="header of over") as caught:
        read_container_header(b"Obj\x01" + header, Limits(max_schema_bytes=1000))
    assert Reason.SCHEMA_MALFORMED == caught.value.reason
