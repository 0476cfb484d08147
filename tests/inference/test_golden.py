"""Engines against the numbers of the program that they come from."""

from pathlib import Path

import numpy as np
import pytest

from streamfilter.errors import EngineUnavailable
from streamfilter.inference import golden, manifest
from streamfilter.inference.manifest import Precision, Tolerance
from streamfilter.inference.runtimes import open_engine


@pytest.mark.engine
@pytest.mark.parametrize("name", manifest.names())
def test_probabilities_are_the_golden_ones(name: str, engine_home: Path) -> None:
    """Within 1e-5, at every kept pixel and in the mean of every class."""
    assert golden.TOLERANCE == 1e-5
    engine = open_engine(name, "onnxruntime", engine_home, 1)
    assert golden.largest_difference(engine) <= golden.TOLERANCE


@pytest.mark.parametrize("name", manifest.names())
def test_the_frames_are_those_of_the_golden_numbers(name: str) -> None:
    """The generator gives the same bits here."""
    found = golden.load(golden.path(name))
    facts = manifest.load(name)
    batch = golden.frames(golden.FRAMES[facts.per], len(facts.planes))
    assert found.frames_sha256 == golden.sha256(batch)


def test_the_golden_numbers_say_something() -> None:
    """Contaminants are present, MaxiTrack is sure and unsure, and the files are small."""
    pixels = golden.load(golden.path("maximask")).values
    codes = manifest.load("maximask").codes
    assert all(pixels[..., codes.index(code)].max() > 0.9 for code in ("CR", "HCL", "BBG", "BG"))
    errors = golden.load(golden.path("maxitrack")).values[:, 1]
    assert errors.min() < 0.01
    assert errors.max() > 0.99
    assert any((errors > 0.2) & (errors < 0.8))
    sizes = [golden.path(name).stat().st_size for name in manifest.names()]
    assert sum(sizes) < 150_000 * len(sizes)


def test_a_damaged_golden_file_is_named(tmp_path: Path) -> None:
    """A truncated file is an EngineUnavailable, not a traceback."""
    raw = golden.path("maxitrack").read_bytes()
    for length in (0, 10, len(raw) // 2, len(raw) - 30):
        damaged = tmp_path / "golden.npz"
        damaged.write_bytes(raw[:length])
        with pytest.raises(EngineUnavailable, match=str(damaged)):
            golden.load(damaged)


def test_golden_numbers_survive_the_file(tmp_path: Path) -> None:
    """What is kept of probabilities comes back from disk."""
    batch = golden.frames(1)
    kept = golden.golden_of(np.stack([batch[:, 0], -batch[:, 0]], axis=1), batch)
    golden.save(kept, tmp_path / "golden.npz")
    found = golden.load(tmp_path / "golden.npz")
    np.testing.assert_array_equal(kept.values, found.values)
    assert batch[0, 0, kept.rows[9], kept.columns[9]] == found.values[0, 9, 0]
    assert kept.frames_sha256 == found.frames_sha256


@pytest.mark.parametrize(("largest", "mean"), [(2e-5, 0.0), (0.0, 2e-6), (float("nan"), 0.0)])
def test_a_difference_beyond_the_tolerance_is_not_within(largest: float, mean: float) -> None:
    """Either figure is enough, and so is one that is no number."""
    allowed = Tolerance(precision=Precision.FLOAT32, largest=1e-5, mean=1e-6)
    assert golden.Difference(1e-5, 1e-6).within(allowed)
    assert not golden.Difference(largest, mean).within(allowed)
