"""Measures the shapes of a detector's stars: the evidence that a person would look at.

Detection is SEP's (Barbary 2016, JOSS 1(6) 58; Bertin & Arnouts 1996). Shapes are adaptive
moments (Hirata & Seljak 2003, MNRAS 343, 459): an elliptical Gaussian weight is fitted to each
star, which keeps neighbours and the wings' noise out. Some sources are left out: blended,
truncated and saturated ones, those sharper than a star (cosmic rays, hot pixels), and those much
larger than the detector's stars (galaxies, satellite trails).
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import sep

from streamfilter.exposures.records import Mask, Shapes
from streamfilter.records import Image

Array = npt.NDArray[np.float64]
Sources = npt.NDArray[np.void]

_THRESHOLD = 3.0
"""Detection threshold, in units of sigma of the filtered image's pixels."""
_SMALLEST_AREA_PX = 6
_SHARPEST = 2.3
"""Peak over peak after SEP's filter, [1, 2, 1]/4 along both axes: 4 for a single pixel, 2.2 for a
star of FWHM 1.5 px, below 2 for its trail."""
_PEAK = 15.0
"""Lowest filtered peak, in sigma, of a star whose shape is worth measuring."""
_MOST_STARS = 300
"""At most so many are measured per detector, the brightest first; the median needs no more."""
_MOST_PIXELS = 10**7
"""SEP's buffer for pixels over threshold; beyond it the threshold is raised."""
_WIDTHS = (0.5, 1.6)
"""Range of the minor axis of stars, relative to the detector's median."""
_LENGTHS = (0.4, 2.0)
"""The same for the major axis."""
_LINE = 3.0
"""Elongation from which a source is a piece of a satellite's trail, unless all stars trail."""
_FEWEST_LONG = 5
_SHORTEST_LINE_PX = 60.0
"""Shortest line that MaxiTrack takes for a trail in a tile of round stars."""
_HALF_OF_LINE = 3**0.5
"""Half a uniform line's length, in units of its rms."""
_POINTS_OF_LINE = 257
_MOST_PAIRED = 150
_FARTHEST_PX = 60
"""Largest distance of the companions that a jump of the guider leaves."""
_FEWEST_PAIRS, _PAIRED = 6, 0.2
"""Pairs at one offset, more than any sky has: their number, and their share of the stars."""
_BIN_PX = 2
"""Bin of offsets. Pairs are counted in windows of 3 x 3 bins: positions are good to a pixel."""
_OTHER_DIRECTION = 0.5
"""Pairs at a second offset, relative to the first: under 0.2 after a jump of the guider, over 0.8
where stars break into pieces."""
_HARDLY_ANY = 0.3
"""Share of the bright sources whose shape could be measured: at most 0.2 of large or broken rings,
over 0.4 of stars, also if crowded, trailed or doubled."""
_THINNEST_PX = 0.4
"""Minor rms of a star of FWHM 1 px; a fit with a smaller one has failed."""
_SAMPLED = 1.2
"""Smallest FWHM in pixels. Narrower round stars, on pixels of unequal sides, have elongations up
to 2."""
_SATURATED = 0.9
"""Share of the saturation level above which detectors are no longer linear."""
_FWHM_OVER_RMS = 2.3548
_RMS_OF_TRAIL = 12**-0.5
"""Root mean square of a uniform line of length 1."""
_ROUNDS = 12
"""Adaptive moments of a star that stands alone settle in fewer rounds."""
_RADII_PX = (8, 40)
"""Smallest and largest half side of a star's cut-out."""
_REACH = 3.5
"""Half the side of a cut-out, in units of its star's rms."""


