"""Compare every engine with the authors' TensorFlow program on real frames; run by `make parity`.

MaxiMask puts values back where maxima were. Where two values of a block are equal but for the
last bits, rounding decides, and a patch of about 100 px moves by up to 0.01: TensorFlow differs
so from itself between its own two sets of kernels. So it is held that

- TensorFlow's choice of every maximum is one here too, within the rounding of that map;
- given that choice, every probability is TensorFlow's within 1e-5, or where TensorFlow itself is
  not, that of the same network in float64.

Exit code 1 where either fails. MaxiTrack has no such choice: its probabilities are compared.
"""

import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import numpy_network
import onnx
import onnxruntime
import reference
from astropy.io import fits
from rich.console import Console
from rich.table import Table

from streamfilter.inference import golden, manifest
from streamfilter.inference.cache import default_home, onnx_path
from streamfilter.inference.runtimes import open_engine
from streamfilter.inference.savedmodel import variables

sys.path.insert(0, str(Path(__file__).parents[2] / "engines"))
from training.samples import absent, samples_folder

Floats = npt.NDArray[np.float32]

ROOT = Path(__file__).parent.parent.parent
SIDE_PX = 400
MASKS = tuple(f"mask{level}" for level in range(1, 6))
POOLED = ("conv1_relu", "conv2_relu", "conv3_2_relu", "conv4_2_relu", "conv5_2_relu")
# float32 sums of 1,000 to 2,000 products, relative to the map's largest value.
ROUNDING = 1e-5
TILES_PER_FRAME = 2  # opposite corners; TensorFlow takes about a second for each


@dataclass(frozen=True)
class Frame:
    """Tiles (N, 1, 400, 400) of one image, in units of sigma."""

    name: str
    tiles: Floats


def exposures(folder: Path) -> Iterator[Frame]:
    """Every exposure that a tile fits into, normalised as the authors' program does it."""
    for path in sorted(folder.glob("*/*.fits*")) + sorted(folder.glob("*/*.fit.gz")):
        if "mask" in path.name:
            continue
        with fits.open(path) as hdus:
            image = next(hdu.data for hdu in hdus if hdu.data is not None and hdu.data.ndim == 2)
        if min(image.shape) < SIDE_PX:
            print(f"left out, smaller than a tile of {SIDE_PX} px: {path.name} {image.shape}")
            continue
        tiles = corners(reference.normalised(image))
        if len(tiles):
            yield Frame(f"{path.parent.name}/{path.name}", tiles)


def corners(image: Floats) -> Floats:
    """The first and the last tile, where they differ and are finite."""
    places = [image[:SIDE_PX, :SIDE_PX], image[-SIDE_PX:, -SIDE_PX:]]
    if image.shape == (SIDE_PX, SIDE_PX):
        places = places[:1]
    finite = [place for place in places[:TILES_PER_FRAME] if np.isfinite(place).all()]
    return np.array(finite, np.float32).reshape(-1, 1, SIDE_PX, SIDE_PX)


