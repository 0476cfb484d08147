"""Contaminants of whole frames on a real Kafka, in a group of their own."""

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from filter_process import FilterProcess
from test_exposure_stream import MIB_40, Site, site, trailed

import streamfilter
from streamfilter.contaminants import BY_CODE

__all__ = ["site"]  # the fixture
SEARCH_S = 240.0  # its threads yield to all others of the machine


def hit(samples: Path) -> bytes:
    """The LCO frame with a cosmic ray painted in and an overscan that its header names."""
    with fits.open(io.BytesIO(trailed(samples))) as hdus:
        pixels = hdus["SCI"].data[:720, :650].astype(np.float32)
    pixels[100, 200:206] += 20_000
    hdu = fits.PrimaryHDU(pixels)
    hdu.header["TRIMSEC"] = "[41:650,11:720]"
    out = io.BytesIO()
    hdu.writeto(out)
    return out.getvalue()


def search(site: Site, **outputs: str) -> FilterProcess:
    """Start a worker that searches the site's exposures."""
    settings = {
        "exposures.contaminants.topics": f'["{site.exposures}"]',
        "exposures.contaminants.group": f"{site.group}-masks",
        "exposures.contaminants.tile_px": "480",
        **{key.replace("__", "."): value for key, value in outputs.items()},
    }
    return site.start(only="contaminants", **settings)


def records(site: Site, topic: str) -> dict[str, dict[str, Any]]:
    """The last record of each kind, once there is one of the exposure."""
    end = time.monotonic() + SEARCH_S
    while True:
        found = [streamfilter.read(m.value) for m in site.broker.read(topic) if m.value]
        by_kind = {record["kind"]: record for record in found}
        if "exposure" in by_kind:
            return by_kind
        assert time.monotonic() < end, site.workers[-1].events()
        time.sleep(0.2)


def test_contaminants_follow_the_verdict_on_tracking(site: Site, samples: Path) -> None:
    """The same judgement, published before by who searches nothing; shares of the areas beside."""
    topic = site.broker.topic(stem="contaminants")
    site.announce("e1", hit(samples), detector="7")
    site.start()
    verdict = site.verdicts(1)["e1"]
    worker = search(site, outputs__contaminants=topic)
    found = records(site, topic)
    assert (None, "tracking_error") == (verdict["contaminants"], verdict["judgement"]["decision"])
    assert verdict["judgement"] == found["exposure"]["judgement"]
    areas = found["detector"]["contaminants"]
    assert (610 * 710, "maximask", None) == (
        *(areas["pixels"], areas["engine"]["name"], areas["mask"]),
    )
    assert "deepcr" == areas["cosmic_rays"]["name"]
    assert 0 < areas["cr"] < 0.01
    assert 0 < areas["bbg"] < 0.1
    assert areas == found["exposure"]["contaminants"]
    share = 'streamfilter_contaminants_area_share{contaminant="CR",instrument="camera"}'
    assert areas["cr"] == pytest.approx(worker.metric(share))
    assert 0 == worker.stop()
    assert {0: 1} == site.broker.committed(f"{site.group}-masks", site.exposures)


def test_masks_are_written_and_sent(site: Site, samples: Path) -> None:
    """Rice-compressed, named safely whatever the exposure is called, where its pixels belong."""
    topic, folder = site.broker.topic(stem="contaminants"), site.folder / "masks"
    masks = site.broker.topic(stem="masks", max_message_bytes=MIB_40)
    site.announce("../e 1", hit(samples), detector="CCD/7")
    settings = {"outputs__masks": masks, "exposures__contaminants__folder": str(folder)}
    search(site, outputs__contaminants=topic, **settings)
    areas = records(site, topic)["detector"]["contaminants"]
    (path,) = folder.glob("camera/_e_1-????????/CCD_7-????????_0.mask.fits.fz")
    assert str(path) == areas["mask"]
    (message,) = site.broker.read(masks)
    assert path.read_bytes() == message.value
    assert b"CCD/7" == dict(message.headers)["streamfilter-detector"]
    with fits.open(path) as hdus:
        bits, header = hdus["MASK"].data, hdus["MASK"].header
        assert (-40.0, -10.0, "1.0") == (header["LTV1"], header["LTV2"], header["CR_SM"])
        assert int(bits[90, 162]) & BY_CODE["CR"].bit
        assert areas["cr"] == pytest.approx(np.count_nonzero(bits & 1) / bits.size)