@dataclass(frozen=True, slots=True, eq=False)
class Stars:
    """The sources of a frame, without hot pixels, cosmic rays and sources cut by an edge."""

    x: Array
    y: Array
    flux: Array
    """In sigma times pixels."""
    moments: Array
    """(n, 3): variances along x, along y, and covariance, px^2, of the n measured stars.

    Pixels are square; where rows and columns are binned differently, they have the finer side.
    """
    lines: Array = field(default_factory=lambda: np.zeros((0, 4)))
    """(n, 4): x and y of both ends of lines that are not stars: satellites, bleeding columns."""
    bright: int = 0
    """Number of sources whose shape should have been measured."""

    @property
    def unmeasured(self) -> bool:
        """Whether hardly any shape could be measured, as where stars are large or broken rings."""
        return len(self.moments) < _HARDLY_ANY * self.bright

    def crossed(self, y: int, x: int, side: int) -> bool:
        """Whether a line that is not a star goes through a square."""
        steps = np.linspace(0, 1, _POINTS_OF_LINE)[:, None]
        along = self.lines[:, 0] + steps * (self.lines[:, 2] - self.lines[:, 0])
        down = self.lines[:, 1] + steps * (self.lines[:, 3] - self.lines[:, 1])
        inner = (along >= x) & (along < x + side) & (down >= y) & (down < y + side)
        return bool(inner.any())

    def inside(self, y: int, x: int, side: int) -> int:
        """Returns the number of sources in a square."""
        rows = (self.y >= y) & (self.y < y + side)
        return int(np.count_nonzero(rows & (self.x >= x) & (self.x < x + side)))


def find(
    image: Image,
    masked: Mask | None = None,
    saturation: float | None = None,
    binning: tuple[int, int] = (1, 1),
) -> Stars:
    """Finds the stars of a frame.

    Parameters
    ----------
    image
        (height, width), background-subtracted, in units of sigma, finite.
    masked
        Pixels without data.
    saturation
        Level from which pixels are saturated, in units of sigma above the sky.
    binning
        Rows and columns of the sensor in a pixel.
    """
    sources = all_sources = _extracted(image, masked)
    sharp = sources["peak"] > _SHARPEST * sources["cpeak"]
    sources = sources[~sharp & (sources["flag"] & (sep.OBJ_TRUNC | sep.OBJ_SINGU) == 0)]
    linear = np.full(len(sources), True)
    if saturation is not None:
        linear = sources["peak"] < _SATURATED * saturation
    single = sources["flag"] & sep.OBJ_MERGED == 0
    chosen = np.flatnonzero(linear & single & (sources["peak"] > _PEAK))
    chosen = chosen[np.argsort(-sources["flux"][chosen])][:_MOST_STARS]
    moments = _star_like(_square(_moments(image, sources[chosen]), binning))
    if _undersampled(moments, max(binning) / min(binning)):
        moments = moments[:0]
    compact = sources["a"] < _LINE * sources["b"]
    wide = _REACH * sources["b"] > _RADII_PX[1]  # a large ring is bright, its peak is not
    worth = int(np.count_nonzero(linear & compact & (wide | (sources["peak"] > _PEAK))))
    bright = min(worth, _MOST_STARS)
    if _all_trail(moments, sources):
        return Stars(sources["x"], sources["y"], sources["flux"], moments, bright=bright)
    sources = sources[compact]
    return Stars(sources["x"], sources["y"], sources["flux"], moments, _lines(all_sources), bright)


def _all_trail(moments: Array, sources: Sources) -> bool:
    """Whether the stars themselves are lines, so that a line can be a star."""
    if len(moments) >= 3:
        major, minor = axes(moments)
        return bool(np.median(major / minor) > _LINE / 2)
    # Trails too long to be measured: one for each star, where a satellite leaves a few pieces.
    long = np.count_nonzero(sources["a"] >= _LINE * sources["b"])
    return bool(long >= _FEWEST_LONG and 2 * long > len(sources))


def _lines(sources: Sources) -> Array:
    """Returns both ends of the sources that are much longer than wide, and longer than stars."""
    half = _HALF_OF_LINE * sources["a"]
    long = (sources["a"] >= _LINE * sources["b"]) & (2 * half > _SHORTEST_LINE_PX)
    x, y, half, angle = (
        each[long] for each in (sources["x"], sources["y"], half, sources["theta"])
    )
    dx, dy = half * np.cos(angle), half * np.sin(angle)
    return np.stack([x - dx, y - dy, x + dx, y + dy], axis=1)


