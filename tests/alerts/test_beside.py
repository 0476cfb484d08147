"""What a network of several planes is given, and what is said where a plane is missing."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from factories import make_alert
from memory_worker import SimulatedPipeline, packets
from several_planes import MANIFEST, SeveralPlanes, in_sigmas, noise, padded, stamps

from streamfilter.alerts.pipeline import Pipeline
from streamfilter.inference.engine import Tensor
from streamfilter.inference.manifest import InputPlane
from streamfilter.records import (
    Alert,
    Annotation,
    Message,
    NotEvaluated,
    Origin,
    Plane,
    Rejected,
    Stamp,
    Times,
)

ALL = tuple(InputPlane)
PIPELINE = SimulatedPipeline(network=MANIFEST)


def judged(
    given: Mapping[Plane, Stamp], pipeline: Pipeline = PIPELINE
) -> tuple[Annotation, dict[str, Tensor]]:
    """The annotation of an alert with these stamps, and the planes that the network was given."""
    return of_alert(make_alert(stamps=given), pipeline)


def of_alert(alert: Alert, pipeline: Pipeline = PIPELINE) -> tuple[Annotation, dict[str, Tensor]]:
    engine, prepared = SeveralPlanes(), pipeline.prepare(alert)
    found = pipeline.evaluate(engine, prepared.items) if prepared.items else []
    evidence = [*found, *(each for each in prepared.evidence if each is not None)]
    seen = dict(zip(ALL, engine.batches[0][0], strict=True)) if engine.batches else {}
    return pipeline.conclude(alert, evidence, Times(0.0, 0.0, 0.0, 0.0)), seen


def test_one_item_holds_all_planes_of_an_alert() -> None:
    """Each is in units of its own noise, reflected to the smallest side that the engine takes."""
    given = stamps()
    annotation, seen = judged(given)
    for plane in Plane:
        assert np.array_equal(padded(in_sigmas(given[plane])), seen[plane])
    expected = np.zeros((30, 30), np.float32)
    expected[0, 0] = 2.0  # a hundred times the sky's variance
    np.testing.assert_allclose(padded(expected), seen["variance"], atol=1e-6)
    assert np.array_equal(np.ones((32, 32)), seen["valid"])
    assert ALL == annotation.planes
    assert [Plane.SCIENCE] == [stamp.plane for stamp in annotation.stamps]


def test_a_packet_is_judged_by_what_is_read_of_it() -> None:
    """Of LSST's extensions that is the science stamp's variance: all others change nothing."""
    for value in packets(8):
        read = PIPELINE.decode(Message(Origin("alerts", 0, 0), value))
        assert isinstance(read, Alert)
        whole = PIPELINE.with_all_stamps(read)
        assert of_alert(whole)[0].stamps == of_alert(read)[0].stamps
        assert whole.stamps.keys() == read.stamps.keys() == set(Plane)
        for plane, stamp in read.stamps.items():
            has_variance = plane is Plane.SCIENCE and read.survey == "lsst"
            assert (has_variance, None) == (stamp.variance is not None, stamp.psf)
            assert (read.survey == "lsst") == (whole.stamps[plane].psf is not None)


def test_the_evidence_is_of_the_science_stamp_with_the_engine_s_own_classes() -> None:
    """A residual in the difference is found, and the class's own rule flags it."""
    given = stamps()
    given[Plane.DIFFERENCE].image[15, 15] += 500
    annotation, _ = judged(given)
    (stamp,) = annotation.stamps
    assert MANIFEST.codes == tuple(stamp.classes)
    assert (1.0, 1) == (stamp.classes["RES"].core, stamp.classes["RES"].pixels)
    assert ("RES", "subtraction-residual") == (
        annotation.verdict.contaminant,
        annotation.verdict.rule,
    )


@pytest.mark.parametrize("plane", [Plane.TEMPLATE, Plane.DIFFERENCE])
def test_without_a_plane_an_alert_is_judged_by_the_others(plane: Plane) -> None:
    """The plane is zero for the network, and the annotation says that it was missing."""
    given = {key: stamp for key, stamp in stamps().items() if key is not plane}
    annotation, seen = judged(given)
    assert not seen[plane].any()
    assert tuple(name for name in ALL if name != str(plane)) == annotation.planes
    assert (None, NotEvaluated.STAMP_MISSING) == tuple(
        stamp.not_evaluated for stamp in annotation.stamps
    )
    assert plane is annotation.stamps[1].plane


def test_the_science_stamp_alone_is_enough() -> None:
    """Without a variance too."""
    annotation, seen = judged({Plane.SCIENCE: Stamp(noise())})
    assert ("science", "valid") == annotation.planes
    assert not any(seen[name].any() for name in ("template", "difference", "variance"))


def test_without_a_science_stamp_an_alert_is_not_evaluated() -> None:
    """Evidence and rules are of that stamp."""
    annotation, seen = judged({key: s for key, s in stamps().items() if key != "science"})
    assert ("not_evaluated", (), {}) == (annotation.verdict.label, annotation.planes, seen)


