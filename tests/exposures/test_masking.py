"""Masks of whole frames."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fields import Field
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfilter.contaminants import BY_CODE
from streamfilter.exposures.masking import (
    Masker,
    MaskRules,
    computed_pixels,
    of_reach,
    searchable,
    spans,
    swept,
)
from streamfilter.exposures.sky import Mesh, normalise
from streamfilter.inference.engine import Engine, Tensor
from streamfilter.inference.manifest import Manifest, load
from streamfilter.inference.runtimes import open_engine
from streamfilter.records import Image

SMALL = MaskRules(tile_px=96, margin_px=32)
CODES = load("maximask").codes


class Echo:
    """An engine whose every class gives the science pixel back; it takes what a network takes."""

    def __init__(self, name: str = "maximask", times: float = 1.0) -> None:
        self.manifest: Manifest = load(name)
        self.batches: list[Tensor] = []
        self._times = np.float32(times)

    @property
    def runtime(self) -> str:
        return "echo"

    def warm_up(self, shapes: tuple[tuple[int, int, int, int], ...]) -> None:
        return

    def infer(self, batch: Tensor) -> Tensor:
        assert self.manifest.shape.admits(*batch.shape[2:])
        self.batches.append(batch)
        return np.repeat(self._times * batch[:, :1], len(self.manifest.codes), axis=1)

    def close(self) -> None:
        return


@pytest.fixture(scope="module")
def maximask(engine_home: Path) -> Iterator[Engine]:
    engine = open_engine("maximask", "onnxruntime", engine_home, os.cpu_count() or 1)
    yield engine
    engine.close()


def sky(field: Field) -> Image:
    found = normalise(field.image())
    assert isinstance(found, tuple)
    return found[0]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 330), st.integers(1, 330), st.sampled_from(["maximask", "deepcr"]))
def test_every_pixel_comes_from_its_own_place_once(height: int, width: int, name: str) -> None:
    """For any size, tiles, margins, mirrored edges and padding leave no seam."""
    image = np.random.default_rng(1).random((height, width), np.float32)
    found, count = np.zeros_like(image), np.zeros(image.shape, int)
    for where, raw in swept(Echo(name), image, SMALL):
        found[where], count[where] = raw[0], count[where] + 1
    np.testing.assert_array_equal(image, found)
    assert (1, 1) == (count.min(), count.max())


@given(st.integers(1, 60))
def test_kept_pixels_are_a_margin_away_from_inner_edges(blocks: int) -> None:
    """Tiles start on the network's grid."""
    for span in spans(32 * blocks, SMALL):
        assert 0 == span.start % 32
        assert span.kept_from in (0, *range(span.start + 32, span.stop))
        assert span.kept_to == 32 * blocks or span.kept_to <= span.stop - 32


