"""Which tiles are put through the network, and when that ends."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamfilter.exposures import frames, tile_choice, tiles, tracking
from streamfilter.exposures.records import Decision, Judgement, Shapes, TileEvidence
from streamfilter.exposures.tracking import TrackingRules
from streamfilter.exposures.watcher import ExposureRules, Watcher
from streamfilter.inference.engine import Engine
from streamfilter.inference.runtimes import open_engine

RULES = TrackingRules()
ROUND = Shapes(40, 1.1, 10.0, 0.3, 3.0, 0.6)
LARGE = (2048, 4096)


def detector(stars: Sequence[int] = (30,) * 66) -> list[TileEvidence]:
    """A detector of 66 tiles with these numbers of stars, of which none was judged."""
    return [
        TileEvidence(t.y, t.x, None, n, 1.0, t.share, tracking.tile_weight(n, 1.0, t.share, RULES))
        for t, n in zip(tiles.cut(LARGE), stars, strict=True)
    ]


class Network:
    """Knows every tile's output, and keeps how many were asked at a time."""

    def __init__(self, outputs: Sequence[float]) -> None:
        self.outputs, self.asked = outputs, list[int]()

    def __call__(self, numbers: Sequence[int]) -> list[float]:
        self.asked.append(len(numbers))
        return [self.outputs[number] for number in numbers]


def judged(
    outputs: Sequence[float], enough: int = 8, shapes: Shapes | None = None
) -> tuple[Judgement, list[int]]:
    """Judges such a detector; returns how many tiles were asked at a time, too."""
    network, known = Network(outputs), shapes or Shapes(0)

    def settled(found: Sequence[TileEvidence]) -> bool:
        return tracking.settled(found, known, RULES)

    found = tile_choice.asked(detector(), network, settled, enough=enough, batch=8)
    return tracking.judge_detector(found, known, RULES), network.asked


@pytest.mark.parametrize(
    ("output", "decision"), [(0.999, Decision.TRACKING_ERROR), (0.001, Decision.OK)]
)
def test_tiles_that_agree_are_enough(output: float, decision: Decision) -> None:
    """The others are not judged, and are counted."""
    found, asked = judged([output] * 66)
    assert ([8], decision) == (asked, found.decision)
    assert (8, 0, 58) == (found.tiles_used, found.tiles_abstained, found.tiles_not_needed)


def test_all_tiles_can_be_asked_for() -> None:
    """Those that abstain too, as the MaxiTrack program does."""
    network = Network([0.9] * 66)
    stars = [0] * 6 + [30] * 60
    found = tile_choice.asked(detector(stars), network, lambda _: True, enough=0, batch=8)
    assert [66] == network.asked
    assert {0.9} == {tile.probability for tile in found}


def test_tiles_that_disagree_are_not_enough() -> None:
    """Two in five see trails: all are asked, and the decision is that of all."""
    outputs = [0.99 if number % 5 < 2 else 0.01 for number in range(66)]
    found, asked = judged(outputs)
    assert len(asked) > 1
    assert judged(outputs, enough=0)[0].decision == found.decision


def test_the_network_goes_on_until_the_decision_is_that_of_all() -> None:
    """Of 200 detectors with any share of trailed tiles, at most one in fifty is judged otherwise;
    most of them are judged by a part of their tiles."""
    rng = np.random.default_rng(5)
    other = few = 0
    for _ in range(200):
        trailed = rng.random(66) < rng.random()
        outputs = np.where(trailed, rng.uniform(0.6, 1, 66), rng.uniform(0, 0.3, 66)).tolist()
        for shapes in (Shapes(0), ROUND):
            found, asked = judged(outputs, shapes=shapes)
            other += judged(outputs, enough=0, shapes=shapes)[0].decision != found.decision
            few += sum(asked) < 40
    assert other <= 8
    assert few > 200


def test_where_the_stars_decide_alone_the_first_tiles_are_enough() -> None:
    """Whatever they say: the stars trail."""
    trailed = Shapes(40, 2.0, 10.0, 0.95, 3.0, 2.6)
    found, asked = judged([0.99 if number % 2 else 0.01 for number in range(66)], shapes=trailed)
    assert ([8], Decision.TRACKING_ERROR) == (asked, found.decision)


def test_the_first_tiles_are_those_with_stars_of_every_part() -> None:
    """Eight parts of the detector; in each the tile with the most stars, none without."""
    rng = np.random.default_rng(2)
    stars = rng.integers(0, 40, 66).tolist()
    found = detector(stars)
    first = tile_choice.by_zone(found, 8)[:8]
    parts = {(found[number].y // 1024, found[number].x // 1024) for number in first}
    assert len(parts) >= 7
    assert min(stars[number] for number in first) > float(np.mean(stars))


def test_tiles_that_abstain_are_not_asked() -> None:
    """A sky without stars costs no network."""
    network = Network([0.9] * 66)
    found = tile_choice.asked(detector([2] * 66), network, lambda _: True, enough=8, batch=8)
    judgement = tracking.judge_detector(found, Shapes(0), RULES)
    assert ([], None) == (network.asked, judgement.reference_mean)
    assert (Decision.CANNOT_TELL, 66) == (judgement.decision, judgement.tiles_abstained)


def test_a_crowded_part_does_not_take_all() -> None:
    """Of a cluster in one corner, one tile is among the first eight; the second round goes on."""
    stars = [3] * 66
    stars[0] = stars[1] = stars[11] = 300
    first = tile_choice.by_zone(detector(stars), 8)
    assert 1 == len({0, 1, 11} & set(first[:8]))
    assert sorted(range(66)) == sorted(first)


@pytest.fixture(scope="module")
def maxitrack(engine_home: Path) -> Iterator[Engine]:
    engine = open_engine("maxitrack", "onnxruntime", engine_home, os.cpu_count() or 1)
    yield engine
    engine.close()


@pytest.mark.engine
@pytest.mark.parametrize("enough", [2, RULES.tiles_enough])
def test_few_tiles_decide_on_real_frames_as_all_do(
    maxitrack: Engine, samples: Path, enough: int
) -> None:
    """Good, trailed, and nights from round to failed; tests/bench/bench_tracking.py has more."""
    folder = samples / "exposures"
    nights = [folder / "tracking" / f"AKB13475I{n}.fits.gz" for n in ("0016", "0104", "0085")]
    paths = [*(folder / "trailed").iterdir(), *nights, *(folder / "good").glob("*004*")]
    decisions = set()
    for path in paths:
        (frame,) = frames.read_frame_file(str(path))
        few, every = (
            Watcher(maxitrack, ExposureRules(tracking=replace(RULES, tiles_enough=number)))
            .judge_frame(frame)
            .evidence.judgement
            for number in (enough, 0)
        )
        assert every.decision == few.decision, path.name
        assert 0 == every.tiles_not_needed
        decisions.add(few.decision)
    assert {Decision.OK, Decision.TRACKING_ERROR} <= decisions