@pytest.mark.parametrize(
    ("side", "why"),
    [(29, NotEvaluated.STAMP_TOO_SMALL), (31, NotEvaluated.STAMP_TOO_LARGE)],
)
def test_a_plane_of_another_shape_is_left_out_and_named(side: int, why: NotEvaluated) -> None:
    """Its pixels are of other places than the science stamp's."""
    annotation, seen = judged({**stamps(), Plane.TEMPLATE: Stamp(noise(side))})
    assert not seen["template"].any()
    assert seen["difference"].any()
    assert ("science", "difference", "variance", "valid") == annotation.planes
    named = annotation.stamps[1]
    assert (Plane.TEMPLATE, why) == (named.plane, named.not_evaluated)
    assert f"{side}x{side} px, and the science stamp has 30x30 px" == named.detail


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_a_variance_of_nothing_is_a_missing_plane(value: float) -> None:
    """The science stamp's noise is then its own deviation."""
    given = stamps()
    image = given[Plane.SCIENCE].image
    bad = Stamp(image, np.full_like(image, value))
    annotation, seen = judged({**given, Plane.SCIENCE: bad})
    assert not seen["variance"].any()
    assert np.array_equal(padded(in_sigmas(Stamp(image))), seen["science"])
    assert "variance" not in annotation.planes


def test_a_variance_of_another_shape_is_a_missing_plane() -> None:
    """As for the other planes."""
    given = stamps()
    bad = replace(given[Plane.SCIENCE], variance=np.ones((29, 30), np.float32))
    annotation, seen = judged({**given, Plane.SCIENCE: bad})
    assert ("science", "template", "difference", "valid") == annotation.planes
    assert not seen["variance"].any()


def test_extremes_of_a_variance_are_clipped() -> None:
    """Three powers of ten on both sides of the sky, and 0 where a pixel has none."""
    given = stamps()
    variance = np.full((30, 30), 25.0, np.float32)
    variance[0, :4] = (1e38, 1e-38, 0.0, np.nan)
    bad = replace(given[Plane.SCIENCE], variance=variance)
    _, seen = judged({**given, Plane.SCIENCE: bad})
    assert [3.0, -3.0, 0.0, 0.0] == seen["variance"][1, 1:5].tolist()


@pytest.mark.parametrize("plane", list(Plane))
def test_pixels_without_data_are_zero_in_their_own_plane(plane: Plane) -> None:
    """Only those of the science stamp are marked, and the annotation says how near they are."""
    given = stamps()
    given[plane].image[:10] = np.nan
    annotation, seen = judged(given)
    assert not seen[plane][1:11].any()
    assert np.isfinite(np.stack(list(seen.values()))).all()
    assert ALL == annotation.planes
    science = annotation.stamps[0]
    whole = plane is not Plane.SCIENCE
    assert (None if whole else pytest.approx(np.hypot(5.5, 0.5))) == science.no_data_distance_px
    assert (0 if whole else 300) == science.filled_px
    assert (1.0 if whole else 0.0) == seen["valid"][5].max()


@pytest.mark.parametrize(("half", "label"), [(4, "clean"), (2, "not_evaluated")])
def test_a_stamp_that_is_all_hole_but_its_core(half: int, label: str) -> None:
    """It is judged where enough is left for a background (64 px), and else says why it is not."""
    given = stamps()
    hole = np.ones((30, 30), bool)
    hole[15 - half : 15 + half, 15 - half : 15 + half] = False
    given[Plane.SCIENCE].image[hole] = np.nan
    annotation, seen = judged(given)
    assert label == annotation.verdict.label
    if label == "clean":
        assert 64 == seen["valid"][1:31, 1:31].sum()
    else:
        assert NotEvaluated.NO_DATA is annotation.stamps[0].not_evaluated


def test_a_plane_without_variation_is_left_out_and_named() -> None:
    """Zeros, as some surveys send where they have no template."""
    annotation, _ = judged({**stamps(), Plane.TEMPLATE: Stamp(np.zeros((30, 30), np.float32))})
    assert NotEvaluated.NO_VARIATION is annotation.stamps[1].not_evaluated
    assert "template" not in annotation.planes


def test_a_damaged_difference_costs_the_difference_alone() -> None:
    """A gzip stream that breaks off in the middle, in a packet of ZTF's form."""
    value = next(each for each in packets(40) if each.startswith(b"Obj\x01"))
    third = [at for at in range(len(value)) if value.startswith(b"\x1f\x8b\x08", at)][2]
    damaged = value[: third + 200] + bytes(100) + value[third + 300 :]
    whole, broken = (PIPELINE.decode(Message(Origin("t", 0, 0), each)) for each in (value, damaged))
    assert not isinstance(whole, Rejected)
    assert not isinstance(broken, Rejected)
    assert ("science", "template", "difference", "valid") == of_alert(whole)[0].planes
    annotation, seen = of_alert(broken)
    assert ("science", "template", "valid") == annotation.planes
    assert not seen["difference"].any()
    assert Plane.DIFFERENCE is annotation.stamps[1].plane
    assert annotation.stamps[1].detail


def test_stamps_of_several_sides_and_planes_share_batches_by_side() -> None:
    """A plane that one alert lacks is not filled with another alert's."""
    engine = SeveralPlanes()
    alone = {Plane.SCIENCE: Stamp(noise(30, 7))}
    items = [
        item
        for given in (stamps(), alone, stamps())
        for item in PIPELINE.prepare(make_alert(stamps=given)).items
    ]
    assert [32, 32, 32] == [item.side for item in items]
    PIPELINE.evaluate(engine, items)
    (batch,) = engine.batches
    assert [True, False, True] == [bool(channels[1].any()) for channels in batch]
    assert [64, 128] == [
        PIPELINE.prepare(make_alert(stamps=stamps(side))).items[0].side for side in (63, 128)
    ]
