"""A driver without a GPU behind it: ``FAKE_GPU`` names the model; empty: none answers."""

import os


class Error(Exception):
    """Not a RuntimeError, as in pycuda."""


def init() -> None:
    """Fails as CUDA does where there is no GPU."""
    if not os.environ.get("FAKE_GPU"):
        raise Error("cuInit failed: no CUDA-capable device is detected")


class Device:
    """The one GPU."""

    def __init__(self, number: int) -> None:
        if number:
            raise Error("cuDeviceGet failed: invalid device ordinal")

    def name(self) -> str:
        """As the driver says it."""
        return os.environ["FAKE_GPU"]

    def compute_capability(self) -> tuple[int, int]:
        """Major and minor."""
        return (8, 9)
