"""Training examples: real alerts, painted or not, with a class and a weight for each pixel."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from streamfilter.alerts.placement import core
from streamfilter.records import NotEvaluated
from training import painting
from training.canvas import CLASSES, INDEX, Canvas, prepare
from training.data import Core, Planes, Reals
from training.painting import Brush
from training.planes import NAMES, Input, stack

CONTAMINANTS = ("CR", "TRL", "HCL", "DCL", "HP", "DP", "SAT", "SP", "RES")
PLAIN = {
    Core.REAL: 0.45, Core.LIKELY: 0.3, Core.BOGUS: 0.95, Core.DIPOLE: 0.9, Core.UNKNOWN: 0.0,
    Core.FLAGGED: 0.0, Core.NONE: 0.1,
}  # fmt: skip
"""Share of the alerts that are shown as they are, by what is known of their core."""
WEAK_PX = 5.0
"""Within this distance of a core that is not known to be clean, unpainted pixels teach nothing."""
LIKELY_WEIGHT = 0.5


@dataclass(frozen=True, slots=True)
class Batch:
    """Examples of one side; float16 and bytes keep many thousands in memory.

    ``real``, ``bogus`` and ``dipole`` (N,) are the weights of what is known of the cores.
    """

    images: npt.NDArray[np.float16]
    """(N, side, side, 5), channels last."""
    target: npt.NDArray[np.uint8]
    """(N, side, side, K)."""
    weight: npt.NDArray[np.uint8]
    """(N, side, side, K), 0 or 1."""
    core: npt.NDArray[np.uint8]
    """(N, side, side): 1 within 2 px of the alert."""
    real: npt.NDArray[np.float32]
    bogus: npt.NDArray[np.float32]
    dipole: npt.NDArray[np.float32]

    def __len__(self) -> int:
        """Returns the number of examples."""
        return len(self.images)

    def take(self, index: npt.NDArray[np.intp]) -> "Batch":
        """Returns some of the examples."""
        return Batch(*(getattr(self, each.name)[index] for each in fields(self)))

    @staticmethod
    def joined(parts: Sequence["Batch"]) -> "Batch":
        """Returns the examples of several batches of one side."""
        return Batch(
            *(
                np.concatenate([getattr(part, each.name) for part in parts])
                for each in fields(Batch)
            )
        )


def brushes(hits: Sequence[Reals]) -> list[tuple[float, Brush]]:
    """Returns every brush with the share of painted alerts that get it, in the order of painting.

    Those that bring a star to the middle come first, holes last.
    """
    return [
        (0.10, painting.variable),
        (0.16, painting.residual),
        (0.20, painting.transient),
        (0.14, painting.bright_star),
        (0.13, painting.streak),
        (0.16, painting.glints),
        (0.09, painting.column("HCL")),
        (0.09, painting.column("DCL")),
        (0.04, painting.dead_cluster),
        (0.12, painting.hot_pixel),
        (0.20, painting.dead_pixel),
        (0.50, painting.cosmic_ray(hits)),
        (0.15, painting.cosmic_ray(hits)),
        (0.07, painting.hole),
    ]


def example(
    planes: Planes, kit: Sequence[tuple[float, Brush]], random: np.random.Generator, side: int
) -> Batch | None:
    """Returns one example of an alert; None where it has no usable sky or does not fit the side."""
    planes = cut(planes, random, side)
    plain = random.random() < PLAIN[planes.core]
    moved = planes.core not in (Core.REAL, Core.LIKELY) or random.random() < 0.3
    reach = 4 if planes.core is not Core.UNKNOWN else max(planes.science.shape) // 3
    shift = random.integers(-reach, reach + 1, 2) if moved and not plain else (0, 0)
    canvas = prepare(
        planes, int(random.integers(4)), bool(random.integers(2)), (int(shift[0]), int(shift[1]))
    )
    if canvas is None:
        return None
    at = (canvas.middle[0] + shift[0], canvas.middle[1] + shift[1])
    doubt(canvas, at)
    if not plain:
        for share, brush in kit:
            if random.random() < share:
                brush(canvas, random)
    weak = plain or (canvas.painted.isdisjoint(("RES", "SAT")) and tuple(shift) == (0, 0))
    return _finished(canvas, random, side, weak=weak)


def cut(planes: Planes, random: np.random.Generator, side: int) -> Planes:
    """Returns the middle of an alert that is larger than a side."""
    height, width = planes.science.shape
    if max(height, width) <= side:
        return planes
    top, left = (
        max(n - side, 0) // 2 + int(random.integers(0, 1 + (n > side))) for n in (height, width)
    )
    window = (slice(top, top + side), slice(left, left + side))
    template, difference, variance = (
        None if plane is None else plane[window]
        for plane in (planes.template, planes.difference, planes.variance)
    )
    return replace(
        planes, science=planes.science[window], template=template, difference=difference,
        variance=variance,
        # Where a stamp was cut at the chip's edge, its middle is not the alert.
        core=planes.core if height == width else Core.UNKNOWN,
    )  # fmt: skip


def doubt(canvas: Canvas, at: tuple[float, float]) -> None:
    """Make the real pixels around a core, which lies at ``at``, teach only what is known of it."""
    rows, columns = np.indices(canvas.shape)
    away = np.hypot(rows - at[0], columns - at[1])
    if canvas.core is Core.REAL:
        if canvas.positive:
            canvas.claim("BBG", away <= 1.5)
            canvas.painted.discard("BBG")
        canvas.weight[INDEX["RES"]][away <= WEAK_PX] = 1.0
    elif canvas.core in (Core.BOGUS, Core.DIPOLE, Core.FLAGGED):
        canvas.weight[:] = 0.0  # rows of glints and columns go on through the stamp
    elif canvas.core is Core.UNKNOWN:
        canvas.weight[:, away <= WEAK_PX] = 0.0


def _finished(
    canvas: Canvas, random: np.random.Generator, side: int, *, weak: bool
) -> Batch | None:
    """Put planes, classes and weights into the network's form, and leave planes out."""
    found = stack(
        canvas.science.astype(np.float32),
        *(
            None if each is None else each.astype(np.float32)
            for each in (canvas.template, canvas.difference, canvas.variance)
        ),
    )
    if isinstance(found, NotEvaluated) or found.tensor.shape[-1] != side:
        return None
    place = found.placement
    window = (
        slice(place.top, place.top + place.height),
        slice(place.left, place.left + place.width),
    )
    shape = (side, side, len(CLASSES))
    target, weight = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    target[window] = canvas.target.transpose(1, 2, 0)
    weight[window] = canvas.weight.transpose(1, 2, 0) > 0
    middle = np.zeros((side, side), np.uint8)
    middle[window] = core(*canvas.shape)
    painted = target[middle > 0][:, [INDEX[code] for code in CONTAMINANTS]].any()
    known = weak and not (painted and canvas.painted)
    weight[..., INDEX["RES"]] *= 1 - (target[..., INDEX["RES"]] & ~_keep(found, random))
    return Batch(
        found.tensor.transpose(1, 2, 0).clip(-6e4, 6e4).astype(np.float16)[None],
        target[None], weight[None], middle[None],
        _label(known * {Core.REAL: 1.0, Core.LIKELY: LIKELY_WEIGHT}.get(canvas.core, 0.0)),
        _label(known * (canvas.core is Core.BOGUS)),
        _label(known * (canvas.core is Core.DIPOLE) * found.tensor[2].any()),
    )  # fmt: skip


