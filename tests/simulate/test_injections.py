import numpy as np
import pytest

from streamfilter import contaminants
from streamfilter.simulate.cameras import LSST, ZTF, Camera, Conditions
from streamfilter.simulate.contaminants import INJECT, Injection, cosmic_ray, truth_of

CODES = pytest.mark.parametrize("code", INJECT)


def conditions(camera: Camera = LSST) -> Conditions:
    """Returns average conditions."""
    return Conditions(camera=camera, side_px=camera.side_px, sky_e=3000.0, fwhm_px=3.0)


def inject(code: str, seed: int, camera: Camera = LSST) -> Injection:
    """Returns one contaminant of a class."""
    return INJECT[code](np.random.default_rng(seed), conditions(camera))


def test_every_injected_class_is_in_the_class_table() -> None:
    """Codes are written once."""
    assert set(INJECT) <= set(contaminants.CODES)


@CODES
def test_a_contaminant_touches_the_place_of_the_alert(code: str) -> None:
    """Within 2 px of the stamp's middle, in 30 of 30."""
    seen = conditions()
    assert all(truth_of(inject(code, s), seen).distance_px < 2.0 for s in range(30))


@CODES
def test_strengths_are_spread(code: str) -> None:
    """The strongest of 30 has at least three times the signal to noise of the weakest."""
    seen = conditions()
    snrs = [truth_of(inject(code, s), seen).snr for s in range(30)]
    assert max(snrs) > 3 * min(snrs)
    assert min(snrs) > 5


def test_the_truth_is_measured_on_what_was_added() -> None:
    """One pixel of 10 sigma, 3 px above the centre."""
    seen = conditions(ZTF)
    light = np.zeros(seen.shape)
    middle = ZTF.side_px // 2
    light[middle + 3, middle] = 10 * seen.sigma_e
    truth = truth_of(Injection("HP", light, np.ones(seen.shape), np.zeros(seen.shape)), seen)
    assert (1, 3.0) == (int(truth.mask.sum()), truth.distance_px)
    assert truth.snr == pytest.approx(10.0)


def test_an_injection_that_nothing_shows_has_no_truth() -> None:
    """It is below 2 sigma in every pixel."""
    seen = conditions()
    nothing = Injection("HP", np.zeros(seen.shape), np.ones(seen.shape), np.zeros(seen.shape))
    with pytest.raises(ValueError, match="HP"):
        truth_of(nothing, seen)


def test_a_trail_is_as_wide_as_the_psf_and_a_track_is_sharper() -> None:
    """Across a track most charge is in two pixels; across a trail the ridge has under half."""
    ridge = [s / s.sum() for s in (np.sort(inject("TRL", n).light_e, axis=1)[15] for n in range(9))]
    tracks = [inject("CR", n, ZTF).charge_e for n in range(30)]
    assert all(row[-2:].sum() < 0.55 for row in ridge)
    assert np.median([np.sort(t, axis=None)[-9:].sum() / t.sum() for t in tracks]) > 0.7


def test_tracks_have_the_charge_of_a_minimum_ionising_particle() -> None:
    """Long ones of LSST's thick silicon have 600 to 1,500 e per pixel, as in real darks."""
    per_px = []
    for seed in range(200):
        charge = cosmic_ray(np.random.default_rng(seed), conditions()).charge_e
        rows, columns = (charge > 100).nonzero()
        length = np.hypot(np.ptp(rows), np.ptp(columns))
        if length > 8:
            per_px.append(charge.sum() / length)
    assert 600 < np.percentile(per_px, 25) < np.median(per_px) < 2500
