"""Write ``engines/deepcr/golden.npz`` with the authors' program; needs its PyTorch.

python -m venv .venv-deepcr
.venv-deepcr/bin/pip install deepCR==0.3.1 scikit-image tensorboard --editable .
.venv-deepcr/bin/python tests/inference/make_golden_deepcr.py
"""

import numpy as np
from deepCR import deepCR

from streamfilter.inference import golden
from streamfilter.inference.deepcr import ELECTRONS_A_SIGMA, SKY_ELECTRONS
from streamfilter.inference.manifest import Per


def main() -> None:
    """Write the golden numbers, of frames in electrons as the program takes them."""
    program, batch = deepCR(mask="ACS-WFC"), golden.frames(golden.FRAMES[Per.PIXEL])
    electrons = batch * np.float32(ELECTRONS_A_SIGMA) + np.float32(SKY_ELECTRONS)
    found = [program.clean(each[0], binary=False, segment=False) for each in electrons]
    kept = golden.golden_of(np.stack(found)[:, None].astype(np.float32), batch)
    golden.save(kept, golden.path("deepcr"))
    print(f"{golden.path('deepcr')}: {golden.path('deepcr').stat().st_size} bytes")


if __name__ == "__main__":
    main()
