"""Variables of a TensorFlow SavedModel, read without TensorFlow.

``variables.index`` is a LevelDB table (prefix-compressed blocks, each with a masked CRC32C) from
variable names to ``BundleEntryProto`` messages, which give the place of each array in the data
shard. Source: ``tensorflow/core/util/tensor_bundle`` and LevelDB's ``doc/table_format.md``.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamfilter.errors import EngineUnavailable, plain_words

Weights = npt.NDArray[np.float32]

_MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES = 48
_TRAILER_BYTES = 5  # compression type (1) and masked CRC32C (4) after every block
_SUFFIX = b"/.ATTRIBUTES/VARIABLE_VALUE"
_DT_FLOAT = 1


@dataclass(frozen=True, slots=True)
class _Entry:
    """The place of one variable in the data shard."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int


def variables(index: bytes, data: bytes) -> dict[str, Weights]:
    """Returns every float32 variable by its name, such as ``conv1/kernel``.

    Parameters
    ----------
    index
        Content of ``variables.index``; its blocks' CRC32C are checked.
    data
        Content of ``variables.data-00000-of-00001``. Its bytes are not checked here: the caller
        knows the shard's sha256.

    Raises
    ------
    EngineUnavailable
        The index is damaged, or an array does not lie inside the data.
    """
    try:
        entries = {key: _entry(value) for key, value in _table(index) if key.endswith(_SUFFIX)}
    except (IndexError, ValueError) as error:
        raise EngineUnavailable(
            f"the SavedModel's variables.index is damaged: {plain_words(error)}"
        ) from error
    weights: dict[str, Weights] = {}
    for key, entry in entries.items():
        name = key.removesuffix(_SUFFIX).decode("ascii", "replace")
        if entry.dtype == _DT_FLOAT:
            weights[name] = _array(name, entry, data)
    return weights


def _array(name: str, entry: _Entry, data: bytes) -> Weights:
    """Returns the bytes of a variable as an array."""
    expected = 4 * math.prod(entry.shape)
    end = entry.offset + entry.size
    if entry.shard != 0 or entry.size != expected or end > len(data):
        raise EngineUnavailable(
            f"variable {name} of shape {entry.shape} should be {expected} bytes in shard 0 of "
            f"{len(data)} bytes; the index says {entry.size} bytes at {entry.offset} "
            f"in shard {entry.shard}"
        )
    flat = np.frombuffer(data, "<f4", count=math.prod(entry.shape), offset=entry.offset)
    return flat.reshape(entry.shape).astype(np.float32)


def _table(index: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the keys and values of a LevelDB table."""
    footer = index[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or int.from_bytes(footer[-8:], "little") != _MAGIC:
        raise ValueError(f"no table footer at the end of {len(index)} bytes")
    _, at = _handle(footer, 0)
    (offset, size), _ = _handle(footer, at)
    for _, value in _block(index, offset, size):
        (offset, size), _ = _handle(value, 0)
        yield from _block(index, offset, size)


def _block(index: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yields the keys and values of one block; a key may share a prefix with the one before."""
    body = index[offset : offset + size + 1]
    stored = index[offset + size + 1 : offset + size + _TRAILER_BYTES]
    if len(stored) < 4 or crc32c_masked(body) != int.from_bytes(stored, "little"):
        raise ValueError(f"the block at byte {offset} does not match its CRC32C")
    if body[size] != 0:
        raise ValueError(f"the block at byte {offset} is compressed (type {body[size]})")
    restarts = int.from_bytes(body[size - 4 : size], "little")
    end = size - 4 * (restarts + 1)
    at, key = 0, b""
    while at < end:
        shared, at = _varint(body, at)
        unshared, at = _varint(body, at)
        length, at = _varint(body, at)
        key = key[:shared] + body[at : at + unshared]
        at += unshared
        yield key, body[at : at + length]
        at += length


def _handle(raw: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Returns a block's offset and size, and the position after them."""
    offset, at = _varint(raw, at)
    size, at = _varint(raw, at)
    return (offset, size), at


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """Returns a protobuf varint of at most 64 bits, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(f"no varint ends at byte {at}")


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yields field numbers and values of a protobuf message; fixed-width values as bytes."""
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(raw, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            length, at = _varint(raw, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"protobuf wire type {kind} at byte {at}")
        yield tag >> 3, raw[at : at + length]
        at += length


def _entry(raw: bytes) -> _Entry:
    """Parse a BundleEntryProto: 1 dtype, 2 shape, 3 shard, 4 offset, 5 size, 6 CRC32C."""
    number = {1: 0, 3: 0, 4: 0, 5: 0}
    shape: tuple[int, ...] = ()
    for field, value in _fields(raw):
        if field in number and isinstance(value, int):
            number[field] = value
        elif field == 2 and isinstance(value, bytes):
            shape = tuple(_dimension(dim) for key, dim in _fields(value) if key == 2)
    return _Entry(number[1], shape, number[3], number[4], number[5])


def _dimension(raw: int | bytes) -> int:
    """Returns the size (field 1) of a TensorShapeProto.Dim; 0 where it is absent."""
    if isinstance(raw, int):
        raise ValueError("a dimension is not a message")
    return next((v for field, v in _fields(raw) if field == 1 and isinstance(v, int)), 0)


def _crc_table() -> tuple[int, ...]:
    """Returns the table of CRC-32C (Castagnoli), reflected polynomial 0x82F63B78."""
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_CRC_TABLE = _crc_table()


def crc32c_masked(raw: bytes) -> int:
    """Returns LevelDB's masked CRC-32C: rotated right by 15 bits, plus a constant."""
    crc = 0xFFFFFFFF
    for byte in raw:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
