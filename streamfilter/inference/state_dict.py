"""Arrays of a PyTorch state dict in the form of before 1.6, read without PyTorch.

The file is a row of pickles: a magic number, the protocol, facts of the machine, the names with
their tensors' places, the storages' keys; then each storage's length and raw numbers. Source:
``torch.serialization._legacy_load``.
"""

import io
import math
import pickletools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from streamfilter.errors import EngineUnavailable, plain_words

Weights = npt.NDArray[np.float32]

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


@dataclass(frozen=True, slots=True)
class _Storage:
    """A row of numbers of one type, by its key."""

    dtype: str
    key: str


@dataclass(frozen=True, slots=True)
class _Tensor:
    """Where in a storage a tensor lies."""

    storage: _Storage
    first: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


def _tensor(
    storage: _Storage, first: int, shape: Sequence[int], strides: Sequence[int], *_: object
) -> _Tensor:
    """Returns a tensor's place; stands in for ``torch._utils._rebuild_tensor_v2``."""
    step, expected = 1, list[int]()
    for side in reversed(shape):
        expected.insert(0, step)
        step *= side
    if list(strides) != expected:
        raise ValueError(f"a tensor of shape {tuple(shape)} is not stored row by row")
    return _Tensor(storage, first, tuple(shape))


_DTYPES = {"torch FloatStorage": "<f4", "torch LongStorage": "<i8"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LENGTHS = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()


class _Pickle:
    """One pickle, taken op by op: values are put together, and nothing that it names is run."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._kept: dict[int, Any] = {}

    def read(self, file: io.BytesIO) -> Any:
        """Returns the value of the pickle that begins where the file stands."""
        for op, argument, _ in pickletools.genops(file):
            self.step(op.name, argument)
        return self.stack.pop()

    def step(self, op: str, argument: Any) -> None:
        """Take one op."""
        stack = self.stack
        if op in ("PROTO", "STOP", "FRAME"):
            return
        if op in ("BINPUT", "LONG_BINPUT"):
            self._kept[argument] = stack[-1]
        elif op in ("BINGET", "LONG_BINGET"):
            stack.append(self._kept[argument])
        elif op in _CONSTANTS:
            stack.append(_CONSTANTS[op])
        elif op in ("EMPTY_DICT", "EMPTY_LIST"):
            stack.append({} if op == "EMPTY_DICT" else [])
        elif op == "MARK":
            stack.append(_MARK)
        elif op == "TUPLE" or op in _LENGTHS:
            stack.append(tuple(self._taken(_LENGTHS.get(op))))
        elif op in ("APPEND", "APPENDS"):
            more = self._taken(1 if op == "APPEND" else None)
            stack[-1].extend(more)
        elif op in ("SETITEM", "SETITEMS"):
            pairs = self._taken(2 if op == "SETITEM" else None)
            stack[-1].update(zip(pairs[::2], pairs[1::2], strict=True))
        elif op == "BUILD":  # facts about the modules, beside the arrays
            stack.pop()
        elif op == "BINPERSID":
            _, dtype, key, *_ = stack.pop()
            stack.append(_Storage(_DTYPES[dtype], str(key)))
        elif op == "REDUCE":
            given, name = stack.pop(), stack.pop()
            stack.append(_made(name, given))
        elif op == "GLOBAL" or isinstance(argument, str | int):
            stack.append(argument)
        else:
            raise ValueError(f"{op} is no part of a state dict")

    def _taken(self, count: int | None) -> list[Any]:
        """Returns the last values of the stack, in order; None: those since the last mark."""
        if count is None:
            at = len(self.stack) - 1 - self.stack[::-1].index(_MARK)
            taken = self.stack[at + 1 :]
            del self.stack[at:]
        else:
            taken = self.stack[-count:]
            del self.stack[-count:]
        return taken


def _made(name: str, given: tuple[Any, ...]) -> Any:
    """Returns what a function would make that a state dict may name."""
    if name == "collections OrderedDict":
        return dict(*given)
    if name == "torch._utils _rebuild_tensor_v2":
        return _tensor(*given)
    raise ValueError(f"{name} is no part of a state dict")


def arrays(content: bytes) -> dict[str, Weights]:
    """Returns every float32 array of a state dict by its name, such as ``inc.conv.0.weight``.

    Parameters
    ----------
    content
        The file. Nothing that its pickles name is run.

    Raises
    ------
    EngineUnavailable
        The file is damaged, in another form, or holds something else.
    """
    file = io.BytesIO(content)
    try:
        magic, protocol, _, state, keys = (_Pickle().read(file) for _ in range(5))
        if (magic, protocol) != (_MAGIC, _PROTOCOL):
            raise ValueError(f"it begins with {magic!r} and {protocol!r}")
        dtypes = {tensor.storage.key: tensor.storage.dtype for tensor in state.values()}
        storages = {key: _numbers(file, dtypes[key]) for key in keys}
        return {
            name: _array(storages[tensor.storage.key], tensor)
            for name, tensor in state.items()
            if tensor.storage.dtype == "<f4"
        }
    except (ValueError, KeyError, TypeError, EOFError, AttributeError,
            IndexError, OverflowError) as error:  # fmt: skip
        raise EngineUnavailable(
            f"the state dict cannot be read: {plain_words(error)}; expected PyTorch's form of "
            "before 1.6"
        ) from error


def _numbers(file: io.BytesIO, dtype: str) -> npt.NDArray[np.generic]:
    """Returns the next storage."""
    count = int.from_bytes(file.read(8), "little")
    raw = file.read(count * np.dtype(dtype).itemsize)
    if len(raw) != count * np.dtype(dtype).itemsize:
        raise ValueError(f"a storage of {count} numbers is cut short")
    return np.frombuffer(raw, dtype)


def _array(storage: npt.NDArray[np.generic], tensor: _Tensor) -> Weights:
    """Returns a tensor's numbers."""
    numbers = storage[tensor.first : tensor.first + tensor.size]
    if numbers.size != tensor.size:
        raise ValueError(f"a tensor of shape {tensor.shape} is not whole")
    return np.asarray(numbers, np.float32).reshape(tensor.shape)
