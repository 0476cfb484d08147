"""Frames whose cosmic rays are known: real ones by several epochs, and painted ones.

``frame_events.csv`` lists the events of 24 frames of one field, taken on many nights. Each frame
was compared with the others, registered to it and scaled: a pixel belongs to an event where it
exceeds their median by 3.5 times the larger of their scatter and the photon noise, and the event's
brightest pixel by 6. Each was looked at beside that median, and what was a residual of a star's
wing was left out. ``doubtful``, ``faint`` (4.5 to 6 sigma) and ``hot`` (the same pixel on many
nights) count for nothing, whether they are found or not; so do saturated stars and what lies
outside ``judged``, where too few frames overlap. Coordinates are x,y from 0.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamfilter.exposures.frames import read_frame_file
from streamfilter.exposures.records import Frame
from streamfilter.exposures.sky import normalise
from streamfilter.records import Image
from training.canvas import grown

EVENTS = Path(__file__).with_name("frame_events.csv")
WIDTHS_PX = (1.3, 2.0, 2.5, 4.0, 6.0)
"""FWHM of stars on painted frames."""
STRENGTHS = (5.0, 10.0, 30.0, 300.0)
"""Bounds of a hit's brightest pixel, in sigma of the sky."""
_SATURATED = 55_000.0
_BLOOM_PX = 10
_HIT_PX = 1_200
"""One hit is painted for so many pixels."""
_SKY_ELECTRONS = 10.0
"""Per sigma; that few make the noise of stars larger than any camera's here."""
_RMS = 2.3548

Masks = npt.NDArray[np.bool_]
Reals = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.intp]
"""(N, 2): row and column of each pixel of an event."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scene:
    """A frame, and what is known of it."""

    name: str
    image: Image
    """In units of sigma."""
    electrons: Image
    """The same with its sky, as programs for raw frames take it."""
    read_noise: float
    """Electrons."""
    events: tuple[Pixels, ...]
    strengths: tuple[float, ...]
    """Of each event, its brightest pixel in sigma."""
    ignored: Masks
    """Pixels where what is found is neither right nor wrong."""
    width_px: float = 0.0
    """FWHM of its stars, of painted frames."""
    bright: Masks | None = None
    """Pixels of events that stand above the noise of what is below them; painted frames."""

    @property
    def clean(self) -> Masks:
        """Pixels that are no event and not beside one."""
        hit = np.zeros(self.image.shape, bool)
        for event in self.events:
            hit[tuple(event.T)] = True
        return ~(grown(hit, 2) | self.ignored)


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """A real frame to paint on."""

    path: str
    """Below the samples' ``exposures``."""
    camera: str
    width_px: float
    """FWHM of its stars, along their minor axis."""
    window: tuple[slice, slice] = (slice(None), slice(None))
    trails: str = ""
    """A mask of satellites' trails, which count for nothing."""
    seeds: tuple[int, ...] = field(default=(0,))


TEST_BASES = (
    Base(path="good/apogee_eso085-030-005.fit.gz", camera="Apogee", width_px=2.7,
         window=np.s_[:, :512]),
    Base(path="good/apogee_eso085-030-004.fit.gz", camera="Apogee", width_px=2.7,
         window=np.s_[:, 512:]),
    Base(path="good/mro2m4_didymos.fits.gz", camera="MRO 2.4 m", width_px=4.8, seeds=(0, 1)),
    Base(path="good/decam_OBS04a_256.fits.gz", camera="DECam", width_px=5.3, seeds=(0, 1, 2, 3)),
    Base(path="tracking/AKB13475I0047.fits.gz", camera="SAAO STE3", width_px=4.4),
    Base(path="tracking/AKB13475I0007.fits.gz", camera="SAAO STE3", width_px=4.4),
)  # fmt: skip
FIT_BASES = (
    Base(path="trails/cutout_HSCA21787010.fits.gz", camera="HSC", width_px=4.0,
         trails="trails/cutout_HSCA21787010_trailmask.fits.gz"),
    Base(path="trails/cutout_m20211212UT_image0110.new.fits.gz", camera="VATT", width_px=4.2,
         trails="trails/cutout_m20211212UT_image0110.new_trailmask.fits.gz"),
    Base(path="good/saao1m_ste3_raw.fits.gz", camera="SAAO STE3, raw", width_px=6.0),
    Base(path="trailed/lco0m4_banzai_trailed.fits.fz", camera="LCO 0.4 m", width_px=2.0,
         window=np.s_[:700, :700]),
)  # fmt: skip


