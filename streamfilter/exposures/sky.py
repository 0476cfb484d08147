"""Measures sky level and noise of a frame on a mesh, as the reference program but much faster.

The method is SExtractor's (Bertin & Arnouts 1996, A&AS 117, 393) in the variant of MaxiMask 1.4.1
(``utils.background_est``): clipped statistics per cell, outlying cells replaced by their
neighbours, a 3x3 median, and a bicubic spline through the cells' centres.

SEP's own background takes a third of the CPU's time. It is not used: it takes a level of 0 where
over half of the pixels are masked, a quarter of the noise where that is a fifth of a digital step,
and levels 8 sigma off beside a saturated block (``tests/bench/bench_background.py``).
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamfilter.exposures.records import FrameReason, Mask
from streamfilter.records import Image

Array = npt.NDArray[np.float64]

_K = 3.0
"""Clipping limit for pixels and for cells, in units of sigma."""
_GRID_ROUNDS = 5
"""Rounds of clipping among cells, as in the reference."""
_SMALLEST_BESIDE = 0.005
"""Share of a cell's pixels that are one digital step off the others: that of noise of 0.2 steps."""
_BAND_ROWS = 32
"""Rows normalised at once: a band of 4,096 columns stays in the processor's cache."""
_REFERENCE_ADU = (-500.0, 80000.0)
"""The reference program's range of values, in the image's unit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mesh:
    """How the sky is measured.

    ``as_reference`` follows MaxiMask 1.4.1 to the letter: pixels without data count as 0, values
    are clipped to [-500, 80000] of the image's unit, and the median of cells takes zeros beyond
    the grid, which lowers level and sigma in the frame's corners.
    """

    cell_px: int = 200
    largest_sigmas: float = 1e4
    """The result is clipped here, whatever the detector's unit; star cores need no higher value."""
    smallest_share: float = 0.1
    """Share of a cell's pixels with data; with a smaller one, the neighbours' values are used."""
    threads: int = 2
    as_reference: bool = False

    def __post_init__(self) -> None:
        """Refuse cells that are odd or too small, and fewer than one thread.

        Raises
        ------
        ValueError
            What was found, and what is expected.
        """
        if self.cell_px < 8 or self.cell_px % 2:
            raise ValueError(f"cell_px is {self.cell_px}; it must be even and at least 8")
        if self.threads < 1:
            raise ValueError(f"threads is {self.threads}; it must be at least 1")


@dataclass(frozen=True, slots=True)
class Axis:
    """The positions of the grid's values along one side of the frame."""

    length: int
    first: int
    """Pixel of the first value, which is padded and stands before the frame."""
    step: int
    knots: int


@dataclass(frozen=True, slots=True, eq=False)
class Sky:
    """Level and sigma at the padded grid of cells, in the image's unit."""

    level: Array
    sigma: Array
    rows: Axis
    columns: Axis

    @property
    def median_level(self) -> float:
        """Median of the level over the cells."""
        return float(np.median(self.level))

    @property
    def median_sigma(self) -> float:
        """Median of sigma over the cells."""
        return float(np.median(self.sigma))


def normalise(
    image: Image, masked: Mask | None = None, mesh: Mesh | None = None
) -> tuple[Image, Sky] | FrameReason:
    """Subtracts the background of a frame and divides by its noise.

    Parameters
    ----------
    image
        (height, width), any unit; not changed. NaN and infinite pixels count as masked.
    masked
        Pixels to leave out; they are 0 in the result.

    Returns
    -------
    image and sky
        float32, finite; or the reason why the frame has no background.
    """
    mesh = mesh or Mesh()
    if mesh.as_reference:
        image, masked = np.clip(np.nan_to_num(image, nan=0.0), *_REFERENCE_ADU), None
    else:
        masked = unusable(image, masked)
    sky = measure(image, masked, mesh)
    if isinstance(sky, FrameReason):
        return sky
    result = _divided(image, sky, mesh)
    if masked is not None:
        result[masked] = 0.0
    return result, sky


