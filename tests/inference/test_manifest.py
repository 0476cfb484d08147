"""Manifests: the shipped ones, and what a damaged one says."""

from pathlib import Path

import numpy as np
import pytest

from streamfilter import contaminants
from streamfilter.errors import EngineUnavailable
from streamfilter.inference import fetch, manifest
from streamfilter.inference.manifest import OutputClass, Per, ShapeRule

FILES = {"engine.toml", "MODEL_CARD.md", "LICENSE", "golden.npz"}


def test_the_networks_are_shipped() -> None:
    """The names are the folders' names."""
    assert {"deepcr", "maximask", "maxitrack", "stampmask"} <= set(manifest.names())
    assert [manifest.load(name).name for name in manifest.names()] == list(manifest.names())


@pytest.mark.parametrize("name", manifest.names())
def test_an_engine_has_all_that_its_page_lists(name: str) -> None:
    """Facts, limits, licence, numbers to hold it to, and the module that builds its network."""
    lost = FILES - {path.name for path in (manifest.folder() / name).iterdir()}
    assert set() == lost, f"put these into engines/{name}; engines/README.md says what they are"
    assert name in fetch.NETWORKS, "name its module in streamfilter/inference/fetch.py, NETWORKS"


def test_maximask_agrees_with_the_class_table() -> None:
    """Its codes in the order of the outputs begin the table."""
    codes = manifest.load("maximask").codes
    assert contaminants.CODES[: len(codes)] == codes


@pytest.mark.parametrize("name", manifest.names())
def test_an_engine_for_pixels_has_classes_of_the_table_alone(name: str) -> None:
    """A code that the table lacks would have no field, no bit and no meaning."""
    found = manifest.load(name)
    if found.per is Per.PIXEL:
        assert set() == set(found.codes) - set(contaminants.CODES)


def test_maxitrack_knows_two_classes_of_equal_prior() -> None:
    """Its training set had equal numbers of both."""
    found = manifest.load("maxitrack")
    assert {"TRACKED": 0.5, "TRACKING_ERROR": 0.5} == {
        row.code: row.training_prior for row in found.classes
    }
    assert found.per is Per.TILE


def test_a_class_may_be_more_frequent_at_one_side_in_training() -> None:
    """The largest side up to a stamp's own counts; without sides, and below all, the class's."""
    row = OutputClass(code="CR", training_prior=0.1, training_priors=((32, 0.3), (64, 0.2)))
    expected = {16: 0.1, 32: 0.3, 48: 0.3, 64: 0.2, 128: 0.2}
    assert expected == {side: row.trained_at(side) for side in expected}
    assert 0.1 == OutputClass(code="CR", training_prior=0.1).trained_at(64)


def test_stampmask_s_priors_are_of_its_stamps_sides() -> None:
    """It was trained on stamps of 32 and 64 px."""
    found = manifest.load("stampmask")
    assert {(32, 64)} == {tuple(side for side, _ in row.training_priors) for row in found.classes}
    assert all(0 < prior < 1 for row in found.classes for _, prior in row.training_priors)


def test_the_licence_travels_with_every_engine() -> None:
    """The notice of the weights' authors stands in the engine's folder; MaxiMask's is MIT's."""
    assert all((manifest.folder() / name / "LICENSE").read_text() for name in manifest.names())
    for name in ("maximask", "maxitrack"):
        notice = (manifest.folder() / name / "LICENSE").read_text()
        assert "Copyright 2018 Maxime Paillassa" in notice
        assert "shall be included in all copies" in notice


def test_an_unknown_engine_is_answered_with_the_known_ones() -> None:
    """The message says what there is."""
    with pytest.raises(EngineUnavailable, match=r"'maxmask'; there are .*maximask, "):
        manifest.load("maxmask")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name = "maximask"\n', ""),
        ('per = "pixel"', 'per = "row"'),
        ("multiple_px = 16", "multiple = 16"),
        ("sides_px = [64, 96, 128]", "sides_px = [96, 64, 128]"),
        ("sides_px = [64, 96, 128]", "sides_px = [63, 96, 128]"),
        ("sides_px = [64, 96, 128]", ""),
        ('planes = ["science"]', 'planes = ["science", "sigma"]'),
        ("[release]", "[release"),
        ("[input]\n", "[inputs]\n"),
    ],
)
def test_a_damaged_manifest_is_named(tmp_path: Path, old: str, new: str) -> None:
    """A missing key, a value that cannot be, an unknown key or broken TOML names the file."""
    text = (manifest.folder() / "maximask" / "engine.toml").read_text()
    assert old in text
    damaged = tmp_path / "engine.toml"
    damaged.write_text(text.replace(old, new, 1))
    with pytest.raises(EngineUnavailable, match=str(damaged)):
        manifest.read_manifest(damaged)


@pytest.mark.parametrize(
    ("height", "width", "fits"),
    [(32, 32, True), (64, 96, True), (400, 400, True), (16, 32, False), (63, 64, False)],
)
def test_a_rule_of_multiples(height: int, width: int, fits: bool) -> None:
    """Both sides are multiples and not too small; they may differ."""
    assert ShapeRule(multiple_px=16, min_side_px=32).admits(height, width) is fits


def test_a_rule_of_one_side() -> None:
    """A network of fixed size takes that square and no other."""
    rule = ShapeRule(side_px=400)
    assert rule.admits(400, 400)
    assert not rule.admits(400, 416)


@pytest.mark.parametrize(
    "batch",
    [
        np.zeros((0, 1, 64, 64), np.float32),
        np.zeros((1, 2, 64, 64), np.float32),
        np.zeros((1, 1, 64, 63), np.float32),
        np.zeros((1, 64, 64), np.float32),
        np.zeros((1, 1, 64, 64), np.float64),
    ],
    ids=["empty", "planes", "side", "axes", "dtype"],
)
def test_a_batch_that_does_not_fit_is_refused(batch: np.ndarray) -> None:
    """The message says what the network takes and what this is."""
    with pytest.raises(EngineUnavailable, match=r"takes float32 of shape \(N, 1, H, W\)"):
        manifest.load("maximask").check(batch)