def read(folder: Path, path: str) -> Frame:
    """The first frame of a file below ``exposures``."""
    frame = next(iter(read_frame_file(str(folder / "exposures" / path))))
    assert isinstance(frame, Frame), frame
    return frame


# ---- real events ----------------------------------------------------------------------------


def real_scenes(folder: Path) -> Iterator[Scene]:
    """The frames of the table, each with its events."""
    rows: dict[str, list[dict[str, str]]] = {}
    with EVENTS.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            rows.setdefault(row["frame"], []).append(row)
    for name, known in rows.items():
        frame = read(folder, f"tracking/{name}")
        header = frame.headers[0]
        gain, noise = float(header["GAIN"]), float(header["RDNOISE"])
        found = normalise(frame.image, frame.masked)
        assert isinstance(found, tuple), found
        events = [row for row in known if row["kind"] == "event"]
        yield Scene(
            name=name, image=found[0], electrons=frame.image * np.float32(gain), read_noise=noise,
            events=tuple(_pixels(row) for row in events),
            strengths=tuple(float(row["sigma"]) for row in events),
            ignored=_ignored(frame.image, known),
        )  # fmt: skip


def _pixels(row: dict[str, str]) -> Pixels:
    return np.array([[int(n) for n in pair.split(",")][::-1] for pair in row["pixels"].split()])


def _ignored(image: Image, known: Sequence[dict[str, str]]) -> Masks:
    """What counts for nothing."""
    ignored: Masks = grown(image > _SATURATED, _BLOOM_PX)
    for row in known:
        at = _pixels(row)
        if row["kind"] in ("faint", "doubtful", "hot"):
            ignored[tuple(at.T)] = True
        elif row["kind"] == "judged":
            outside = np.ones(image.shape, bool)
            (top, left), (bottom, right) = at
            outside[top : bottom + 1, left : right + 1] = False
            ignored |= outside
    return ignored


# ---- painted ones ---------------------------------------------------------------------------


def plain_scenes(folder: Path, bases: Sequence[Base]) -> Iterator[tuple[Base, int, Scene]]:
    """Real frames of every width without any hit: binned, blurred, and noise of the sky added."""
    for base in bases:
        frame = read(folder, base.path)
        image = frame.image[base.window]
        ignored = np.zeros(image.shape, bool)
        if frame.masked is not None:
            ignored |= frame.masked[base.window]
        known = normalise(image, ignored)
        assert isinstance(known, tuple), known
        ignored |= _sharper(known[0], base.width_px)
        if base.trails:
            ignored |= grown(read(folder, base.trails).image[base.window] > 0, 4)
        found = normalise(image, ignored)
        assert isinstance(found, tuple), found
        for width in WIDTHS_PX:
            for seed in base.seeds:
                random = np.random.default_rng([seed, round(10 * width)])
                yield base, seed, _of_width(base, width, found[0], ignored, random)


def _sharper(image: Image, width: float) -> Masks:
    """What is sharper than a star of the frame can be: its own hits and hot pixels, unlisted."""
    around = [np.roll(image, by, axis) for axis in (0, 1) for by in (-1, 1)]
    star = np.exp(-4 * np.log(2) / width**2)
    sharp: Masks = (image > 6) & (np.mean(around, axis=0) < 0.65 * star * image)
    return grown(sharp, 2)