def unusable(image: Image, masked: Mask | None) -> Mask | None:
    """Returns the pixels that are masked or not finite; None where there are none."""
    finite = np.isfinite(image)
    if masked is None:
        return None if finite.all() else ~finite
    return masked if finite.all() else masked | ~finite


def measure(image: Image, masked: Mask | None, mesh: Mesh) -> Sky | FrameReason:
    """Measures level and sigma on the mesh; returns the reason where that is not possible.

    Parameters
    ----------
    image
        (height, width), finite where not masked.
    """
    tops, height = _cells(image.shape[0], mesh.cell_px)
    lefts, width = _cells(image.shape[1], mesh.cell_px)
    needed = mesh.smallest_share * height * width

    def cell(corner: tuple[int, int]) -> tuple[float, float]:
        where = np.s_[corner[0] : corner[0] + height, corner[1] : corner[1] + width]
        values = image[where] if masked is None else image[where][~masked[where]]
        if values.size < max(needed, 2):
            return np.nan, np.nan
        level, sigma = clipped_statistics(values.ravel())
        if sigma == 0 and not mesh.as_reference:
            sigma = digitisation(values.ravel())
        return level, sigma

    with ThreadPoolExecutor(mesh.threads) as pool:
        cells = list(pool.map(cell, [(top, left) for top in tops for left in lefts]))
    grid = np.array(cells).reshape(len(tops), len(lefts), 2)
    if np.isnan(grid[..., 0]).all():
        return FrameReason.NO_DATA
    if mesh.as_reference:
        grid[grid[..., 1] == 0] = (0.0, 1.0)
    else:
        grid[~(grid[..., 1] > 0)] = np.nan
    if np.isnan(grid).all():
        return FrameReason.NO_VARIATION
    level = _smoothed(grid[..., 0], mesh, sloping=not mesh.as_reference)
    sigma = _smoothed(grid[..., 1], mesh, sloping=False)
    return Sky(
        level,
        sigma,
        Axis(image.shape[0], tops[0] - height // 2, height, len(tops) + 2),
        Axis(image.shape[1], lefts[0] - width // 2, width, len(lefts) + 2),
    )


def clipped_statistics(values: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Returns sky level and sigma of a cell's pixels, clipped until no pixel is clipped any more.

    Notes
    -----
    The values are sorted once: the remaining pixels are always a slice, with the median in its
    middle. The first median is subtracted, so that sums of squares keep their digits.
    """
    in_order = np.sort(values)
    shift = float(in_order[in_order.size // 2])
    ordered = in_order - np.float64(shift)
    low, high = 0, ordered.size
    total, squares = _sums(ordered)
    median, mean, start = _statistics(ordered, total, squares)
    sigma = start
    while sigma > 0:
        first = max(int(np.searchsorted(ordered, median - _K * sigma, side="left")), low)
        last = min(int(np.searchsorted(ordered, median + _K * sigma, side="right")), high)
        if (first, last) == (low, high):
            break
        below, above = _sums(ordered[low:first]), _sums(ordered[last:high])
        if below[1] + above[1] < squares / 2:
            total, squares = total - below[0] - above[0], squares - below[1] - above[1]
        else:  # a difference of nearly equal sums would lose digits
            total, squares = _sums(ordered[first:last])
        low, high = first, last
        median, mean, sigma = _statistics(ordered[low:high], total, squares)
    crowded = not 0.8 * start < sigma < 1.2 * start
    return shift + (2.5 * median - 1.5 * mean if crowded else mean), sigma


def digitisation(values: npt.NDArray[np.float32]) -> float:
    """Returns the noise of pixels with digital steps so coarse that clipping leaves one value.

    Returns
    -------
    sigma
        That of values spread evenly over one step; 0 where hardly any pixel is a step off.
    """
    ordered = np.sort(values)
    middle = ordered[ordered.size // 2]
    first, last = np.searchsorted(ordered, middle), np.searchsorted(ordered, middle, side="right")
    steps = [
        abs(float(each) - float(middle)) for each in (*ordered[:first][-1:], *ordered[last:][:1])
    ]
    if not steps:
        return 0.0
    step = min(steps)
    low, high = np.searchsorted(ordered, (middle - 1.5 * step, middle + 1.5 * step))
    beside = int(high - low) - int(last - first)
    return step / 12**0.5 if beside >= _SMALLEST_BESIDE * ordered.size else 0.0


def _sums(ordered: Array) -> tuple[float, float]:
    """Returns sum and sum of squares, without BLAS: its threads would compete with the mesh's."""
    return float(ordered.sum()), float(np.einsum("i,i->", ordered, ordered))


def _statistics(ordered: Array, total: float, squares: float) -> tuple[float, float, float]:
    """Returns median, mean and standard deviation, from a sorted slice and its sums."""
    n = ordered.size
    mean = total / n
    variance = max(squares / n - mean * mean, 0.0)
    return float(ordered[n // 2] + ordered[(n - 1) // 2]) / 2, mean, float(variance**0.5)


def _cells(length: int, cell_px: int) -> tuple[list[int], int]:
    """Returns the first pixels of the cells along a side, and the cells' size.

    The whole cells are centred; a side shorter than a cell is one cell.
    """
    if length < cell_px:
        return [0], length
    start = length % cell_px // 2
    return list(range(start, start + length // cell_px * cell_px, cell_px)), cell_px


def _smoothed(grid: Array, mesh: Mesh, *, sloping: bool) -> Array:
    """Replaces outliers, pads one cell on each side, and takes the median of 3x3.

    Parameters
    ----------
    sloping
        Whether the grid goes on beyond its outermost cells with the slope that it has there;
        otherwise it is flat there, as the reference has it.
    """

    def padded(values: Array) -> Array:
        if sloping:
            return np.pad(values, 1, "reflect", reflect_type="odd")
        return np.pad(values, 1, "edge")

    whole = padded(_without_outliers(grid))
    # The reference's median filter takes zeros beyond the padded grid.
    around = np.pad(whole, 1, "constant") if mesh.as_reference else padded(whole)
    windows = np.lib.stride_tricks.sliding_window_view(around, (3, 3))
    return np.asarray(np.median(windows, axis=(2, 3)))


def _without_outliers(grid: Array) -> Array:
    """Replaces outlying cells (3 sigma) and cells without a value by their neighbours' mean."""
    good = ~np.isnan(grid)
    for _ in range(_GRID_ROUNDS):
        median, sigma = np.median(grid[good]), np.std(grid[good])
        outlying = good & (np.abs(np.nan_to_num(grid, nan=median) - median) > _K * sigma)
        if not outlying.any():
            break
        good &= ~outlying
    grid = np.where(good, grid, np.nan)
    holes = np.argwhere(~good)
    # In place and in this order, as the reference does: a filled cell helps to fill the next.
    while np.isnan(grid).any():
        for y, x in holes:
            near = grid[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            known = near[~np.isnan(near)]
            if known.size:
                grid[y, x] = known.mean()
    return grid


def curvatures(knots: int) -> Array:
    """Returns the matrix that turns the values into the spline's second derivatives there.

    As in FITPACK, the spline has no knot at the second value and the last but one ("not a knot").
    Fewer than four values are joined by straight lines.
    """
    if knots < 4:
        return np.zeros((knots, knots))
    system, right = np.zeros((knots, knots)), np.zeros((knots, knots))
    for i in range(1, knots - 1):
        system[i, i - 1 : i + 2] = (1, 4, 1)
        right[i, i - 1 : i + 2] = (6, -12, 6)
    system[0, :3] = system[-1, -3:] = (1, -2, 1)
    return np.asarray(np.linalg.solve(system, right))


def along_rows(grid: Array, axis: Axis) -> Array:
    """Evaluates the spline along the grid's first axis at every pixel: (length, grid columns)."""
    position = (np.arange(axis.length) - axis.first) / axis.step
    left = np.clip(np.floor(position).astype(int), 0, axis.knots - 2)
    b = (position - left)[:, None]
    bend = curvatures(axis.knots) @ grid
    a = 1 - b
    return np.asarray(
        a * grid[left]
        + b * grid[left + 1]
        + ((a**3 - a) * bend[left] + (b**3 - b) * bend[left + 1]) / 6
    )


@dataclass(frozen=True, slots=True, eq=False)
class Cubics:
    """A cubic per row and interval between grid columns: the map, all but the last step.

    The last step multiplies small matrices: an interval's cubics by the powers along it. They are
    too small for BLAS to use several threads, which would wait for each other on a busy machine.
    """

    coefficients: npt.NDArray[np.float32]
    """(intervals, height, 4), highest power first."""
    powers: npt.NDArray[np.float32]
    """(4, pixels of an interval)."""
    axis: Axis

    @classmethod
    def of(cls, grid: Array, sky: Sky) -> "Cubics":
        """Makes the map of a grid that has the sky's shape."""
        values = along_rows(grid, sky.rows)
        bend = values @ curvatures(sky.columns.knots).T
        y0, y1, m0, m1 = values[:, :-1], values[:, 1:], bend[:, :-1], bend[:, 1:]
        cubics = np.stack([(m1 - m0) / 6, m0 / 2, y1 - y0 - (2 * m0 + m1) / 6, y0], axis=-1)
        along = np.arange(sky.columns.step) / sky.columns.step
        powers = along ** np.arange(3, -1, -1)[:, None]
        ordered = np.ascontiguousarray(cubics.transpose(1, 0, 2), np.float32)
        return cls(ordered, powers.astype(np.float32), sky.columns)

    def band(self, rows: slice, room: Image | None = None) -> Image:
        """Returns the map in some rows of the frame.

        Parameters
        ----------
        room
            Array to write into, made by ``room`` for at least as many rows.
        """
        cubics = self.coefficients[:, rows]
        room = self.room(cubics.shape[1]) if room is None else room[: cubics.shape[1]]
        np.matmul(cubics, self.powers, out=room.transpose(1, 0, 2))
        flat: Image = room.reshape(room.shape[0], -1)
        return flat[:, -self.axis.first : self.axis.length - self.axis.first]

    def room(self, rows: int) -> Image:
        """Returns an array to reuse in ``band``: a new one for every band costs as much time."""
        return np.empty((rows, len(self.coefficients), self.axis.step), np.float32)


def _divided(image: Image, sky: Sky, mesh: Mesh) -> Image:
    """Returns (image - level) / sigma, computed band by band.

    The median level is subtracted first, because float32 would lose digits.
    """
    result = np.empty(image.shape, np.float32)
    anchor = np.float32(sky.median_level)
    level, sigma = Cubics.of(sky.level - float(anchor), sky), Cubics.of(sky.sigma, sky)
    # The spline may overshoot between a quiet and a noisy cell.
    floor, ceiling = np.float32(sky.sigma.min() / 2), np.float32(mesh.largest_sigmas)

    def bands(tops: range) -> None:
        room = level.room(_BAND_ROWS)
        for top in tops:
            rows = slice(top, min(top + _BAND_ROWS, image.shape[0]))
            out = result[rows]
            np.subtract(image[rows], anchor, out=out)
            out -= level.band(rows, room)
            noise = sigma.band(rows, room)
            if mesh.as_reference:
                out /= noise
                continue
            np.maximum(noise, floor, out=noise)
            out /= noise
            np.clip(out, -ceiling, ceiling, out=out)

    tops = range(0, image.shape[0], _BAND_ROWS)
    with np.errstate(all="ignore"), ThreadPoolExecutor(mesh.threads) as pool:
        list(pool.map(bands, [tops[i :: mesh.threads] for i in range(mesh.threads)]))
    return result
