"""Focal planes in a real Chromium, from records as the exposure half publishes them."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from exposure_factories import make_evidence, make_received, make_verdict
from kafka_desk import Broker

pytest.importorskip("starlette", reason="no starlette: install the extra console")
pytest.importorskip("uvicorn", reason="no uvicorn: install the extra console")

from live_site import live_site

from streamfilter.contaminants import BY_CODE, CODES
from streamfilter.exposures.encode import TrackingEncoder
from streamfilter.exposures.mask_files import packed
from streamfilter.exposures.masking import MaskRules
from streamfilter.exposures.records import ContaminantAreas, Decision, Frame, TileEvidence
from streamfilter.records import EngineIdentity

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ENCODER = TrackingEncoder(
    EngineIdentity("maxitrack", "5e" * 32, "onnxruntime"),
    masking=EngineIdentity("maximask", "5f" * 32, "onnxruntime"),
)
CAMERA = {"instrument": "LSSTCam", "exposure_id": "e/1"}


def mask_in(folder: Path) -> str:
    """A mask of 400 x 400 px, a quarter of which are cosmic rays, as a worker writes it."""
    bits = np.zeros((400, 400), np.int16)
    bits[:200, :200] = BY_CODE["CR"].bit
    frame = Frame(source="a.fits", hdu=0, detector="90", image=np.zeros((400, 400), np.float32))
    path = folder / "LSSTCam" / "e_1" / "90.mask.fits.fz"
    path.parent.mkdir(parents=True)
    path.write_bytes(packed(bits, CODES, MaskRules(), frame, {}))
    return str(path)


def records(mask: str) -> list[bytes]:
    """Nine detectors of the middle raft, of which one cannot be told, and the exposure."""
    made = []
    evidence = make_evidence()
    shares = {code: 0.0 for code in CODES if code != "RES"}  # MaxiMask has no such class
    areas = ContaminantAreas(160_000, {**shares, "CR": 0.25}, mask)
    for number in range(90, 99):
        judgement = evidence.judgement
        if number == 98:
            judgement = replace(judgement, decision=Decision.CANNOT_TELL, probability=None)
        tiles = tuple(
            TileEvidence(400 * (n // 10), 400 * (n % 10), None if n % 7 == 0 else n / 100,
                         n % 25, 1.0, 0.01, float(n % 7 > 0))
            for n in range(100)
        )  # fmt: skip
        found = areas if number == 90 else None
        one = replace(evidence, detector=str(number), judgement=judgement, tiles=tiles,
                      contaminants=found)  # fmt: skip
        received = make_received(**CAMERA, detector=str(number))
        made.append(ENCODER.detector(received, one, 1.0, "tracking")[0])
    verdict = make_verdict(**CAMERA, detectors=(), detectors_expected=189)
    made.append(ENCODER.exposure([make_received(**CAMERA)], verdict, "tracking")[0])
    return made


def faults_of(page: "Page") -> list[str]:
    """What a screen reader would miss, as axe judges it."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe: extra dev")
    return [each["id"] for each in axe.Axe().run(page).response["violations"]]


def test_an_exposure_is_a_focal_plane(broker: Broker, tmp_path: Path, chromium: "Browser") -> None:
    """Each detector at its place and in the colour of its verdict; who cannot tell is seen so."""
    masks = tmp_path / "masks"
    sections: dict[str, Any] = {
        "exposures": {
            "topics": [broker.topic(stem="exposures")], "contaminants": {"folder": masks},
        }
    }  # fmt: skip
    with live_site(broker, tmp_path, **sections) as site:
        page = chromium.new_page(bypass_csp=True)  # axe is put into it
        try:
            page.goto(f"{site.url}exposures")
            broker.produce(site.settings.outputs.tracking, records(mask_in(masks)))
            words = "focal plane: 8 tracking error, 1 cannot tell"
            # By itself: nobody loads the page again.
            page.wait_for_selector(f".strip .d-tracking_error svg[aria-label='{words}']")
            page.click(".strip a")
            assert "LSSTCam e/1" == page.locator("h1").inner_text()
            assert (189, 8, 1) == tuple(
                page.locator(f".plane rect.{name}").count()
                for name in ("hole", "q-tracking_error", "q-cannot_tell")
            )
            assert 1 == page.locator(".plane .unknown").count()
            assert 8 == page.locator(".focal .angle").count()
            page.click(".by >> text=elongation")
            assert 9 == page.locator(".plane .focal rect.s-3").count()
            row = page.locator("tbody tr").first.inner_text().split("\t")
            assert ["90", "tracking error", "0.938", "1.75"] == row[:4]
            assert 9 == page.locator("svg.mosaic g").count()
            page.screenshot(path=tmp_path / "exposure.png", full_page=True)
            assert [] == faults_of(page)
            page.click("tbody a >> text=90")
            assert "Detector 90" == page.locator("h1").inner_text()
            assert 1 <= page.locator("svg.mosaic path").count()
            page.click("summary")
            assert "tile" in page.locator("summary").inner_text()
            page.wait_for_function(
                "() => document.querySelector('.frame-mask').naturalWidth === 400"
            )
            assert "cosmic ray\t25.0000%" in page.locator("main").inner_text()
            page.screenshot(path=tmp_path / "detector.png", full_page=True)
            assert [] == faults_of(page)
        finally:
            page.close()
