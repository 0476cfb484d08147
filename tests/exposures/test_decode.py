"""Messages of the exposure stream, good and bad."""

import io
from dataclasses import replace
from typing import Any

import fastavro
import pytest
from exposure_factories import make_announced, make_message
from hypothesis import given
from hypothesis import strategies as st

from streamfilter.errors import Reason
from streamfilter.exposures.decode import ExposureDecoder
from streamfilter.exposures.records import ExposureMessage, FrameReference
from streamfilter.limits import Limits
from streamfilter.records import Message, Rejected
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.published import PublishedSource, exposure_schema

DECODER = ExposureDecoder(SchemaFinder([PublishedSource()], Limits()))
REFERENCE = FrameReference("file:///data/x.fits", 2880, "ab" * 32)


def decoded(message: Message) -> ExposureMessage:
    found = DECODER.decode(message)
    assert isinstance(found, ExposureMessage), found
    return found


def refused(message: Message) -> tuple[Reason, str]:
    found = DECODER.decode(message)
    assert isinstance(found, Rejected)
    return found.reason, found.detail


@pytest.mark.parametrize("frame", [b"", b"SIMPLE  =" * 1000, REFERENCE])
def test_what_a_readout_writes_is_what_is_read(frame: bytes | FrameReference) -> None:
    """Every field of the announcement comes back, and the frame, inside or by reference."""
    found = decoded(make_message(frame))
    assert (make_announced(), frame) == (found.announced, found.frame)


def test_only_the_exposure_and_its_instrument_are_needed() -> None:
    """A small observatory may know only these two."""
    silent: dict[str, Any] = dict.fromkeys(
        (
            "detector",
            "detectors_expected",
            "hdu",
            "mid_exposure_unix_s",
            "exposure_time_s",
            "filter",
        )
    )
    assert make_announced(**silent) == decoded(make_message(**silent)).announced


def test_a_container_with_fewer_fields_is_read() -> None:
    """A producer may write its own record with the fields that it has."""
    names = ("exposure_id", "instrument", "frame")
    fields = [f for f in exposure_schema().schema.definition["fields"] if f["name"] in names]
    schema = {"type": "record", "name": "site.Readout", "fields": fields}
    out = io.BytesIO()
    record = {"exposure_id": "7", "instrument": "cam", "frame": b"SIMPLE"}
    fastavro.writer(out, fastavro.parse_schema(schema), [record], codec="deflate")
    found = decoded(replace(make_message(), value=out.getvalue()))
    assert ("7", "cam", b"SIMPLE") == (
        found.announced.exposure_id,
        found.announced.instrument,
        found.frame,
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exposure_id": ""}, Reason.FIELD_MISSING),
        ({"instrument": " "}, Reason.FIELD_MISSING),
        ({"exposure_id": "x" * 1000}, Reason.FIELD_TYPE),
        ({"detectors_expected": 0}, Reason.FIELD_TYPE),
        ({"detectors_expected": -3}, Reason.FIELD_TYPE),
        ({"frame": replace(REFERENCE, sha256="no digits")}, Reason.FIELD_TYPE),
        ({"frame": replace(REFERENCE, size=-1)}, Reason.FIELD_TYPE),
    ],
)
def test_an_announcement_that_names_nothing_is_rejected(
    changes: dict[str, Any], reason: Reason
) -> None:
    """The reason is from the closed set."""
    assert reason == refused(make_message(**changes))[0]


@pytest.mark.parametrize("unix_s", [-1e12, -1.0, 9e12])
def test_a_clock_that_was_never_set_dates_nothing(unix_s: float) -> None:
    """Its exposure has no date and is still judged."""
    assert decoded(make_message(mid_exposure_unix_s=unix_s)).announced.mid_exposure_unix_s is None


def test_neither_frame_nor_reference_is_rejected() -> None:
    """Without them there is no frame to judge."""
    record = {"exposure_id": "7", "instrument": "cam"}
    out = io.BytesIO()
    fastavro.writer(out, exposure_schema().schema.parsed, [record])
    reason, detail = refused(replace(make_message(), value=out.getvalue()))
    assert (Reason.FIELD_MISSING, "one of frame and reference: neither is given") == (
        reason,
        detail,
    )


def test_no_value_and_no_avro_are_rejected() -> None:
    """One message is a tombstone, the other is FITS without an Avro envelope."""
    assert Reason.EMPTY == refused(replace(make_message(), value=None))[0]
    assert Reason.WIRE_FORM_UNKNOWN == refused(replace(make_message(), value=b"SIMPLE  = T"))[0]


@given(st.data())
def test_damage_is_rejected_or_decoded_and_never_raises(data: st.DataObject) -> None:
    """Any byte may be changed, and any tail cut off."""
    value = bytearray(make_message().value or b"")
    at = data.draw(st.integers(0, len(value) - 1))
    value[at] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(value)))
    found = DECODER.decode(replace(make_message(), value=bytes(value[:cut])))
    assert isinstance(found, ExposureMessage | Rejected)
