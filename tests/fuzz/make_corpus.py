"""Write the seeds of the fuzzer: small made-up inputs that each target reads to its end.

python tests/fuzz/make_corpus.py
"""

import io
import json
import re
from collections.abc import Iterator
from typing import Any

import fastavro
import numpy as np
import targets
from astropy.io import fits

from streamfilter.exposures.announce import encode_exposure
from streamfilter.exposures.records import Announced, FrameReference
from streamfilter.schemas import binary

RAMP = np.arange(81, dtype=np.int16).reshape(9, 9)
SYNC = b"streamfilter-fuz"


def fits_bytes(*hdus: Any) -> bytes:
    """A FITS file of these HDUs, the same at any time: gzip would note it."""
    buffer = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(buffer)
    return re.sub(rb"(\x1f\x8b\x08\0)....", rb"\1\0\0\0\0", buffer.getvalue(), flags=re.DOTALL)


def stamps() -> Iterator[tuple[str, bytes]]:
    """Every form of image that is read."""
    floats = RAMP.astype(">f4")
    primary = fits.PrimaryHDU(floats)
    yield "plain", fits_bytes(primary)
    yield (
        "planes",
        fits_bytes(
            primary, fits.ImageHDU(floats, name="UNCERT"), fits.ImageHDU(floats, name="PSFIMAGE")
        ),
    )
    yield "scaled", fits_bytes(fits.PrimaryHDU(RAMP.astype("uint16")))
    yield "packed", targets.PACK[0](fits_bytes(primary))
    for kind in ("RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1"):
        tiles = {"tile_shape": (9, 9)} if kind == "HCOMPRESS_1" else {}
        yield (
            kind.lower(),
            fits_bytes(fits.PrimaryHDU(), fits.CompImageHDU(RAMP, compression_type=kind, **tiles)),
        )
    yield "quantised", fits_bytes(fits.PrimaryHDU(), fits.CompImageHDU(floats))


def alerts() -> Iterator[tuple[int, bytes]]:
    """The number of its schema, and a record."""
    seeds = dict(stamps())
    point = {"flux": 1.5, "band": "g", "flags": 3}
    candidate = {"jd": 2460000.5, "nbad": 1, "exptime": 30.0, "kind": "a", "hash": b"abc"}
    ztf = {
        "objectId": "ZTF1", "candid": 7, "candidate": candidate, "history": [point] * 3,
        "runs": [None, 2.5, 7] * 12, "deep": [{"a": ["b"]}],
        "cutoutScience": {"fileName": "s", "stampData": seeds["packed"]}, "cutoutDifference": None,
    }  # fmt: skip
    source = {"midpointMjdTai": 60000.5, "diaObjectId": 9, "pixelFlags_cr": True}
    lsst = {
        "diaSourceId": 7, "diaSource": source, "history": [point] * 20,
        "cutoutDifference": seeds["plain"], "cutoutScience": seeds["plain"],
        "cutoutTemplate": None,
    }  # fmt: skip
    for number, alert in enumerate((ztf, lsst)):
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, targets.SCHEMAS[number], alert)
        yield number, buffer.getvalue()


def container(number: int, body: bytes, codec: str = "null") -> bytes:
    """An Avro container, without its magic."""
    pairs = ("avro.codec", codec, "avro.schema", json.dumps(targets.SCHEMAS[number]))
    block = targets.PACK[2](body) if codec == "deflate" else body
    head = b"".join((binary.long(2), *map(binary.string, pairs), b"\x00", SYNC))
    return head + binary.long(1) + binary.long(len(block)) + block + SYNC


def seeds() -> Iterator[tuple[str, str, bytes]]:
    """Target, name and bytes."""
    for name, data in stamps():
        yield "stamp", name, data
        yield "frame", name, data
    for name, pack in zip(("bzip2", "xz"), targets.PACK[3:5], strict=True):
        yield "frame", name, pack(dict(stamps())["plain"])
    for number, body in alerts():
        name = targets.SCHEMAS[number]["name"].partition(".")[0]
        yield "record", name, bytes([number]) + body
        yield "container", name, container(number, body)
        yield "container", f"{name}-deflate", container(number, body, "deflate")
        named = b"\x00" + number.to_bytes(4, "big")
        yield "header", name, bytes([len(named)]) + named + body
        yield "header", f"{name}-guid", b"\x11\x01" + number.to_bytes(16, "big") + body
        yield "wire", name, b"\x00" + number.to_bytes(4, "big") + body
        yield "wire", f"{name}-container", b"Obj\x01" + container(number, body)
        yield "schema", name, json.dumps(targets.SCHEMAS[number]).encode() + b"\0" + body
    announced = Announced(
        exposure_id="e1", instrument="camera", detector="CCD7", detectors_expected=2, hdu="SCI",
        mid_exposure_unix_s=1_765_000_000.25, exposure_time_s=30.5, filter="r",
    )  # fmt: skip
    for name, given in (
        ("frame", b"SIMPLE  ="),
        ("reference", FrameReference("file:///data/e1.fits", 2880, "0" * 64)),
    ):
        yield "exposure", name, encode_exposure(announced, given)[10:]
    for kind, pack in enumerate(targets.PACK):
        content = dict(stamps())["plain"]
        yield "packed", str(kind), bytes([kind]) + pack(content)[targets.magic_bytes(kind) :]
    yield "kafka", "traced", b"\0\0\1\x9a1\n".join([b"", b"traceparent\n00-0af7-b7-01\nempty\n"])
    yield "kafka", "not-utf8", b"now\nbad\xff\nvalue\nstreamfilter-reason\nforged"


def main() -> None:
    """Write them all."""
    for target, name, data in seeds():
        path = targets.CORPUS / target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


if __name__ == "__main__":
    main()
