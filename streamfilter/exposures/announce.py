"""Writes messages of the exposure stream, as a telescope's readout would."""

import io
from dataclasses import asdict

import fastavro

from streamfilter.exposures.records import Announced, FrameReference
from streamfilter.schemas.published import exposure_schema, single_object_header


def encode_exposure(announced: Announced, frame: bytes | FrameReference) -> bytes:
    """Returns the message in single-object encoding, which readers decode without a registry."""
    schema = exposure_schema()
    mid_unix_s = announced.mid_exposure_unix_s
    record = {
        **asdict(announced),
        "mid_exposure": None if mid_unix_s is None else round(mid_unix_s * 1e6),
        "reference": None if isinstance(frame, bytes) else asdict(frame),
        "frame": frame if isinstance(frame, bytes) else None,
    }
    del record["mid_exposure_unix_s"]
    out = io.BytesIO()
    out.write(single_object_header(schema))
    fastavro.schemaless_writer(out, schema.schema.parsed, record)
    return out.getvalue()
