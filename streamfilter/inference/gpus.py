"""Which GPU is here; no context is made."""

import importlib
from dataclasses import dataclass
from types import ModuleType

from streamfilter.errors import EngineUnavailable, how_to_install


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """A model of GPU: what a plan is valid for."""

    name: str
    """As the driver names it, such as ``NVIDIA L4``."""
    capability: str
    """Compute capability, such as ``8.9``."""


def driver() -> ModuleType:
    """pycuda's driver, initialised.

    Raises
    ------
    EngineUnavailable
        pycuda, the driver or any GPU is missing; with the mend.
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
        raise _silent(0, error) from error
    return cuda


def here(device: int = 0) -> Gpu:
    """A GPU of this machine.

    Raises
    ------
    EngineUnavailable
        pycuda, the driver or the GPU is missing; with the mend.
    """
    cuda = driver()
    try:
        found = cuda.Device(device)
        major, minor = found.compute_capability()
        return Gpu(name=found.name(), capability=f"{major}.{minor}")
    except cuda.Error as error:
        raise _silent(device, error) from error


def _silent(device: int, error: Exception) -> EngineUnavailable:
    return EngineUnavailable(
        f"no GPU {device} answers here ({error}): `nvidia-smi -L` lists what the driver sees"
    )