@given(st.integers(29, 200))
def test_tiles_are_few_and_as_short_as_the_grid_allows(blocks: int) -> None:
    """A frame of 1,024 px has two tiles of 672 px a side, not of 896: less is computed twice."""
    rules, length = MaskRules(), 32 * blocks
    found = spans(length, rules)
    (side,) = {each.stop - each.start for each in found}
    kept, margins = rules.tile_px - 2 * rules.margin_px, 2 * rules.margin_px
    assert -(-(length - margins) // kept) == len(found)
    assert side <= rules.tile_px
    assert (side - 32 - margins) * len(found) + margins < length
    assert (0, length) == (found[0].start, found[-1].stop)


def test_bits_are_those_of_the_class_table() -> None:
    """A class has its bit where its updated probability is over the threshold; sky has no bit."""
    priors = {row.code: row.training_prior for row in load("maximask").classes}
    thresholds = dict.fromkeys(CODES, 0.9) | {"CR": 0.2, "OV": 0.5, "BG": 0.1}
    image = np.full((64, 64), 0.1, np.float32)
    image[0, 0], image[0, 1], image[0, 2] = 0.3, 0.6, 0.95
    found = Masker(Echo(), MaskRules(priors=priors, thresholds=thresholds)).mask(image)
    every = sum(BY_CODE[code].bit for code in CODES)
    assert [1, 1 + 2048, every, 0] == found.bits[0, :4].tolist()
    assert 3 / 64**2 == found.areas["CR"]


def test_masks_tell_the_chosen_classes_alone() -> None:
    """In the order of the table; areas are measured of all."""
    rules = MaskRules(classes=("OV", "CR"), thresholds=dict.fromkeys(CODES, 1e-4))
    image = np.full((64, 64), 0.9, np.float32)
    found = Masker(Echo(), rules).mask(image)
    assert 1 + 2048 == int(found.bits[0, 0])
    assert (14, {1.0}) == (len(found.areas), set(found.areas.values()))
    assert (2, 64, 64) == Masker(Echo(), rules).probabilities(image).shape
    with pytest.raises(ValueError, match="no class XX; it has CR, "):
        Masker(Echo(), MaskRules(classes=("XX",)))


def test_progress_counts_every_pixel_once() -> None:
    """Whatever the tiles."""
    counts: list[int] = []
    Masker(Echo(), SMALL).mask(np.zeros((200, 300), np.float32), counts.append)
    assert 200 * 300 == sum(counts)
    assert 1 < len(counts)


def test_probabilities_have_the_prior_changed() -> None:
    """A cosmic ray's output of 0.9 is 0.31 where they are twenty times rarer than in training."""
    found = Masker(Echo()).probabilities(np.full((64, 64), 0.9, np.float32))
    assert (14, 64, 64) == found.shape
    assert 0.308 == pytest.approx(float(found[0, 0, 0]), abs=2e-3)


def test_another_network_decides_about_cosmic_rays_alone() -> None:
    """Its own training prior holds for them; areas are of all classes, in the first's order."""
    image = np.full((64, 64), 0.9, np.float32)
    training = {row.code: row.training_prior for row in load("maximask").classes}
    priors = training | {"CR": load("deepcr").classes[0].training_prior}
    rules = MaskRules(priors=priors, thresholds=dict.fromkeys(CODES, 0.5))
    found = Masker(Echo(), rules, Echo("deepcr", times=0.5)).mask(image)
    every = sum(BY_CODE[code].bit for code in CODES)
    assert {every - BY_CODE["CR"].bit} == set(np.unique(found.bits).tolist())
    assert list(CODES) == list(found.areas)
    assert (0.0, 1.0) == (found.areas["CR"], found.areas["TRL"])
    planes = Masker(Echo(), rules, Echo("deepcr", times=0.5)).probabilities(image)
    assert (0.45, 0.9) == pytest.approx((float(planes[0, 0, 0]), float(planes[1, 0, 0])), abs=1e-6)


@pytest.mark.parametrize(
    ("code", "all_areas", "asked", "areas"),
    [("CR", False, (0, 1), 1), ("TRL", False, (1, 0), 13), ("CR", True, (1, 1), 14)],
)
def test_a_network_is_asked_where_its_classes_are_told(
    code: str, all_areas: bool, asked: tuple[int, int], areas: int
) -> None:
    """Or where areas of all classes are wanted."""
    others, finder = Echo(), Echo("deepcr")
    masker = Masker(others, MaskRules(classes=(code,)), finder, all_areas=all_areas)
    found = masker.mask(np.zeros((64, 64), np.float32))
    assert asked == (len(others.batches), len(finder.batches))
    assert areas == len(found.areas)


def test_a_network_of_several_planes_gets_the_science_image_alone() -> None:
    """The planes that only alerts have are 0, every pixel has data, and edges are mirrored."""
    image = np.random.default_rng(2).random((64, 96), np.float32)
    network = Echo("stampmask")
    next(swept(network, image, MaskRules()))
    (batch,) = network.batches
    np.testing.assert_array_equal(np.pad(image, 32, "reflect"), batch[0, 0])
    assert (0.0, 1.0) == (np.abs(batch[0, 1:4]).max(), batch[0, 4].min())


def test_margins_are_as_wide_as_a_network_reaches() -> None:
    """In steps of the grid; the rules' own where it was not measured."""
    assert 32 == of_reach(MaskRules(), load("deepcr")).margin_px
    assert 32 == of_reach(MaskRules(), load("stampmask")).margin_px
    assert 160 == of_reach(MaskRules(), load("maximask")).margin_px
    sides = [of_reach(MaskRules(), load(name)).tile_px for name in ("deepcr", "maximask")]
    assert [384, 896] == sides


@given(st.integers(1, 330), st.integers(1, 330), st.sampled_from(["maximask", "deepcr"]))
def test_the_pixels_that_a_network_computes_are_counted(height: int, width: int, name: str) -> None:
    """They are those of the tiles that it is asked about, margins and all."""
    network, rules = Echo(name), MaskRules(tile_px=96, margin_px=32)
    for _ in swept(network, np.zeros((height, width), np.float32), of_reach(rules, load(name))):
        pass
    asked = sum(batch.shape[-2] * batch.shape[-1] for batch in network.batches)
    assert asked == computed_pixels(height, width, load(name), rules)


@pytest.mark.engine
@pytest.mark.parametrize("name", ["deepcr", "stampmask"])
def test_tiles_of_a_finder_are_the_frame_in_one_piece(name: str, engine_home: Path) -> None:
    """Its reach is no larger than the manifest says: not one pixel differs."""
    engine = open_engine(name, "onnxruntime", engine_home, 1)
    image = sky(Field(height=224, width=416, stars=40, cosmic_rays=20))
    rules = of_reach(MaskRules(tile_px=224, margin_px=64), engine.manifest)
    uncut = replace(of_reach(MaskRules(), engine.manifest), tile_px=MaskRules().tile_px)
    whole = next(swept(engine, image, uncut))[1][0]
    pieces = np.empty_like(whole)
    for where, raw in swept(engine, image, rules):
        pieces[where] = raw[0]
    np.testing.assert_allclose(whole, pieces, atol=2e-6)
    assert 0.9 < whole.max()


@pytest.mark.engine
def test_tiles_are_the_frame_in_one_piece(maximask: Engine) -> None:
    """All logits agree within 0.03."""
    image = sky(Field(height=320, width=640, stars=60, cosmic_rays=20))
    whole = next(swept(maximask, image, MaskRules()))[1]
    pieces = np.empty_like(whole)
    for where, raw in swept(maximask, image, MaskRules(tile_px=480)):
        pieces[(slice(None), *where)] = raw
    logits = [np.log(p / (1 - p)) for p in (np.clip(q, 1e-6, 1 - 1e-6) for q in (whole, pieces))]
    assert 0.03 > np.abs(logits[0] - logits[1]).max()


@pytest.mark.engine
def test_cosmic_rays_are_masked_and_stars_are_not(maximask: Engine) -> None:
    """A hit on three pixels has the cosmic ray's bit."""
    image = Field(height=320, width=320, stars=20).image()
    image[100, 200:203] += 3000
    found = normalise(image)
    assert isinstance(found, tuple)
    bits = Masker(maximask).mask(found[0]).bits
    assert BY_CODE["CR"].bit == int(bits[100, 201]) & BY_CODE["CR"].bit
    assert 60 > np.count_nonzero(bits & BY_CODE["CR"].bit)


@pytest.mark.engine
def test_digits_and_edges_without_data_are_no_cosmic_rays(engine_home: Path) -> None:
    """Noise of a quarter of a digital step, and a block of NaN: the hits alone are found."""
    engine = open_engine("deepcr", "onnxruntime", engine_home, 1)
    image = np.rint(np.random.default_rng(3).normal(100, 0.26, (256, 256))).astype(np.float32)
    image[40:44, 60], image[90:120] = 130, np.nan
    found = searchable(image, Mesh())
    assert isinstance(found, np.ndarray)
    rules = MaskRules(priors={"CR": 0.004}, thresholds={"CR": 0.28})
    bits = Masker(engine, rules).mask(found).bits
    assert bits[40:44, 60].all()
    assert 12 > np.count_nonzero(bits)


@pytest.mark.engine
def test_a_large_frame_is_searched_in_bounded_memory(engine_home: Path) -> None:
    """The frame has 4,096 x 4,096 px; all tiles need the same memory, so two are enough here."""
    script = f"""
from pathlib import Path
import numpy as np
from streamfilter.config import FrameContaminants
from streamfilter.exposures.records import Frame
from streamfilter.exposures.watcher import Watcher
from streamfilter.inference.runtimes import open_engine
from streamfilter.exposures.masking import MaskRules, of_reach, swept

home, content = Path({str(engine_home)!r}), bytes(40 * 2**20)
image = np.random.default_rng(5).normal(1000, 10, (4096, 4096)).astype(np.float32)
watcher = Watcher(open_engine("maxitrack", "onnxruntime", home, 2))
engines = [open_engine(name, "onnxruntime", home, 2) for name in ("deepcr", "maximask")]
frame = Frame("made", 0, "1", image)
image = watcher.judge_frame(frame).image
rules = MaskRules(tile_px=FrameContaminants().tile_px)
bits = np.ones(image.shape, np.int16)
for engine in engines:
    tiles = swept(engine, image, of_reach(rules, engine.manifest))
    next(tiles), next(tiles)
(line,) = (x for x in open("/proc/self/status") if x.startswith("VmHWM"))
print(int(line.split()[1]) / 1000)
"""
    told = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert 1500 > float(told.stdout)


@pytest.mark.parametrize(("tile", "margin"), [(700, 96), (768, 90), (320, 160)])
def test_rules_that_cut_no_frame_are_refused(tile: int, margin: int) -> None:
    """Their tiles are off the grid, or nothing but margin."""
    with pytest.raises(ValueError, match="tile_px"):
        MaskRules(tile_px=tile, margin_px=margin)