def _label(weight: float) -> npt.NDArray[np.float32]:
    return np.array([weight], np.float32)


def _keep(found: Input, random: np.random.Generator) -> np.uint8:
    """Leave planes out at random, as they are missing in a survey or not asked for.

    Returns 1 where a residual can still be told, which needs the difference.
    """
    draw, tensor = random.random(), found.tensor
    if draw < 0.3:  # science alone
        tensor[1:4] = 0
    elif draw < 0.36:
        tensor[2:4] = 0
    elif draw < 0.42:
        tensor[[1, 3]] = 0
    elif draw < 0.55:
        tensor[3] = 0
    if random.random() < 0.05:
        tensor[NAMES.index("valid")] = 0
    for channel in (1, 2):  # a survey's noise is no two times measured alike
        tensor[channel] *= np.float32(random.uniform(0.85, 1.15))
    return np.uint8(tensor[2].any())


def examples(
    alerts: Sequence[Planes], chances: npt.NDArray[np.float64], kit: Sequence[tuple[float, Brush]],
    count: int, side: int, seed: int,
) -> Batch:  # fmt: skip
    """Returns so many examples of alerts that are drawn by their chances."""
    random = np.random.default_rng(seed)
    made: list[Batch] = []
    while len(made) < count:
        index = int(random.choice(len(alerts), p=chances))
        found = example(alerts[index], kit, random, side)
        if found is not None:
            made.append(found)
    return Batch.joined(made)
