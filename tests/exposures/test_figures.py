"""The page of exposures."""

from pathlib import Path

import numpy as np
import pytest
from constant_engine import Constant, frame
from fields import Field

from streamfilter.errors import ConfigurationInvalid
from streamfilter.exposures import figures
from streamfilter.exposures.figures import DetectorPicture, Row
from streamfilter.exposures.records import Decision, FrameReason, FrameRefused, TileEvidence
from streamfilter.exposures.tiles import SIDE_PX, cut
from streamfilter.exposures.tracking import TrackingRules
from streamfilter.exposures.watcher import ExposureRules, Watcher

pytest.importorskip("matplotlib", reason="figures need the extra 'figures'")


@pytest.fixture(scope="module")
def seen() -> DetectorPicture:
    return figures.picture_of(
        Watcher(Constant(0.9)).judge_frame(frame(Field(trail_px=9.0).image()))
    )


def test_a_page_is_drawn_and_grows_with_its_exposures(
    tmp_path: Path, seen: DetectorPicture
) -> None:
    """The page has one row per exposure; refused detectors are shown too."""
    from matplotlib.image import imread

    refused = FrameRefused("x.fits", None, FrameReason.TRUNCATED, "cut", "CCD2")
    blank = figures.picture_of(Watcher(Constant(0.9)).judge_frame(refused))
    judgement = seen.evidence.judgement
    rows = [Row("a", judgement, (seen, blank)), Row("b", blank.evidence.judgement, (blank,))]
    figures.draw(rows[:1], tmp_path / "one.png")
    figures.draw(rows, tmp_path / "two.png")
    one, two = imread(tmp_path / "one.png"), imread(tmp_path / "two.png")
    assert one.shape[0] < two.shape[0]
    assert 0.1 < float(one.std())


def test_a_thumbnail_is_small_and_keeps_the_stars(seen: DetectorPicture) -> None:
    """Thousands of detectors fit into memory; a mean would wash stars out."""
    assert seen.thumbnail is not None
    assert 320 >= max(seen.thumbnail.shape)
    assert 100 < float(seen.thumbnail.max())


def test_cut_outs_show_different_stars(seen: DetectorPicture) -> None:
    """Tiles overlap, and the same star is not shown twice."""
    first, second, third = (cut.image for cut in seen.cuts)
    assert not np.array_equal(first, second)
    assert not np.array_equal(second, third)


def test_the_worst_case_is_told_in_words(seen: DetectorPicture) -> None:
    """The decision is the headline; its reasons are below."""
    words = figures.words(Row("exposure", seen.evidence.judgement, (seen,)))
    assert Decision.TRACKING_ERROR == seen.evidence.judgement.decision
    assert "decided by: the network and the shapes of the stars" in words


def test_tiles_that_were_not_judged_are_shown_as_such(tmp_path: Path) -> None:
    """Dotted, counted in words, and without a cut-out."""
    from matplotlib.image import imread

    pages = {}
    for enough in (2, 0):
        rules = ExposureRules(tracking=TrackingRules(tiles_enough=enough))
        image = frame(Field(trail_px=9.0).image())
        picture = figures.picture_of(Watcher(Constant(0.9), rules).judge_frame(image))
        row = Row("a", picture.evidence.judgement, (picture,))
        figures.draw([row], tmp_path / f"{enough}.png")
        pages[enough] = imread(tmp_path / f"{enough}.png"), figures.words(row), picture
    assert "tiles: 2 used, 0 abstained, 7 not needed" in pages[2][1]
    assert "tiles: 9 used, 0 abstained" in pages[0][1]
    assert (2, 3) == (len(pages[2][2].cuts), len(pages[0][2].cuts))
    assert not np.array_equal(pages[2][0], pages[0][0])


@pytest.mark.parametrize("shape", [(400, 400), (600, 600), (1020, 1523), (512, 400)])
def test_the_areas_of_the_tiles_cover_the_frame_once(shape: tuple[int, int]) -> None:
    """Tiles overlap; the areas that are drawn do not, and each lies within its tile."""
    tiles = [TileEvidence(each.y, each.x, 0.5, 9, 1.0, each.share, 1.0) for each in cut(shape)]
    covered = np.zeros(shape)
    for tile, (x, y, width, height) in zip(tiles, figures.areas(tiles, shape), strict=True):
        covered[round(y) : round(y + height), round(x) : round(x + width)] += 1
        assert tile.x <= x < x + width <= tile.x + SIDE_PX
        assert tile.y <= y < y + height <= tile.y + SIDE_PX
    assert {1.0} == set(np.unique(covered))


def test_nothing_to_draw_and_nowhere_to_write_are_told(
    tmp_path: Path, seen: DetectorPicture
) -> None:
    """The errors are messages, not tracebacks."""
    row = Row("a", seen.evidence.judgement, (seen,))
    with pytest.raises(ConfigurationInvalid, match="no exposure"):
        figures.draw([], tmp_path / "x.png")
    with pytest.raises(ConfigurationInvalid, match="cannot be written"):
        figures.draw([row], tmp_path / "none" / "x.png")
