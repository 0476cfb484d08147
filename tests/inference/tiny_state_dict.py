"""State dicts as PyTorch wrote them before 1.6, made without PyTorch."""

import io
import pickle
import struct
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class FloatStorage:
    """Stands for torch's, by whose name it is written."""


class LongStorage:
    """Stands for torch's, by whose name it is written."""


for made in (FloatStorage, LongStorage):
    made.__module__, made.__qualname__ = "torch", made.__name__


class Tensor:
    """Is written as torch writes a tensor."""

    def __init__(self, kind: type, key: str, shape: tuple[int, ...], strides: Any) -> None:
        self.place = (kind, key, shape, strides)


_Guided: Any = pickle._Pickler  # the one written in Python


class Pickler(_Guided):  # type: ignore[misc]
    """Writes tensors by reference to their storages, and torch's names without torch."""

    dispatch = _Guided.dispatch.copy()

    def persistent_id(self, thing: object) -> object:
        if isinstance(thing, tuple) and thing[:1] == ("storage",):
            return thing
        return None

    def save_global(self, thing: Any, name: str | None = None) -> None:
        self.write(f"c{thing.__module__}\n{name or thing.__name__}\n".encode())
        self.memoize(thing)

    dispatch[type] = save_global

    def reducer_override(self, thing: object) -> object:
        if not isinstance(thing, Tensor):
            return NotImplemented
        kind, key, shape, strides = thing.place
        storage = ("storage", kind, key, "cuda:0", int(np.prod(shape)), None)
        return rebuild, (storage, 0, shape, strides, False, OrderedDict())


def rebuild(*_: object) -> None:
    """Is named by what is written, and never called."""


rebuild.__module__, rebuild.__name__ = "torch._utils", "_rebuild_tensor_v2"
Pickler.dispatch[type(rebuild)] = Pickler.save_global


def written(
    arrays: Mapping[str, npt.NDArray[np.float32]],
    *,
    magic: int = MAGIC,
    strides: tuple[int, ...] | None = None,
) -> bytes:
    """A state dict of arrays, and of a counter as batch normalisation has one."""
    state: OrderedDict[str, Tensor] = OrderedDict()
    content = b""
    for name, array in arrays.items():
        rows = tuple(step // array.itemsize for step in array.strides)
        state[name] = Tensor(FloatStorage, name, array.shape, strides or rows)
    state["num_batches_tracked"] = Tensor(LongStorage, "counter", (), ())
    for part in (magic, PROTOCOL, {"little_endian": True}, state, [*arrays, "counter"]):
        content += dumped(part)
    for array in arrays.values():
        content += struct.pack("<q", array.size) + array.astype("<f4").tobytes()
    return content + struct.pack("<q", 1) + struct.pack("<q", 1234)


def dumped(part: object) -> bytes:
    out = io.BytesIO()
    Pickler(out, 2).dump(part)
    return out.getvalue()
