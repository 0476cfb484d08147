"""Write ``engines/<name>/golden.npz`` with the authors' program; needs its TensorFlow.

make parity                  # makes .venv-parity
.venv-parity/bin/python tests/inference/make_golden.py
"""

import reference

from streamfilter.inference import golden, manifest


def main() -> None:
    """Write the golden numbers of every engine."""
    for name in ("maximask", "maxitrack"):  # stampmask's are written by engines/training
        batch = golden.frames(golden.FRAMES[manifest.load(name).per])
        kept = golden.golden_of(reference.Reference(name).infer(batch), batch)
        golden.save(kept, golden.path(name))
        print(f"{golden.path(name)}: {golden.path(name).stat().st_size} bytes")


if __name__ == "__main__":
    main()
