"""Simulated detectors: what their stars look like."""

import math

import numpy as np
import pytest

from streamfilter.exposures import frames, shapes, sky
from streamfilter.exposures.records import Frame, FrameReason, Shapes
from streamfilter.simulate.frames import Exposure, readout


def frame(drift_px: float, number: int = 0) -> Frame:
    exposure = Exposure("e1", 2, 500, drift_px, 0.6)
    (found,) = frames.read_frames(readout(exposure, 1)[number], "e1", frames.FrameRules(), None)
    assert isinstance(found, Frame)
    return found


def measured(found: Frame) -> Shapes:
    normalised = sky.normalise(found.image, None, sky.Mesh())
    assert not isinstance(normalised, FrameReason)
    return shapes.measure(shapes.find(normalised[0], None, None))


def test_a_drift_shows_in_every_star() -> None:
    """Trails have the simulated length and direction; without drift, stars are round."""
    still, drifted = measured(frame(0.0)), measured(frame(12.0))
    assert still.elongation is not None
    assert still.elongation < 1.15
    assert drifted.elongation is not None
    assert drifted.elongation > 2.5
    assert math.degrees(0.6) == pytest.approx(drifted.position_angle_deg, abs=3)
    assert drifted.coherence is not None
    assert drifted.coherence > 0.95


def test_a_seed_gives_the_same_pixels_again_and_detectors_differ() -> None:
    """So the figure drawn later shows the judged pixels."""
    assert np.array_equal(frame(0.0).image, frame(0.0).image)
    assert not np.array_equal(frame(0.0).image, frame(0.0, 1).image)
