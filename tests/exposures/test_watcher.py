"""Real and made frames through the whole composition."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from constant_engine import Constant, frame
from fields import Field

from streamfilter.exposures import frames, tiles
from streamfilter.exposures.records import (
    Decision,
    DetectorEvidence,
    FrameReason,
    FrameRefused,
    Voice,
)
from streamfilter.exposures.watcher import ExposureRules, Watcher
from streamfilter.inference.engine import Engine, Tensor
from streamfilter.inference.runtimes import open_engine
from streamfilter.records import Image


@pytest.fixture(scope="module")
def maxitrack(engine_home: Path) -> Iterator[Engine]:
    engine = open_engine("maxitrack", "onnxruntime", engine_home, os.cpu_count() or 1)
    yield engine
    engine.close()


def look(engine: Engine, path: Path) -> DetectorEvidence:
    (found,) = frames.read_frame_file(str(path))
    return Watcher(engine).judge_frame(found).evidence


def test_twenty_constant_tiles_at_batch_sixteen_give_the_constant() -> None:
    """The reference program does not: its last batch overwrites scores, which leaves 0.64 of 1."""
    engine = Constant(0.75)
    watcher = Watcher(engine, ExposureRules(batch=16))
    image = np.zeros((1600, 2000), np.float32)
    found = watcher.probabilities(image, tiles.cut((1600, 2000)))
    assert [0.75] * 20 == found
    assert [16, 4] == engine.batches


def test_a_frame_beyond_memory_has_a_reason() -> None:
    """The next frame may be smaller."""

    class Full(Constant):
        """An engine for which no memory is left."""

        def infer(self, batch: Tensor) -> Tensor:
            raise MemoryError

    evidence = Watcher(Full()).judge_frame(frame(Field().image())).evidence
    assert FrameReason.TOO_LARGE == evidence.not_evaluated
    assert evidence.detail


def test_every_tile_stands_in_the_evidence() -> None:
    """Each has its place, its stars and its weight, also one that was not needed."""
    engine = Constant(0.9)
    evidence = Watcher(engine).judge_frame(frame(Field().image())).evidence
    assert (9, [8]) == (len(evidence.tiles), engine.batches)
    judgement = evidence.judgement
    assert (8, 0, 1) == (
        judgement.tiles_used,
        judgement.tiles_abstained,
        judgement.tiles_not_needed,
    )
    (spared,) = (tile for tile in evidence.tiles if tile.not_needed)
    assert spared.probability is None
    assert spared.weight > 0
    assert {0, 400, 500} == {tile.y for tile in evidence.tiles}


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((256, 256)), FrameReason.TOO_SMALL),
        (np.zeros((500, 500)), FrameReason.NO_VARIATION),
        (np.full((500, 500), np.nan), FrameReason.NO_DATA),
    ],
    ids=["small", "zeros", "nan"],
)
def test_frames_that_say_nothing_have_a_reason(image: Image, reason: FrameReason) -> None:
    """They are not evaluated, and their exposure cannot be judged."""
    watcher = Watcher(Constant(1.0))
    evidence = watcher.judge_frame(frame(image)).evidence
    assert reason == evidence.not_evaluated
    assert Decision.CANNOT_TELL == watcher.judge([evidence]).decision


def test_a_frame_saturated_over_half_says_nothing() -> None:
    """The level may come from a plateau alone, as in 16-bit frames without the keyword."""
    image = Field().image()
    image[:500] = 65535
    out = io.BytesIO()
    fits.PrimaryHDU(image.clip(0, 65535).astype(np.uint16)).writeto(out)
    (read,) = frames.read_frames(out.getvalue(), "made")
    assert FrameReason.SATURATED == Watcher(Constant(1.0)).judge_frame(read).evidence.not_evaluated


def test_a_zero_frame_from_a_file_has_no_variation() -> None:
    """It does not count as saturated."""
    out = io.BytesIO()
    fits.PrimaryHDU(np.full((500, 500), 7, np.uint16)).writeto(out)
    (read,) = frames.read_frames(out.getvalue(), "made")
    assert (
        FrameReason.NO_VARIATION == Watcher(Constant(1.0)).judge_frame(read).evidence.not_evaluated
    )


def test_a_refused_frame_keeps_its_reason() -> None:
    """It becomes a detector without a judgement, so that its exposure can close."""
    refused = FrameRefused("file", 3, FrameReason.TRUNCATED, "cut", "CCD3")
    evidence = Watcher(Constant(1.0)).judge_frame(refused).evidence
    assert (FrameReason.TRUNCATED, "CCD3", 3) == (
        evidence.not_evaluated,
        evidence.detector,
        evidence.hdu,
    )


def test_masked_and_missing_pixels_reach_the_network_as_sky() -> None:
    """Tiles over half without data abstain."""
    image = Field().image()
    image[:400, :400] = np.nan
    evidence = Watcher(Constant(0.9)).judge_frame(frame(image)).evidence
    assert evidence.tiles[0].abstains
    assert not evidence.tiles[-1].abstains


def test_an_engine_for_pixels_is_refused() -> None:
    """MaxiMask has no output for a tracking error."""
    with pytest.raises(ValueError, match="no TRACKING_ERROR"):
        Watcher(Constant(1.0, "maximask"))


@pytest.mark.engine
def test_a_trailed_frame_is_a_tracking_error(maxitrack: Engine, samples: Path) -> None:
    """On a real non-sidereal LCO frame, network and shapes agree, with a probability over 0.9."""
    found = look(maxitrack, samples / "exposures/trailed/lco0m4_banzai_trailed.fits.fz").judgement
    assert (Decision.TRACKING_ERROR, Voice.BOTH) == (found.decision, found.voice)
    assert 0.9 < (found.probability or 0)
    assert 5 < (found.shapes.elongation or 0)


@pytest.mark.engine
def test_good_frames_are_no_tracking_errors(maxitrack: Engine, samples: Path) -> None:
    """Real frames with stars are ok; others have a reason, too small or too empty."""
    paths = sorted((samples / "exposures/good").iterdir())
    found = {path.name.split(".")[0]: look(maxitrack, path) for path in paths}
    decisions = {name: evidence.judgement.decision for name, evidence in found.items()}
    assert Decision.TRACKING_ERROR not in decisions.values()
    assert Decision.OK == decisions["apogee_eso085-030-004"] == decisions["mro2m4_didymos"]
    assert FrameReason.TOO_SMALL == found["decam_OBS04a_256"].not_evaluated


@pytest.mark.engine
def test_a_sky_without_stars_cannot_tell(maxitrack: Engine) -> None:
    """The network's output for empty tiles does not count, with or without cosmic rays."""
    for rays in (0, 200):
        empty = Field(stars=0, cosmic_rays=rays).image()
        found = Watcher(maxitrack).judge_frame(frame(empty)).evidence.judgement
        assert Decision.CANNOT_TELL == found.decision


@pytest.mark.engine
def test_a_satellite_on_few_stars_is_no_tracking_error(maxitrack: Engine, samples: Path) -> None:
    """On real cut-outs of one tile, the network is sure of an error, but stars are too few."""
    paths = sorted((samples / "exposures/trails").glob("cutout_*[!k].fits.gz"))
    assert paths
    for path in paths:
        assert Decision.CANNOT_TELL == look(maxitrack, path).judgement.decision


@pytest.mark.engine
def test_the_worst_of_a_season_fail_and_the_best_do_not(maxitrack: Engine, samples: Path) -> None:
    """Of SAAO frames, ellipticity 0.47 fails by its shapes, and 0.09 is ok."""
    folder = samples / "exposures/tracking"
    worst = look(maxitrack, folder / "AKB13475I0092.fits.gz").judgement
    best = look(maxitrack, folder / "AKB13475I0016.fits.gz").judgement
    assert Decision.TRACKING_ERROR == worst.decision
    assert (Decision.OK, Voice.BOTH) == (best.decision, best.voice)
