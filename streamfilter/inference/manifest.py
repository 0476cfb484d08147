"""Manifests: the facts of an engine, read from its ``engine.toml``."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from streamfilter.errors import EngineUnavailable, plain_words
from streamfilter.files import bundled_folder


class InputPlane(StrEnum):
    """The planes that a network may take; each but the first may be missing, and is then 0."""

    SCIENCE = "science"
    TEMPLATE = "template"
    DIFFERENCE = "difference"
    VARIANCE = "variance"
    """log10 of the science stamp's variance over that of its sky, from -3 to 3."""
    VALID = "valid"
    """1 where the science stamp has data, else 0."""


class Per(StrEnum):
    """What one output of the network describes."""

    PIXEL = "pixel"
    """(N, K, H, W): a probability per class and pixel."""
    TILE = "tile"
    """(N, K): a probability per class and image."""


class Precision(StrEnum):
    """The numbers that a runtime computes with; batches and probabilities are always float32."""

    FLOAT32 = "float32"
    BF16 = "bf16"
    """Eight bits of significand: faster where the CPU has it, but single pixels differ."""
    FP16 = "fp16"
    """Eleven bits of significand, on GPUs; asinh and the last sigmoid stay float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tolerance:
    """How far a runtime's probabilities may be from ONNX Runtime's float32 ones."""

    precision: Precision
    largest: float
    """Largest difference of any probability."""
    mean: float
    """Largest mean, over all pixels or images of a set, of a class's absolute difference."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """The authors' release with the weights."""

    package: str
    """Name on the Python package index."""
    version: str
    file: str
    """File name of the wheel, or of the source archive (.tar.gz) where there is no wheel."""
    sha256: str
    """sha256 of that file."""
    licence: str
    """Path of the licence text in it."""
    saved_model: str | None = None
    """Folder of the TensorFlow SavedModel in it; None where ``state_dict`` says what is there."""
    state_dict: str | None = None
    """Path of the PyTorch state dict in it."""

    def __post_init__(self) -> None:
        """Refuse a release that names no weights, or two.

        Raises
        ------
        ValueError
            What is expected.
        """
        if (self.saved_model is None) == (self.state_dict is None):
            raise ValueError("a release has either saved_model or state_dict")


@dataclass(frozen=True, kw_only=True, slots=True)
class ShapeRule:
    """Which heights and widths the network takes, in pixels.

    Either both sides are ``side_px``, or each side is at least ``min_side_px`` and a multiple of
    ``multiple_px``; then height and width may differ.
    """

    multiple_px: int = 1
    min_side_px: int = 1
    side_px: int | None = None

    def admits(self, height: int, width: int) -> bool:
        """Returns whether the network takes images of this height and width."""
        if self.side_px is not None:
            return height == width == self.side_px
        return all(
            side >= self.min_side_px and side % self.multiple_px == 0 for side in (height, width)
        )

    def __str__(self) -> str:
        """Returns the rule in words, for messages and tables."""
        if self.side_px is not None:
            return f"{self.side_px} x {self.side_px} px"
        return f"multiples of {self.multiple_px} px from {self.min_side_px} px"


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputClass:
    """One output of the network: its code and its share of the training set.

    ``prior`` and ``threshold`` are defaults for real images; None where those of the class table
    hold.
    """

    code: str
    training_prior: float
    prior: float | None = None
    threshold: float | None = None
    training_priors: tuple[tuple[int, float], ...] = ()
    """By side of stamps in pixels, in rising order, where the network was trained on other shares
    at one side than at another; empty: one share for all."""

    def trained_at(self, side_px: int) -> float:
        """Returns the training prior of stamps of a side: that of the largest side up to it."""
        fitting = [prior for side, prior in self.training_priors if side <= side_px]
        return fitting[-1] if fitting else self.training_prior


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameClass:
    """Prior and threshold of a class in whole frames, where it is less frequent than in stamps."""

    code: str
    prior: float
    threshold: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """One engine's facts; see ``engines/README.md`` for the keys."""

    name: str
    version: str
    release: Release | None = None
    """Where the weights are fetched from; None where they come with the package."""
    weights: Path | None = None
    """The file with the weights, which comes with the package; None where they are fetched."""
    input_name: str
    planes: tuple[str, ...]
    """What makes up the channels, in order; a network judges the first, which is the science
    stamp where there are several."""
    shape: ShapeRule
    sides_px: tuple[int, ...]
    """Sides that are in use, in rising order: a stamp is reflected to the smallest that holds
    it."""
    dtype: str
    """Type of input and output, by numpy's name."""
    normalisation: str
    """The processing of the pixels before the network gets them."""
    output_name: str
    per: Per
    classes: tuple[OutputClass, ...]
    """In the order of the network's outputs."""
    weights_sha256: str
    """sha256 of the SavedModel's data shard, or of the file with the weights."""
    onnx_sha256: str
    tolerances: tuple[Tolerance, ...] = ()
    """One for each precision that the engine may be run at."""
    reach_px: int | None = None
    """How far away a pixel may be that changes another's output; None: not measured."""
    in_frames: tuple[FrameClass, ...] = ()
    """Priors and thresholds for whole frames; classes that are not there have those of stamps."""

    @property
    def codes(self) -> tuple[str, ...]:
        """Class codes in the order of the outputs."""
        return tuple(row.code for row in self.classes)

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Those that the engine may be run at."""
        return tuple(row.precision for row in self.tolerances)

    def tolerance(self, precision: Precision) -> Tolerance:
        """Returns the tolerance at a precision.

        Raises
        ------
        EngineUnavailable
            The engine may not be run at this precision.
        """
        for row in self.tolerances:
            if row.precision is precision:
                return row
        known = ", ".join(row.precision for row in self.tolerances)
        raise EngineUnavailable(
            f"the engine {self.name} is not run at precision {str(precision)!r}; it is at {known}"
        )

    def check(self, batch: npt.NDArray[np.float32]) -> None:
        """Refuse a batch that the network does not take; pixel values are not checked.

        Raises
        ------
        EngineUnavailable
            The batch is not (N, C, H, W) with the manifest's dtype, planes and sides.
        """
        fits = (
            batch.ndim == 4
            and batch.shape[0] > 0
            and batch.shape[1] == len(self.planes)
            and batch.dtype == self.dtype
            and self.shape.admits(*batch.shape[2:])
        )
        if not fits:
            raise EngineUnavailable(
                f"{self.name} takes {self.dtype} of shape (N, {len(self.planes)}, H, W), N > 0, "
                f"sides {self.shape}; this batch is {batch.dtype} of shape {batch.shape}"
            )


def names() -> tuple[str, ...]:
    """Returns the names of the engines in the package, sorted."""
    return tuple(sorted(path.parent.name for path in folder().glob("*/engine.toml")))


def folder() -> Path:
    """Returns the folder of the engines' manifests.

    Raises
    ------
    EngineUnavailable
        The installation is incomplete.
    """
    try:
        return bundled_folder("engines")
    except FileNotFoundError as error:
        raise EngineUnavailable(str(error)) from error


def load(name: str) -> Manifest:
    """Returns the manifest of an engine.

    Raises
    ------
    EngineUnavailable
        There is no such engine, or its manifest is damaged.
    """
    if name not in names():
        raise EngineUnavailable(f"no engine {name!r}; there are {', '.join(names())}")
    return read_manifest(folder() / name / "engine.toml")


def read_manifest(path: Path) -> Manifest:
    """Read the manifest in a file.

    Raises
    ------
    EngineUnavailable
        The file cannot be read, a key is missing or unknown, or a value is wrong.
    """
    try:
        return _parse(tomllib.loads(path.read_text(encoding="utf-8")), path.parent)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise EngineUnavailable(
            f"the manifest {path} is not usable ({plain_words(error)}); "
            "engines/README.md lists its keys"
        ) from error


def _parse(document: Mapping[str, Any], place: Path) -> Manifest:
    given, output, sha256 = document["input"], document["output"], document["sha256"]
    shape = ShapeRule(**given["shape"])
    return Manifest(
        name=document["name"],
        version=document["version"],
        release=Release(**document["release"]) if "release" in document else None,
        weights=None if "release" in document else place / "weights.npz",
        input_name=given["name"],
        planes=tuple(str(InputPlane(name)) for name in given["planes"]),
        shape=shape,
        sides_px=_sides(shape, given.get("sides_px")),
        dtype=given["dtype"],
        normalisation=given["normalisation"],
        output_name=output["name"],
        per=Per(output["per"]),
        classes=tuple(_output_class(row) for row in output["classes"]),
        weights_sha256=sha256["weights"],
        onnx_sha256=sha256["onnx"],
        tolerances=tuple(
            Tolerance(precision=Precision(key), **row) for key, row in document["tolerance"].items()
        ),
        reach_px=given.get("reach_px"),
        in_frames=tuple(FrameClass(**row) for row in document.get("frames", {}).get("classes", ())),
    )


def _output_class(row: Mapping[str, Any]) -> OutputClass:
    """Returns a class; the keys of a TOML table are texts, and those of its priors sides."""
    by_side = sorted((int(side), prior) for side, prior in row.get("training_priors", {}).items())
    return OutputClass(**{**row, "training_priors": tuple(by_side)})


def _sides(shape: ShapeRule, listed: Sequence[int] | None) -> tuple[int, ...]:
    """Returns the sides in use.

    Raises
    ------
    ValueError
        The list is not in rising order, or the network does not take one of its sides.
    """
    sides = tuple(listed or ([shape.side_px] if shape.side_px else ()))
    if not sides or list(sides) != sorted(set(sides)):
        raise ValueError(f"sides_px is {list(sides)}; expected some sides, in rising order")
    if unfit := [side for side in sides if not shape.admits(side, side)]:
        raise ValueError(f"sides_px has {unfit}; the network takes {shape}")
    return sides