def measure(stars: Stars) -> Shapes:
    """Returns the medians over the stars whose shape was measured."""
    if not len(stars.moments):
        return Shapes(0)
    major, minor = axes(stars.moments)
    xx, yy, xy = stars.moments.T
    double = np.exp(1j * np.arctan2(2 * xy, xx - yy)).mean()
    across = float(np.median(minor))
    trail = float(np.sqrt(np.median(major**2 - minor**2))) / _RMS_OF_TRAIL
    return Shapes(
        stars=len(major),
        elongation=float(np.median(major / minor)),
        position_angle_deg=_half_angle_deg(complex(double)),
        coherence=float(np.abs(double)),
        fwhm_px=across * _FWHM_OVER_RMS,
        trail_fwhm=trail / (across * _FWHM_OVER_RMS),
    )


def doubled(stars: Stars) -> bool:
    """Whether stars have companions, all in one direction and at one distance.

    A jump of the guider leaves two round images of each star. Companions in several directions
    come from a second jump, where stars can be measured. Otherwise they are pieces of stars that
    are far out of focus and cut by the spider's vanes.
    """
    brightest = np.argsort(-stars.flux)[:_MOST_PAIRED]
    x, y = stars.x[brightest], stars.y[brightest]
    pairs = np.stack([x[:, None] - x, y[:, None] - y])[:, ~np.eye(len(x), dtype=bool)]
    edges = np.arange(-_FARTHEST_PX - _BIN_PX / 2, _FARTHEST_PX + _BIN_PX, _BIN_PX)
    counts = np.histogram2d(pairs[0], pairs[1], bins=edges)[0]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(counts, 1), (3, 3)).sum(axis=(2, 3))
    first, by_chance = windows.max(), 9 * counts.mean()
    if first <= max(_FEWEST_PAIRS, _PAIRED * len(x)) + 6 * by_chance:
        return False
    row, column = np.unravel_index(windows.argmax(), windows.shape)
    for each in (windows, windows[::-1, ::-1]):  # a pair is the same pair from its other end
        each[max(row - 3, 0) : row + 4, max(column - 3, 0) : column + 4] = 0
    return bool(windows.max() < _OTHER_DIRECTION * first) or not stars.unmeasured


def axes(moments: Array) -> tuple[Array, Array]:
    """Returns the rms along the major and the minor axis, px, from (n, 3) moments."""
    xx, yy, xy = moments.T
    middle, half = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    return np.sqrt(middle + half), np.sqrt(middle - half)


def _half_angle_deg(double: complex) -> float:
    """Returns the position angle in [-90, 90) from the vector of twice the angle."""
    angle = float(np.degrees(np.angle(double) / 2))
    return angle if angle < 90 else -90.0


def pool(detectors: list[Shapes]) -> Shapes:
    """Returns the shapes of an exposure: means over its detectors.

    A detector's weight is its number of stars, at most 100. The mean direction is the mean of the
    detectors' mean vectors: detectors that trail in different directions (rotation) lower the
    coherence.
    """
    known = [s for s in detectors if s.elongation is not None]
    if not known:
        return Shapes(0)
    weights = np.array([min(s.stars, 100) for s in known], float)
    weights /= weights.sum()
    columns = np.array([(s.elongation, s.fwhm_px, s.trail_fwhm) for s in known], float)
    elongation, fwhm, trail = weights @ columns
    vectors = [
        (s.coherence or 0.0) * np.exp(2j * np.radians(s.position_angle_deg or 0.0)) for s in known
    ]
    double = complex(weights @ np.array(vectors))
    return Shapes(
        stars=sum(s.stars for s in known),
        elongation=float(elongation),
        position_angle_deg=_half_angle_deg(double),
        coherence=abs(double),
        fwhm_px=float(fwhm),
        trail_fwhm=float(trail),
    )


def _extracted(image: Image, masked: Mask | None) -> Sources:
    """Returns SEP's catalogue; crowded frames get a higher threshold, which bounds its size."""
    sep.set_extract_pixstack(_MOST_PIXELS)
    sep.set_sub_object_limit(10_000)
    for threshold in (_THRESHOLD, 3 * _THRESHOLD, 10 * _THRESHOLD):
        try:
            catalogue: Sources = sep.extract(
                np.ascontiguousarray(image),
                threshold,
                mask=masked,
                minarea=_SMALLEST_AREA_PX,
                deblend_nthresh=16,
                deblend_cont=0.02,
            )
            return catalogue
        except Exception as error:  # SEP raises bare exceptions when a buffer is full
            if "overflow" not in str(error) and "full" not in str(error):
                raise
    return _empty_catalogue()


