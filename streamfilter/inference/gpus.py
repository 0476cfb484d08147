"""Finds the GPU of this machine, without making a context on it."""

import importlib
from dataclasses import dataclass
from types import ModuleType

from streamfilter.errors import EngineUnavailable, how_to_install


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """A model of GPU; a plan is valid for one model only."""

    name: str
    """The driver's name of it, such as ``NVIDIA L4``."""
    capability: str
    """Compute capability, such as ``8.9``."""


def driver() -> ModuleType:
    """Returns pycuda's driver, initialised.

    Raises
    ------
    EngineUnavailable
        pycuda, the driver or any GPU is missing; the message says how to mend it.
    """
    try:
        cuda = importlib.import_module("pycuda.driver")
    except ImportError as error:
        mend = (
            "install NVIDIA's driver, or use a host that has it"
            if "libcuda" in str(error)
            else f"on the GPU host {how_to_install('tensorrt')}"
        )
        raise EngineUnavailable(f"the GPU cannot be reached ({error}): {mend}") from error
    try:
        cuda.init()
    except cuda.Error as error:
        raise _no_answer(0, error) from error
    return cuda


def here(device: int = 0) -> Gpu:
    """Returns a GPU of this machine.

    Raises
    ------
    EngineUnavailable
        pycuda, the driver or the GPU is missing; the message says how to mend it.
    """
    cuda = driver()
    try:
        gpu = cuda.Device(device)
        major, minor = gpu.compute_capability()
        return Gpu(name=gpu.name(), capability=f"{major}.{minor}")
    except cuda.Error as error:
        raise _no_answer(device, error) from error


def _no_answer(device: int, error: Exception) -> EngineUnavailable:
    return EngineUnavailable(
        f"no GPU {device} answers here ({error}): `nvidia-smi -L` lists what the driver sees"
    )
