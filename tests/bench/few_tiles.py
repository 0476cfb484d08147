"""Whether a few tiles of a frame decide as all of them do, and how many are asked."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from bench_exposures import SAMPLES, made_frame, sample_frames, timed_s
from bench_probability import Measured, measurement, read
from trails import Half, bases, painted
from wide_frames import wide_frames

from streamfilter.exposures import tile_choice, tracking
from streamfilter.exposures.records import Frame, Judgement, Shapes, TileEvidence
from streamfilter.exposures.tracking import TrackingRules
from streamfilter.exposures.watcher import ExposureRules, Watcher
from streamfilter.inference.cache import default_home
from streamfilter.inference.runtimes import open_engine

EVERY = replace(TrackingRules(), tiles_enough=0)
ENOUGH = (2, 4, 6, 8, 10, 12, 16, 24)
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Kind:
    """Frames of one kind, all of their tiles judged."""

    name: str
    frames: tuple[Measured, ...]


def kinds(kept: Path | None, each: int) -> list[Kind]:
    """Every sample frame, painted frames of up to four tiles, and painted ones of 32."""
    home = default_home(os.environ)
    engine = open_engine("maxitrack", "onnxruntime", home, os.cpu_count() or 1)
    watcher = Watcher(engine, ExposureRules(tracking=EVERY))
    sources = {
        "real": _real(watcher),
        "painted, small": _painted(watcher, each),
        "painted, 1,600 x 3,200": _wide(watcher),
    }
    found = [Kind(name, tuple(_kept(kept, name, some))) for name, some in sources.items()]
    engine.close()
    return found


def _kept(kept: Path | None, name: str, frames: Iterator[Measured]) -> Iterator[Measured]:
    """Yields frames; those of an earlier run that came to its end from its file."""
    if kept is None:
        yield from frames
        return
    path = kept.with_name(f"{kept.name}.{name.split()[-1]}.jsonl")
    if not path.exists():
        path.write_text("".join(json.dumps(asdict(one)) + "\n" for one in frames))
    yield from (read(json.loads(line)) for line in path.read_text().splitlines())


def _real(watcher: Watcher) -> Iterator[Measured]:
    for path, frame in sample_frames():
        if (found := measurement(watcher, frame, path.name)) is not None:
            yield found


def _painted(watcher: Watcher, each: int) -> Iterator[Measured]:
    for half in Half:
        for base in bases(SAMPLES, half):
            for one in painted(base, each):
                name = f"{base.name}, {'jump' if one.jump else 'line'} of {one.length_fwhm:.2f}"
                found = measurement(watcher, _frame(one.image), name)
                assert found is not None, name
                yield found


def _wide(watcher: Watcher) -> Iterator[Measured]:
    for name, image in wide_frames(SAMPLES):
        found = measurement(watcher, _frame(image), name)
        assert found is not None, name
        yield found


def _frame(image: npt.NDArray[np.number]) -> Frame:
    return Frame("painted", 0, "1", image.astype(np.float32))


def with_few(one: Measured, enough: int, batch: int = 8) -> tuple[TileEvidence, ...]:
    """Returns the tiles of a frame of which only as many have an output as would be asked."""
    rules = replace(TrackingRules(), tiles_enough=enough)
    known = {"doubled": one.doubled, "doubtful": one.doubtful}
    return tile_choice.asked(
        [replace(tile, probability=None) for tile in one.tiles],
        lambda numbers: [one.tiles[number].probability or 0.0 for number in numbers],
        lambda found: tracking.settled(found, one.shapes, rules, **known),
        enough=enough,
        batch=batch,
    )


def judged_with(one: Measured, tiles: Sequence[TileEvidence]) -> Judgement:
    """Returns the judgement of a frame on these tiles."""
    return replace(one, tiles=tuple(tiles)).judged(TrackingRules())


def by_network_alone(kind: Kind) -> Kind:
    """Returns the frames as if no star's shape were known, so that the network decides."""
    blind = (replace(one, shapes=Shapes(0), doubled=False) for one in kind.frames)
    return Kind(f"{kind.name}, by the network alone", tuple(blind))


def table(found: Sequence[Kind]) -> None:
    """Print for each number that is enough how many decisions differ, and how many are asked."""
    for kind in (*found, *map(by_network_alone, found)):
        print(f"\n{len(kind.frames)} frames, {kind.name}")
        print(f"{'enough':>8}{'other decisions':>17}{'tiles asked':>13}{'of':>6}{'most':>6}")
        for enough in ENOUGH:
            few = [with_few(one, enough) for one in kind.frames]
            asked = [sum(tile.probability is not None for tile in tiles) for tiles in few]
            other = [
                f"{one.base}: {mine.decision}, with all tiles {full.decision}"
                for one, tiles in zip(kind.frames, few, strict=True)
                if (mine := judged_with(one, tiles)).decision
                != (full := judged_with(one, one.tiles)).decision
            ]
            every = sum(len(one.tiles) for one in kind.frames)
            print(f"{enough:8}{len(other):17}{sum(asked):13}{every:6}{max(asked):6}")
            print("".join(f"{'':10}{line}\n" for line in other), end="")


def times() -> None:
    """Print what one frame of 2,048 x 4,096 px takes, with all tiles and with enough of them."""
    home = default_home(os.environ)
    engine = open_engine("maxitrack", "onnxruntime", home, os.cpu_count() or 1)
    frame = _frame(made_frame(2048, 4096))
    all_s: list[tuple[float, float]] = []
    few_s: list[tuple[float, float]] = []
    for _ in range(_ROUNDS):
        for rules, seconds in ((EVERY, all_s), (TrackingRules(), few_s)):
            watcher = Watcher(engine, ExposureRules(tracking=rules))
            seconds.append(timed_s(partial(watcher.judge_frame, frame)))
    engine.close()
    for name, number in (("clock", 0), ("CPU", 1)):
        every, few = (min(each[number] for each in some) for some in (all_s, few_s))
        print(f"2,048 x 4,096 px, {name}: {every:.2f} s all, {few:.2f} s few; {few / every:.3f}")
