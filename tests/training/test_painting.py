"""What is painted on an alert is what its classes say; no framework is needed."""

from dataclasses import replace

import numpy as np
import pytest

from streamfilter.records import NotEvaluated
from training import painting
from training.canvas import CLASSES, INDEX, Canvas, prepare
from training.data import Core, Part, Planes
from training.examples import CONTAMINANTS, brushes, doubt, examples
from training.planes import stack
from training.profiles import with_profiles

SIGMA = 5.0
HIT = np.array([[0.0, 900.0, 0.0], [700.0, 1500.0, 20.0], [0.0, 1200.0, 800.0]])


def alert(side: int = 63, *, core: Core = Core.UNKNOWN, seed: int = 0) -> Planes:
    """A made alert: stars that are in science and template, one of them brighter in science."""
    random = np.random.default_rng(seed)
    y, x = np.indices((side, side))
    middle = (side - 1) / 2
    at = [
        (middle, middle, 800.0),
        (middle - 9, middle + 8, 2000.0),
        (middle + 10, middle - 5, 500.0),
    ]
    each = [f * np.exp(-((y - a) ** 2 + (x - b) ** 2) / 4.5) for a, b, f in at]
    stars = np.sum(each, axis=0)
    more = 200 * np.exp(-((y - middle) ** 2 + (x - middle) ** 2) / 4.5)
    science, template = (
        (image + random.normal(0, SIGMA, stars.shape)).astype(np.float32)
        for image in (100 + stars + more, stars)
    )
    return Planes(
        survey="ztf", alert_id="1", exposure="1", part=Part.TRAIN, core=core, science=science,
        template=template, difference=science - template,
        variance=np.full(stars.shape, SIGMA**2, np.float32),
    )  # fmt: skip


def canvas(*, variance: bool = True) -> Canvas:
    made = prepare(alert(), 0, False, (0, 0))
    assert made is not None
    if not variance:
        made.variance = None
    return made


BRUSHES: dict[str, tuple[str, painting.Brush]] = {
    "hit": ("CR", painting.cosmic_ray([HIT])),
    "streak": ("TRL", painting.streak),
    "glints": ("TRL", painting.glints),
    "hot column": ("HCL", painting.column("HCL")),
    "dead column": ("DCL", painting.column("DCL")),
    "dead cluster": ("DCL", painting.dead_cluster),
    "hot pixel": ("HP", painting.hot_pixel),
    "dead pixel": ("DP", painting.dead_pixel),
    "bright star": ("SP", painting.bright_star),
}


@pytest.mark.parametrize("name", BRUSHES)
def test_a_class_claims_the_pixels_that_changed(name: str) -> None:
    """What is claimed changed, and what teaches that it is not of the class did not."""
    code, brush = BRUSHES[name]
    random, painted = np.random.default_rng(5), 0
    for _ in range(60):
        before, after = canvas(variance=False), canvas(variance=False)
        if not brush(after, random) or not after.target[INDEX[code]].any():
            continue
        painted += 1
        claimed, silent = after.target[INDEX[code]], after.weight[INDEX[code]] == 0
        change = np.abs(after.science - before.science)
        assert (change[claimed] > 0.5 * before.sigma).mean() > 0.9
        light = after.target[INDEX["BBG"]] | after.target[INDEX["SAT"]]  # of a bright star
        if code != "SP":
            assert np.median(change[~claimed & ~silent & ~light]) < before.sigma
    assert painted > 20


def test_a_residual_has_no_net_flux() -> None:
    """What is added to the difference sums to nothing beside what it moves."""
    random, tried = np.random.default_rng(2), 0
    for _ in range(60):
        made = canvas()
        if not painting.residual(made, random):
            continue
        tried += 1
        assert made.difference is not None
        assert made.target[INDEX["RES"]].any()
        sizes = np.abs(made.difference[made.target[INDEX["RES"]]])
        assert sizes.max() > 3 * made.difference_sigma
    image = np.zeros((32, 32))
    image[16, 16] = 100
    moved = painting.shifted(image, np.array([0.3, -0.4]))
    assert moved.sum() == pytest.approx(100)
    assert tried > 20


def test_one_pixel_may_be_a_hit_or_a_hot_pixel() -> None:
    """Neither teaches anything about the other where it was painted."""
    random, hot, hit = np.random.default_rng(3), canvas(), canvas()
    assert painting.hot_pixel(hot, random)
    assert (hot.weight[INDEX["CR"]][hot.target[INDEX["HP"]]] == 0).all()
    assert painting.cosmic_ray([HIT])(hit, random)
    assert (hit.weight[INDEX["HP"]][hit.target[INDEX["CR"]]] == 0).all()