def mosaics(file: Path, count: int = 8) -> Iterator[Frame]:
    """Real ZTF stamps side by side, each in units of its own spread, to fill a tile."""
    stamps = np.load(file)["stamps"][:, 0]
    side = stamps.shape[-1]
    across = SIDE_PX // side
    for number in range(count):
        tile = np.zeros((SIDE_PX, SIDE_PX), np.float32)
        chosen = stamps[number * across**2 : (number + 1) * across**2]
        for place, stamp in enumerate(chosen):
            middle = np.nanmedian(stamp)
            sigma = 1.4826 * np.nanmedian(np.abs(stamp - middle)) or 1.0
            row, column = side * (place // across), side * (place % across)
            tile[row : row + side, column : column + side] = np.nan_to_num((stamp - middle) / sigma)
        yield Frame(f"stamps/{file.name} {number * across**2}...", tile[None, None])


class GivenMaxima:
    """MaxiMask's graph with the choice of maxima as a further input per pooling."""

    def __init__(self, onnx_path: Path) -> None:
        model = onnx.load(onnx_path)
        graph = model.graph
        nodes = [node for node in graph.node if node.output[0] not in MASKS]
        del graph.node[:]
        graph.node.extend(nodes)
        for name in MASKS:
            graph.input.append(onnx.helper.make_tensor_value_info(name, 1, None))
        for name in POOLED:
            graph.output.append(onnx.helper.make_tensor_value_info(name, 1, None))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # the nodes that made the choice are left without a use
        self._session = onnxruntime.InferenceSession(model.SerializeToString(), options)

    def run(self, tile: Floats, masks: list[Floats]) -> tuple[Floats, float]:
        """Probabilities, and how far a given maximum is below the one here, to the map's scale."""
        feed = dict(zip(MASKS, masks, strict=True))
        found, *maps = self._session.run(["probabilities", *POOLED], {"image": tile[None], **feed})
        below = 0.0
        for x, mask in zip(maps, masks, strict=True):
            height, width = x.shape[2:]
            even = np.pad(x * mask, ((0, 0), (0, 0), (0, height % 2), (0, width % 2)))
            whole = np.pad(x, ((0, 0), (0, 0), (0, height % 2), (0, width % 2)))
            apart = np.abs(_blocks(whole) - _blocks(even)).max()
            below = max(below, float(apart / x.max()))
        return found, below


def _blocks(x: Floats) -> Floats:
    """Maximum of every 2x2 block of a map that is nowhere negative."""
    top = np.maximum(x[..., ::2, ::2], x[..., ::2, 1::2])
    bottom = np.maximum(x[..., 1::2, ::2], x[..., 1::2, 1::2])
    return np.maximum(top, bottom)


@dataclass(frozen=True)
class Apart:
    """Largest differences over a frame's tiles."""

    as_is: float
    moved_px: int
    """Pixels whose probabilities differ by more than the tolerance as they are."""
    below: float
    """How far a maximum of TensorFlow's is below the one here."""
    given: float
    """Difference given TensorFlow's maxima."""
    exact: float | None
    """The same from float64, where ``given`` is above the tolerance."""

    @property
    def right(self) -> bool:
        judged = self.given if self.exact is None else self.exact
        return self.below <= ROUNDING and judged <= golden.TOLERANCE


class MaxiMask:
    """Both programs, and the judge."""

    def __init__(self, home: Path) -> None:
        self._ours = open_engine("maximask", "onnxruntime", home, threads=0, progress=print)
        self._given = GivenMaxima(onnx_path(manifest.load("maximask"), home))
        self._theirs = reference.Reference("maximask")
        folder = reference.folder("maximask") / "variables"
        shard = (folder / "variables.data-00000-of-00001").read_bytes()
        self._weights = variables((folder / "variables.index").read_bytes(), shard)

    def compare(self, frame: Frame) -> Apart:
        """The worst of the frame's tiles."""
        tiles = [self._tile(tile) for tile in frame.tiles]
        exact = [tile.exact for tile in tiles if tile.exact is not None]
        return Apart(
            max(tile.as_is for tile in tiles),
            sum(tile.moved_px for tile in tiles),
            max(tile.below for tile in tiles),
            # The tile that float64 has judged has its figure in `exact`.
            max(tile.given for tile in tiles),
            max(exact + [t.given for t in tiles if t.exact is None]) if exact else None,
        )

    def _tile(self, tile: Floats) -> Apart:
        expected, masks = self._theirs.one(tile[0])
        as_is = np.abs(self._ours.infer(tile[None]) - expected)
        found, below = self._given.run(tile, masks)
        given = float(np.abs(found - expected).max())
        exact = None
        if given > golden.TOLERANCE:
            judge = numpy_network.maximask(tile[0].astype(np.float64), self._weights, masks)
            exact = float(np.abs(found[0] - judge).max())
        moved = int((as_is.max(axis=1) > golden.TOLERANCE).sum())
        return Apart(float(as_is.max()), moved, below, given, exact)


def main() -> int:
    """Print a table; 1 where an engine is wrong."""
    samples = samples_folder()
    if not samples.is_dir():
        print(absent(samples), file=sys.stderr)
        return 1
    warnings.simplefilter("ignore", fits.verify.VerifyWarning)
    home = default_home(os.environ)
    maximask = MaxiMask(home)
    ours = open_engine("maxitrack", "onnxruntime", home, threads=0, progress=print)
    theirs = reference.Reference("maxitrack")
    columns = ("frame", "tiles", "as is", "px > 1e-5", "given maxima", "float64", "maxitrack", "")
    table = Table(*columns, title="Largest difference from TensorFlow")
    wrong = 0
    for frame in [*exposures(samples / "exposures"), *mosaics(samples / "stamps" / "ztf.npz")]:
        apart = maximask.compare(frame)
        track = float(np.abs(ours.infer(frame.tiles) - theirs.infer(frame.tiles)).max())
        right = apart.right and track <= golden.TOLERANCE
        wrong += not right
        row = (
            frame.name.removesuffix(".gz"),
            str(len(frame.tiles)),
            f"{apart.as_is:.1e}",
            str(apart.moved_px),
            f"{apart.given:.1e}",
            "" if apart.exact is None else f"{apart.exact:.1e}",
            f"{track:.1e}",
            "equal" if right else f"DIFFERS (maxima apart by {apart.below:.1e})",
        )
        print(", ".join(row), flush=True)  # minutes pass until the table
        table.add_row(*row)
    Console(width=120).print(table)
    print(f"{wrong} of {table.row_count} frames differ" if wrong else "equal")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
