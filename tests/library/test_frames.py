"""Tracking and masks of frames, from arrays and files."""

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner

import streamfilter
from streamfilter.cli import root
from streamfilter.errors import ConfigurationInvalid, MessageRejected


@pytest.fixture(autouse=True)
def cached(engine_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMFILTER_HOME", str(engine_home))


def test_tracking_is_judged_as_the_command_does(samples: Path) -> None:
    """A frame that followed a comet, a good one, and the first without its headers."""
    trailed = samples / "exposures/trailed/lco0m4_banzai_trailed.fits.fz"
    good = next((samples / "exposures/good").glob("mro2m4*"))
    found = CliRunner().invoke(root, ["track", "--json", str(trailed), str(good)])
    expected = [json.loads(line) for line in found.stdout.splitlines()]
    for path, line in zip((trailed, good), expected, strict=True):
        tracked = streamfilter.track(path)
        assert line["judgement"]["decision"] == tracked.decision
        assert line["judgement"]["probability"] == tracked.probability
        assert (line["why_undecided"] or "") == tracked.why_undecided
        assert line["detectors"][0]["detector"] == tracked.detectors[0].detector
    assert ["non_sidereal", "ok"] == [
        expected[0]["why_undecided"], expected[1]["judgement"]["decision"],
    ]  # fmt: skip
    with fits.open(trailed) as hdus:
        image, bad = hdus[1].data, hdus["BPM"].data != 0
    assert "tracking_error" == streamfilter.track(image, masked=bad).decision


def test_a_file_that_cannot_be_read_is_undecided(tmp_path: Path) -> None:
    """The evidence says why; a path that is not there too."""
    (tmp_path / "x.fits").write_bytes(b"SIMPLE")
    tracked = streamfilter.track(tmp_path / "x.fits")
    assert ("cannot_tell", None) == (tracked.decision, tracked.probability)
    assert tracked.detectors[0].not_evaluated is not None


def test_cosmic_rays_are_another_network_s_as_the_command_has_them(tmp_path: Path) -> None:
    """By the same setting; the other classes stay MaxiMask's."""
    image = np.random.default_rng(5).normal(100, 5, (128, 160)).astype(np.float32)
    image[60, 40:48] += 3000
    fits.PrimaryHDU(image).writeto(tmp_path / "x.fits")
    chosen = "exposures.contaminants.cosmic_rays=stampmask"
    done = CliRunner().invoke(
        root, ["mask", str(tmp_path / "x.fits"), "-o", str(tmp_path / "masks"), "--set", chosen]
    )
    assert 0 == done.exit_code, done.output
    (written,) = (tmp_path / "masks").iterdir()
    masked = streamfilter.mask(image, overrides=[chosen])
    np.testing.assert_array_equal(fits.getdata(written), masked.bits)
    before = streamfilter.mask(image)
    np.testing.assert_array_equal(before.bits & ~1, masked.bits & ~1)
    assert masked["CR"].any()
    assert (masked["CR"] != before["CR"]).any()


def test_a_mask_is_that_of_the_command(samples: Path, tmp_path: Path) -> None:
    """Bit by bit, from a file and from an array."""
    path = next((samples / "exposures/trails").glob("*HSC*.fits*"), None) or next(
        each for each in sorted((samples / "exposures/trails").iterdir())
        if "mask" not in each.name and ".fits" in each.name
    )  # fmt: skip
    done = CliRunner().invoke(root, ["mask", str(path), "-o", str(tmp_path)])
    assert done.exit_code == 0, done.output
    (written,) = tmp_path.iterdir()
    with fits.open(written) as hdus:
        expected = next(np.asarray(hdu.data) for hdu in hdus if hdu.data is not None)
    masked = streamfilter.mask(path)
    assert np.count_nonzero(expected)
    assert np.array_equal(expected, masked.bits)
    trail = masked["TRL"]
    assert (np.dtype(bool), expected.shape) == (trail.dtype, trail.shape)
    assert masked.areas["TRL"] == pytest.approx(trail.mean())
    assert masked.contaminated.sum() >= trail.sum()
    with fits.open(path) as hdus:
        image = next(np.asarray(hdu.data) for hdu in hdus if hdu.data is not None)
    assert np.array_equal(masked.bits, streamfilter.mask(image).bits)


def test_what_cannot_be_masked_is_told() -> None:
    """In the reason's words; arrays of another form are refused."""
    with pytest.raises(MessageRejected, match="array: no_variation"):
        streamfilter.mask(np.zeros((100, 100), np.uint16))
    with pytest.raises(MessageRejected, match="too_small"):
        streamfilter.mask(np.zeros((10, 100)))
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        streamfilter.track(np.zeros(3))
    with pytest.raises(ValueError, match="masked has shape"):
        streamfilter.track(np.zeros((50, 50)), masked=np.zeros((3, 3), np.bool_))
    with pytest.raises(ValueError, match="for an array"):
        streamfilter.track("x.fits", saturation=3.0)
    with pytest.raises(ConfigurationInvalid, match="XX"):
        streamfilter.mask(np.zeros((100, 100)), classes=["XX"])


def test_a_mask_tells_the_classes_that_are_asked_for() -> None:
    """Another is a KeyError with those that there are."""
    noise = np.random.default_rng(5).normal(500, 10, (128, 128)).astype(np.float32)
    noise[60, 50:70] += 3000
    masked = streamfilter.mask(noise, classes=["CR"])
    assert masked["CR"].any()
    with pytest.raises(KeyError, match="no class 'TRL'; there are CR"):
        _ = masked["TRL"]


def test_of_a_file_with_several_images_one_is_named(tmp_path: Path) -> None:
    """The error says how; tracking takes all of them as one exposure."""
    noise = np.random.default_rng(5).normal(500, 10, (2, 128, 128)).astype(np.float32)
    hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(each) for each in noise)]
    fits.HDUList(hdus).writeto(tmp_path / "two.fits")
    with pytest.raises(ValueError, match=r"2 images .*two\.fits\[1\]"):
        streamfilter.mask(tmp_path / "two.fits")
    assert (128, 128) == streamfilter.mask(f"{tmp_path / 'two.fits'}[2]").bits.shape
    assert 2 == len(streamfilter.track(tmp_path / "two.fits").detectors)