def test_a_hole_teaches_nothing() -> None:
    """Pixels without data have no class and no weight, and the input says where they are."""
    random = np.random.default_rng(1)
    for _ in range(20):
        made = canvas()
        if painting.hole(made, random):
            break
    empty = ~np.isfinite(made.science)
    assert empty.any()
    assert made.weight[:, empty].max() == 0
    found = stack(made.science.astype(np.float32))
    assert not isinstance(found, NotEvaluated)
    place = found.placement
    valid = found.tensor[4, place.top : place.top + place.height, place.left : place.left + 63]
    np.testing.assert_array_equal(valid == 0, empty)


def test_examples_have_one_form() -> None:
    """Every class is there, all is finite, and the same seed gives the same."""
    alerts = [alert(seed=n, core=core) for n, core in enumerate(Core)]
    chances = np.full(len(alerts), 1 / len(alerts))
    first, again = (examples(alerts, chances, brushes([HIT]), 120, 64, 7) for _ in range(2))
    assert (120, 64, 64, 5) == first.images.shape
    assert np.isfinite(first.images).all()
    np.testing.assert_array_equal(first.images, again.images)
    shown = {code for code in CLASSES if first.target[..., INDEX[code]].any()}
    assert set(CONTAMINANTS) <= shown
    assert first.real.sum() > 0
    assert first.bogus.sum() > 0
    assert first.core.sum(axis=(1, 2)).min() >= 12


def test_a_core_that_was_painted_over_is_not_called_real() -> None:
    """The weak label holds only while nothing was painted within 2 px of the alert."""
    alerts = [alert(core=Core.REAL)]
    made = examples(alerts, np.ones(1), brushes([HIT]), 150, 64, 3)
    painted = made.target[..., [INDEX[code] for code in CONTAMINANTS]].any(-1)
    touched = (painted & (made.core > 0)).any(axis=(1, 2))
    assert touched.any()
    assert made.real[touched].max() == 0
    assert made.real[~touched].max() == 1


@pytest.mark.parametrize("size", [None, 4.0, 0.0], ids=["missing", "flat", "zeros"])
def test_a_variance_that_tells_nothing_is_zero(size: float | None) -> None:
    """Whether it is missing, flat or zero."""
    made = alert(30)
    variance = None if size is None else np.full((30, 30), size, np.float32)
    found = stack(made.science, variance=variance)
    assert not isinstance(found, NotEvaluated)
    assert (5, 32, 32) == found.tensor.shape
    assert np.abs(found.tensor[3]).max() == 0


def test_a_variance_is_shown_over_that_of_the_sky() -> None:
    """A hundredfold pixel is 2, and no pixel is above 3."""
    variance = np.full((30, 30), 4.0, np.float32)
    variance[2, 3], variance[5, 5] = 400.0, 1e9
    found = stack(alert(30).science, variance=variance)
    assert not isinstance(found, NotEvaluated)
    assert found.tensor[3, 3, 4] == pytest.approx(2.0)
    assert found.tensor[3, 6, 6] == 3.0


def test_a_stamp_without_a_star_borrows_its_exposure_s() -> None:
    """Of another exposure nothing is taken, and a stamp's own star comes first."""
    with_star, sky = alert(), alert(seed=4)
    empty = np.random.default_rng(1).normal(0, SIGMA, (63, 63)).astype(np.float32)
    bare = replace(sky, science=empty, template=None, difference=None)
    elsewhere = replace(bare, exposure="2")
    _, near, far = with_profiles([with_star, bare, elsewhere])
    assert near.profile is not None
    assert near.profile.sum() == pytest.approx(1.0)
    assert far.profile is None
    random = np.random.default_rng(2)
    here, there = (prepare(each, 0, False, (0, 0)) for each in (near, far))
    assert here is not None
    assert there is not None
    assert painting.streak(here, random)
    assert not painting.streak(there, random)


@pytest.mark.parametrize("core", [Core.BOGUS, Core.DIPOLE, Core.FLAGGED])
def test_what_may_lie_anywhere_teaches_nowhere(core: Core) -> None:
    """Of such an alert only what was painted is known."""
    made = canvas()
    made.core = core
    doubt(made, made.middle)
    assert made.weight.max() == 0


def test_short_hits_are_among_those_that_are_painted() -> None:
    """A quarter is cut to one to three pixels."""
    random, sizes = np.random.default_rng(3), []
    for _ in range(80):
        made = canvas()
        if painting.cosmic_ray([100 * HIT])(made, random):
            sizes.append(int(made.target[INDEX["CR"]].sum()))
    assert 0.1 < np.mean(np.array(sizes) <= 3) < 0.5


def test_a_source_that_is_gone_is_no_hole() -> None:
    """It is in the template alone; science keeps its sky and no class is claimed."""
    random, gone = np.random.default_rng(7), 0
    for _ in range(60):
        before, after = canvas(), canvas()
        assert painting.transient(after, random)
        if (after.science != before.science).any():
            continue
        gone += 1
        assert after.template is not None
        assert after.difference is not None
        at = tuple(int(each) for each in after.middle)
        assert after.template[at] > before.template[at]  # type: ignore[index]
        assert after.difference[at] < before.difference[at]  # type: ignore[index]
        assert not after.painted
    assert gone > 3