def _empty_catalogue() -> Sources:
    """Returns a catalogue without sources."""
    names = ("x", "y", "a", "b", "theta", "x2", "y2", "xy", "peak", "cpeak", "flux")
    return np.zeros(0, [(name, float) for name in names] + [("flag", int)])


def _moments(image: Image, sources: Sources) -> Array:
    """Returns adaptive moments of sources, (n, 3), without those that do not settle."""
    if not len(sources):
        return np.zeros((0, 3))
    half_side = _REACH * float(np.percentile(sources["a"], 75))
    radius = int(np.clip(np.ceil(half_side), *_RADII_PX))
    column, row = np.rint(sources["x"]).astype(int), np.rint(sources["y"]).astype(int)
    height, width = image.shape
    inner = (row >= radius) & (row < height - radius) & (column >= radius)
    inner &= column < width - radius
    sources, row, column = sources[inner], row[inner], column[inner]
    along = np.arange(-radius, radius + 1)
    cut = image[(row[:, None] + along)[:, :, None], (column[:, None] + along)[:, None, :]]
    centre = np.stack([sources["x"] - column, sources["y"] - row])
    shape = np.stack([sources["x2"], sources["y2"], sources["xy"]])
    with np.errstate(all="ignore"):
        for _ in range(_ROUNDS):
            before = shape
            centre, shape = _one_round(cut, along.astype(np.float32), centre, shape)
        drift = np.abs(shape - before).max(axis=0)
        size = shape[0] + shape[1]
        settled = (drift < 0.02 * size) & (np.abs(centre).max(axis=0) < 3)
        thinnest = size / 2 - np.hypot((shape[0] - shape[1]) / 2, shape[2])
        settled &= (thinnest > _THINNEST_PX**2) & (np.sqrt(size) < radius)
    return np.asarray(shape[:, settled].T)


def _one_round(cut: Image, along: Image, centre: Array, shape: Array) -> tuple[Array, Array]:
    """Returns new centres and moments, under Gaussian weights from the old ones; (2 or 3, n)."""
    xx, yy, xy = shape
    determinant = xx * yy - xy**2
    dx = (along - centre[0][:, None]).astype(np.float32)[:, None, :]
    dy = (along - centre[1][:, None]).astype(np.float32)[:, :, None]
    inverse = (np.stack([yy, xx, -2 * xy]) / determinant).astype(np.float32)[..., None, None]
    weight = np.exp(-0.5 * (inverse[0] * dx**2 + inverse[1] * dy**2 + inverse[2] * dx * dy))
    weight *= cut
    by_column, by_row = weight.sum(axis=1), weight.sum(axis=2)
    x, y = dx[:, 0], dy[:, :, 0]
    total = by_column.sum(axis=1)
    first = np.stack([(by_column * x).sum(axis=1), (by_row * y).sum(axis=1)]) / total
    cross = np.einsum("nij,ni,nj->n", weight, y, x)
    second = np.stack([(by_column * x**2).sum(axis=1), (by_row * y**2).sum(axis=1), cross])
    # Under its own weight a Gaussian's variance is halved, and so is a step of its centre.
    return centre + 2 * first, 2 * second / total


def _square(moments: Array, binning: tuple[int, int]) -> Array:
    """Returns moments in square pixels of the finer side, with Sheppard's correction."""
    y, x = (side / min(binning) for side in binning)
    return moments * [x**2, y**2, x * y] - np.array([x**2 - 1, y**2 - 1, 0.0]) / 12


def _undersampled(moments: Array, coarse: float) -> bool:
    """Whether stars are narrower than the pixels' longer side, which makes them look elongated."""
    if coarse == 1 or not len(moments):
        return False
    fwhm = float(np.median(axes(moments)[1])) * _FWHM_OVER_RMS
    return fwhm < _SAMPLED * coarse


def _star_like(moments: Array) -> Array:
    """Returns the moments of sources of about the detector's median width and length."""
    if len(moments) < 3:
        return moments
    major, minor = axes(moments)
    wide, long = minor / np.median(minor), major / np.median(major)
    kept = (wide > _WIDTHS[0]) & (wide < _WIDTHS[1])
    return moments[kept & (long > _LENGTHS[0]) & (long < _LENGTHS[1])]
