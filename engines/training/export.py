"""Puts a training's weights into the engine: weights, golden numbers, priors and sha256.

``python -m training.export .cache/stampmask`` in engines/, after a training.
"""

import argparse
import hashlib
import json
import re
import zipfile
from pathlib import Path

import jax
import numpy as np
import numpy.typing as npt

from streamfilter.inference import golden, stampmask
from streamfilter.inference.graph import serialised
from streamfilter.inference.manifest import Per
from training import network
from training.planes import NAMES

ENGINE = Path(__file__).parents[1] / "stampmask"
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


def write_weights(file: Path, weights: dict[str, npt.NDArray[np.float32]]) -> None:
    """Write an archive of arrays whose bytes are the same for the same weights."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(weights):
            with archive.open(zipfile.ZipInfo(f"{name}.npy", _LONG_AGO), "w") as raw:
                np.lib.format.write_array(raw, weights[name].astype("<f4"), allow_pickle=False)


def write_golden(weights: dict[str, npt.NDArray[np.float32]]) -> None:
    """Write the framework's own probabilities on the golden frames."""
    batch = golden.frames(golden.FRAMES[Per.PIXEL], len(NAMES))
    found = jax.nn.sigmoid(network.logits(weights, batch.transpose(0, 2, 3, 1)))
    kept = golden.golden_of(np.asarray(found).transpose(0, 3, 1, 2), batch)
    golden.save(kept, ENGINE / "golden.npz")


def write_manifest(priors: dict[str, float], sha256: dict[str, str]) -> None:
    """Put priors and sha256 into the manifest as it is."""
    file = ENGINE / "engine.toml"
    text = file.read_text()
    for code, prior in priors.items():
        pattern = rf'(code = "{code}", training_prior = )[\d.e-]+'
        text, count = re.subn(pattern, rf"\g<1>{prior:.1e}", text)
        if count != 1:
            raise SystemExit(f"{file} has {count} lines of class {code}; expected one")
    for name, value in sha256.items():
        text = re.sub(rf'(?m)^({name} = ")[0-9a-f]*"', rf'\g<1>{value}"', text)
    file.write_text(text)


def main() -> None:
    """Write the engine's files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a training")
    chosen = parser.parse_args()
    with np.load(chosen.run / "weights.npz") as archive:
        weights = dict(archive)
    write_weights(ENGINE / "weights.npz", weights)
    write_golden(weights)
    made = serialised(stampmask.build(weights))
    write_manifest(
        json.loads((chosen.run / "priors.json").read_text()),
        {
            "weights": hashlib.sha256((ENGINE / "weights.npz").read_bytes()).hexdigest(),
            "onnx": hashlib.sha256(made).hexdigest(),
        },
    )
    print(f"wrote {ENGINE}")


if __name__ == "__main__":
    main()
