"""The bill of materials of an image, written of the environment that the tests run in."""

import json
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest
from container_file import ROOT

from streamfilter.inference.fetch import fetch

pytestmark = pytest.mark.process

SCRIPT = ROOT / "deploy" / "container" / "sbom.py"


def written(folder: Path) -> dict[str, Any]:
    """The bill, as the image's build writes it."""
    file = folder / "sbom.cdx.json"
    subprocess.run((sys.executable, SCRIPT, file), check=True, timeout=60)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return written(tmp_path_factory.mktemp("sbom"))


def test_every_package_that_can_be_imported_is_named(bill: dict[str, Any]) -> None:
    """With its version, and the URL by which lists of weaknesses know it."""
    named = {each["purl"] for each in bill["components"] if "purl" in each}
    installed = {each.name.lower().replace("_", "-"): each.version for each in distributions()}
    for name in ("numpy", "onnxruntime", "confluent-kafka", "pydantic", "fastavro"):
        assert f"pkg:pypi/{name}@{installed[name]}" in named
    python = {each for each in named if each.startswith("pkg:pypi/")}
    assert len(set(installed) - {"streamfilter"}) == len(python)


def test_the_bill_has_the_form_of_cyclonedx(bill: dict[str, Any]) -> None:
    """What its schema requires: form, version, and of each part a type, a name and a reference."""
    assert ("CycloneDX", "1.6", 1) == (bill["bomFormat"], bill["specVersion"], bill["version"])
    assert "streamfilter" == bill["metadata"]["component"]["name"]
    kinds = {"library", "application", "machine-learning-model"}
    assert kinds >= {each["type"] for each in bill["components"]}
    references = [each["bom-ref"] for each in bill["components"]]
    assert len(set(references)) == len(references)
    assert all(each["name"] for each in bill["components"])


def test_licences_are_said_where_packages_say_them(bill: dict[str, Any]) -> None:
    """An expression, or a name."""
    python = [each for each in bill["components"] if each.get("purl", "").startswith("pkg:pypi/")]
    licensed = [each for each in python if each.get("licenses")]
    assert len(licensed) > 0.9 * len(python)
    for each in licensed:
        for entry in each["licenses"]:
            assert entry.get("expression") or entry["license"]["name"]


def test_the_same_image_has_the_same_bill(bill: dict[str, Any], tmp_path: Path) -> None:
    """So that two of them can be compared."""
    assert bill == written(tmp_path)


def test_networks_are_told_by_their_sha256(engine_home: Path) -> None:
    """And by the release of their authors that they were taken from; ours have none."""
    fetch("stampmask", engine_home)
    code = "import sys, json, pathlib, sbom\n"
    code += "print(json.dumps([*sbom.networks(pathlib.Path(sys.argv[1]))]))"
    done = subprocess.run(
        (sys.executable, "-c", code, engine_home / "engines"),
        cwd=SCRIPT.parent, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    found = {each["name"]: each for each in json.loads(done.stdout)}
    assert {"deepcr", "maximask", "maxitrack", "stampmask"} == set(found)
    (digest,) = found["maximask"]["hashes"]
    assert ("SHA-256", 64) == (digest["alg"], len(digest["content"]))
    (release,) = found["maximask"]["pedigree"]["ancestors"]
    assert release["name"].endswith(".whl")
    (source,) = found["deepcr"]["pedigree"]["ancestors"]
    assert source["name"].endswith(".tar.gz")
    assert "pedigree" not in found["stampmask"]
