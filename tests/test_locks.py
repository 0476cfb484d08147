"""Lock files and pyproject.toml say the same, and name no place to fetch from."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
LOCKS = ROOT / "deploy" / "locks"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
LOCKED = {"dev": ("dev",), "install": ("console", "figures", "lsst")}
"""What each lock file is for: the extras of pyproject.toml that it holds."""


def locked(name: str) -> dict[str, set[Version]]:
    """The versions of each package; more than one where they differ by Python."""
    found: dict[str, set[Version]] = {}
    text = (LOCKS / f"{name}.txt").read_text()
    for package, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.M):
        found.setdefault(canonicalize_name(package), set()).add(Version(version))
    return found


def wanted(*extras: str) -> Iterator[Requirement]:
    """What pyproject.toml asks for: to build, to run, and by extras."""
    yield from map(Requirement, PROJECT["build-system"]["requires"])
    yield from map(Requirement, PROJECT["project"]["dependencies"])
    for extra in extras:
        for each in map(Requirement, EXTRAS[extra]):
            yield from wanted(*each.extras) if each.name == "streamfilter" else (each,)


@pytest.mark.parametrize("name", LOCKED)
def test_what_pyproject_asks_for_is_locked_within_its_bounds(name: str) -> None:
    """Who changed a bound runs `make lock`."""
    have = locked(name)
    for each in wanted(*LOCKED[name]):
        versions = have.get(canonicalize_name(each.name), set())
        assert versions, f"{each.name} is not in {name}.txt: run `make lock`"
        assert all(each.specifier.contains(version) for version in versions), f"{each}: {versions}"


@pytest.mark.parametrize("name", ["install", "uv"])
def test_an_install_is_a_part_of_what_is_tested(name: str) -> None:
    """The same versions; else the tests would speak of other packages."""
    tested = locked("dev")
    assert {} == {k: v for k, v in locked(name).items() if tested.get(k) != v}


@pytest.mark.parametrize("file", sorted(LOCKS.iterdir()), ids=lambda file: file.name)
def test_every_package_has_hashes_and_no_address(file: Path) -> None:
    """Where packages come from is the matter of who installs."""
    text = file.read_text()
    blocks = re.split(r"^(?=\w)", text, flags=re.M)[1:]
    assert blocks
    assert [] == [each.split()[0] for each in blocks if "--hash=sha256:" not in each]
    assert not re.search(r"://|index|@ ", text)


def test_every_dependency_has_an_upper_bound() -> None:
    """A major version of others is tried before users get it."""
    asked = [*wanted(*EXTRAS)]
    assert len(asked) > 30
    bounded = ("<", "==", "~=")
    open_ended = [
        str(each) for each in asked if not any(part.operator in bounded for part in each.specifier)
    ]
    assert [] == open_ended