def _of_width(
    base: Base, width: float, image: Image, ignored: Masks, random: np.random.Generator
) -> Scene:
    """A frame binned and blurred until its stars have a width."""
    times = max(int(np.ceil(base.width_px / width - 0.15)), 1)
    rows, columns = (side // times for side in image.shape)
    cut = np.s_[: rows * times, : columns * times]
    made = image[cut].reshape(rows, times, columns, times).mean(axis=(1, 3), dtype=np.float64)
    bad: Masks = ignored[cut].reshape(rows, times, columns, times).max(axis=(1, 3))
    made *= times  # white noise of sigma 1 again
    now = base.width_px / times
    if width > 1.05 * now:
        made = _blurred(made, (width**2 - now**2) ** 0.5 / _RMS)
        level = np.median(np.abs(made - np.median(made))) * 1.4826
        made = made / max(level, 1e-3) + random.normal(size=made.shape)
    found = normalise(made.astype(np.float32), bad)
    assert isinstance(found, tuple), found
    return _scene(f"{base.camera}, {width} px", found[0], (), (), bad, width, None)


def _blurred(image: Reals, rms: float) -> Reals:
    """An image through a Gaussian."""
    reach = np.arange(-int(4 * rms + 1), int(4 * rms + 1) + 1)
    profile = np.exp(-(reach**2) / (2 * rms**2))
    profile /= profile.sum()
    for axis in (0, 1):
        padded = np.pad(image, [(reach[-1],) * 2 if a == axis else (0, 0) for a in (0, 1)], "edge")
        image = np.apply_along_axis(np.convolve, axis, padded, profile, mode="valid")
    return image


def painted(plain: Scene, hits: Sequence[Reals], random: np.random.Generator) -> Scene:
    """Recorded hits, each at a strength drawn evenly in its logarithm, on a frame without any."""
    height, width = plain.image.shape
    layer, events, strengths = np.zeros((height, width)), list[Pixels](), list[float]()
    taken = grown(plain.ignored, 3)
    noise = np.sqrt(1 + np.maximum(plain.image, 0) / _SKY_ELECTRONS)
    for _ in range(height * width // _HIT_PX):
        hit = _turned(hits[int(random.integers(len(hits)))], random)
        strength = float(np.exp(random.uniform(np.log(STRENGTHS[0]), np.log(STRENGTHS[-1]))))
        if hit.shape[0] > height - 8 or hit.shape[1] > width - 8:
            continue
        y, x = (int(random.integers(4, s - n - 3)) for s, n in zip((height, width), hit.shape,
                                                                    strict=True))  # fmt: skip
        place = np.s_[y : y + hit.shape[0], x : x + hit.shape[1]]
        added = hit * strength / hit.max()
        inside = added > 3 * noise[place]
        if not inside.any() or (taken[place] & (added > 0)).any():
            continue
        layer[place] += added
        taken[place] |= grown(added > 0, 3)
        events.append(np.argwhere(inside) + np.array([y, x]))
        strengths.append(strength)
    light = random.normal(size=layer.shape) * np.sqrt(layer / _SKY_ELECTRONS)
    bright = layer > 3 * noise
    image = (plain.image + layer + light).astype(np.float32)
    dim = (layer > 0.3) & ~bright
    return _scene(plain.name, image, tuple(events), tuple(strengths), plain.ignored | dim,
                  plain.width_px, bright)  # fmt: skip


def _turned(hit: Reals, random: np.random.Generator) -> Reals:
    return np.rot90(hit, int(random.integers(4)))


def _scene(
    name: str, image: Image, events: tuple[Pixels, ...], strengths: tuple[float, ...],
    ignored: Masks, width: float, bright: Masks | None,
) -> Scene:  # fmt: skip
    sky = np.float32(_SKY_ELECTRONS)
    return Scene(
        name=name, image=image, electrons=image * sky + sky**2, read_noise=0.0, events=events,
        strengths=strengths, ignored=ignored, width_px=width, bright=bright,
    )  # fmt: skip
