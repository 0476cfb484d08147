"""A release of a tiny network, made here: a wheel as the authors' one, its manifest, its ONNX."""

import base64
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tiny_state_dict

from streamfilter.inference import fetch
from streamfilter.inference.graph import Graph, serialised
from streamfilter.inference.manifest import Manifest, OutputClass, Per, Release, ShapeRule
from streamfilter.inference.savedmodel import crc32c_masked

Floats = npt.NDArray[np.float32]

WEIGHTS: dict[str, Floats] = {
    "gain/bias": np.array([0.25], np.float32),
    "gain/kernel": np.array([[2.0]], np.float32),
}
_MODEL = "tiny/model"
_LICENCE = "Tiny-1.0.dist-info/LICENSE"


def build(weights: Mapping[str, Floats]) -> object:
    """A network of one sigmoid: the ``build`` that ``fetch`` looks for in a network's module."""
    graph = Graph("tiny")
    x = graph.input("image", ("N", 1, "H", "W"))
    x = graph.node("Mul", [x, graph.constant("gain", weights["gain/kernel"].reshape(()))], "mul")
    x = graph.node("Add", [x, graph.constant("bias", weights["gain/bias"].reshape(()))], "add")
    graph.output(graph.node("Sigmoid", [x], "probabilities"), ("N", 1, "H", "W"))
    return graph.model("A test's.")


def varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def block(pairs: Mapping[bytes, bytes]) -> bytes:
    """A LevelDB block whose keys share prefixes, with its trailer."""
    body, last = b"", b""
    for key, value in pairs.items():
        shared = next(
            (at for at, (a, b) in enumerate(zip(key, last, strict=False)) if a != b),
            min(len(key), len(last)),
        )
        body += varint(shared) + varint(len(key) - shared) + varint(len(value))
        body += key[shared:] + value
        last = key
    body += (0).to_bytes(4, "little") + (1).to_bytes(4, "little") + b"\0"
    return body + crc32c_masked(body).to_bytes(4, "little")


def bundle(weights: Mapping[str, Floats]) -> tuple[bytes, bytes]:
    """``variables.index`` and the data shard that hold these arrays."""
    data, entries = b"", {b"": varint(0x08) + varint(1)}
    for name in sorted(weights):
        array = weights[name]
        dims = b"".join(
            b"\x12" + varint(len(dim) + 1) + b"\x08" + dim for dim in map(varint, array.shape)
        )
        entry = b"\x08\x01\x12" + varint(len(dims)) + dims
        entry += b"\x20" + varint(len(data)) + b"\x28" + varint(array.nbytes) + b"\x35\0\0\0\0"
        entries[f"{name}/.ATTRIBUTES/VARIABLE_VALUE".encode()] = entry
        data += array.astype("<f4").tobytes()
    first = block(entries)
    handle = varint(0) + varint(len(first) - 5)
    meta, top = block({}), block({b"z": handle})
    footer = varint(len(first)) + varint(len(meta) - 5)
    footer += varint(len(first) + len(meta)) + varint(len(top) - 5)
    magic = (0xDB4775248B80FB57).to_bytes(8, "little")
    return first + meta + top + footer.ljust(40, b"\0") + magic, data


@dataclass(frozen=True)
class TinyRelease:
    """The wheel, and the manifest that pins it."""

    wheel: Path
    manifest: Manifest

    @property
    def release(self) -> Release:
        """The manifest's."""
        assert self.manifest.release is not None
        return self.manifest.release

    def packaged(self, folder: Path) -> Manifest:
        """The manifest of the same network whose weights and licence lie in a folder."""
        folder.mkdir()
        arrays: Any = WEIGHTS
        np.savez(folder / "weights.npz", **arrays)
        (folder / "LICENSE").write_text("Do as you like.\n")
        sha256 = hashlib.sha256((folder / "weights.npz").read_bytes()).hexdigest()
        return replace(
            self.manifest,
            release=None,
            weights=folder / "weights.npz",
            weights_sha256=sha256,
        )


def release(folder: Path) -> TinyRelease:
    """Write the wheel into a folder."""
    index, data = bundle(WEIGHTS)
    files = {
        f"{_MODEL}/variables/variables.index": index,
        f"{_MODEL}/variables/variables.data-00000-of-00001": data,
        _LICENCE: b"Do as you like.\n",
        "Tiny-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: Tiny\nVersion: 1.0\n",
        "Tiny-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any",
    }
    wheel = folder / "Tiny-1.0-py3-none-any.whl"
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(raw).digest()).decode().rstrip('=')},{len(raw)}\n"
        for name, raw in files.items()
    )
    files["Tiny-1.0.dist-info/RECORD"] = (record + "Tiny-1.0.dist-info/RECORD,,\n").encode()
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, raw in files.items():
            archive.writestr(zipfile.ZipInfo(name), raw)
    return TinyRelease(wheel, _manifest(wheel, data))


_BACKEND = """
import pathlib

def prepare_metadata_for_build_wheel(folder, settings=None):
    pathlib.Path({ran!r}).write_text("yes")
    made = pathlib.Path(folder, "tiny-1.0.dist-info")
    made.mkdir()
    (made / "METADATA").write_text("Metadata-Version: 2.1\\nName: Tiny\\nVersion: 1.0\\n")
    return made.name

def build_wheel(folder, settings=None, metadata=None):
    raise NotImplementedError
"""


def source_release(folder: Path) -> TinyRelease:
    """Write a source archive with a state dict into a folder; where pip runs it, ``ran`` is made.

    It is built by a module of its own, so that pip fetches nothing.
    """
    data = tiny_state_dict.written(WEIGHTS)
    project = "[project]\nname = 'Tiny'\nversion = '1.0'\n[build-system]\nrequires = []\n"
    project += "build-backend = 'backend'\nbackend-path = ['.']\n"
    files = {
        "Tiny-1.0/PKG-INFO": b"Metadata-Version: 2.1\nName: Tiny\nVersion: 1.0\n",
        "Tiny-1.0/pyproject.toml": project.encode(),
        "Tiny-1.0/backend.py": _BACKEND.format(ran=str(folder / "ran")).encode(),
        "Tiny-1.0/tiny.pth": data,
        "Tiny-1.0/LICENSE.txt": b"Do as you like.\n",
    }
    path = folder / "Tiny-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, raw in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    made = _manifest(path, data)
    assert made.release is not None
    release = replace(
        made.release,
        saved_model=None,
        state_dict="Tiny-1.0/tiny.pth",
        licence="Tiny-1.0/LICENSE.txt",
    )
    return TinyRelease(path, replace(made, release=release))


def _manifest(wheel: Path, data: bytes) -> Manifest:
    onnx = serialised(build(WEIGHTS))  # type: ignore[arg-type]
    return Manifest(
        name="tiny",
        version="1.0",
        release=Release(
            package="Tiny",
            version="1.0",
            file=wheel.name,
            sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
            saved_model=_MODEL,
            licence=_LICENCE,
        ),
        input_name="image",
        planes=("science",),
        shape=ShapeRule(multiple_px=1, min_side_px=1),
        sides_px=(64,),
        dtype="float32",
        normalisation="none",
        output_name="probabilities",
        per=Per.PIXEL,
        classes=(OutputClass(code="ONE", training_prior=0.5),),
        weights_sha256=hashlib.sha256(data).hexdigest(),
        onnx_sha256=hashlib.sha256(onnx).hexdigest(),
    )


def known() -> None:
    """Let ``fetch`` know the tiny network."""
    fetch.NETWORKS["tiny"] = __name__
