"""Writes what is in an image as a bill of materials (CycloneDX 1.6, JSON): python sbom.py FILE.

Packages of this Python with their licences, packages of the system, and the networks with their
sha256. The same image gives the same file: it has no date and no number of its own.
"""

import hashlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from urllib.parse import quote

from streamfilter.files import bundled_folder

HOME = Path(sys.prefix) / "engines"
SYSTEM = "${Package}\t${Version}\t${Architecture}\n"


def main(file: Path) -> None:
    """Write the bill of what is installed where this runs."""
    parts = [*packages(), *system(), *networks(HOME)]
    own = next((each for each in parts if each["name"] == "streamfilter"), None)
    others = [each for each in parts if each is not own]
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": own or {"type": "application", "name": "streamfilter"}},
        "components": sorted(others, key=lambda each: (each["type"], each["bom-ref"])),
    }
    file.write_text(json.dumps(bill, indent=1) + "\n", encoding="utf-8")


def packages() -> Iterator[dict[str, object]]:
    """Distributions that this Python can import, each once."""
    seen = set()
    for each in distributions():
        name = re.sub(r"[-_.]+", "-", each.metadata["Name"] or "").lower()
        if not name or name in seen:  # what is found first is what is imported
            continue
        seen.add(name)
        url = f"pkg:pypi/{quote(name)}@{quote(each.version)}"
        kind = "application" if name == "streamfilter" else "library"
        found = {"type": kind, "bom-ref": url, "name": name, "version": each.version, "purl": url}
        yield found | licence(each)


def licence(distribution: Distribution) -> dict[str, object]:
    """What a distribution says of its licence; nothing where it says nothing in a line."""
    said = distribution.metadata
    if expressions := said.get_all("License-Expression"):
        return {"licenses": [{"expression": expressions[0]}]}
    kinds = [each for each in said.get_all("Classifier") or () if each.startswith("License ::")]
    names = [each.rpartition(" :: ")[2] for each in kinds]
    text = (said.get_all("License") or [""])[0]
    if not names and text and "\n" not in text:
        names = [text]
    return {"licenses": [{"license": {"name": each}} for each in names]} if names else {}


def system() -> Iterator[dict[str, object]]:
    """Packages of Debian or Ubuntu; none where there is no dpkg."""
    try:
        said = Path("/etc/os-release").read_text(encoding="utf-8")
    except OSError:
        return
    (kind,) = re.findall(r"^ID=\"?(\w+)", said, re.MULTILINE) or ["debian"]
    try:
        listed = subprocess.run(
            ("dpkg-query", "--show", f"--showformat={SYSTEM}"),
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return
    for line in listed.splitlines():
        name, version, architecture = line.split("\t")
        url = f"pkg:deb/{kind}/{quote(name)}@{quote(version)}?arch={architecture}"
        yield {"type": "library", "bom-ref": url, "name": name, "version": version, "purl": url}


def networks(home: Path) -> Iterator[dict[str, object]]:
    """Networks that lie in a folder, each with the sha256 of its file and its authors' release."""
    folder = bundled_folder("engines")
    for file in sorted(folder.glob("*/engine.toml")):
        manifest = tomllib.loads(file.read_text(encoding="utf-8"))
        name, version = manifest["name"], manifest["version"]
        network = home / f"{name}-{version}" / f"{name}.onnx"
        if network.is_file():
            digest = hashlib.sha256(network.read_bytes()).hexdigest()
            yield {
                "type": "machine-learning-model",
                "bom-ref": f"network:{name}@{version}",
                "name": name,
                "version": version,
                "hashes": [{"alg": "SHA-256", "content": digest}],
                **_pedigree(manifest.get("release")),
            }


def _pedigree(release: dict[str, str] | None) -> dict[str, object]:
    """What a network's weights were taken from; nothing where they are streamfilter's own."""
    if release is None:
        return {}
    url = f"pkg:pypi/{release['package'].lower()}@{release['version']}"
    return {"pedigree": {"ancestors": [{**_release(release), "purl": url}]}}


def _release(release: dict[str, str]) -> dict[str, object]:
    return {
        "type": "file",
        "name": release["file"],
        "version": release["version"],
        "hashes": [{"alg": "SHA-256", "content": release["sha256"]}],
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
