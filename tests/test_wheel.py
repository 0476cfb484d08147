"""The wheel that users install, not the checkout."""

import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from streamfilter.errors import how_to_install

pytestmark = pytest.mark.process
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel") / "dist"
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    command += ["--quiet", "--disable-pip-version-check", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    (found,) = folder.glob("*.whl")
    return found


def test_what_the_package_reads_travels_with_it(wheel: Path) -> None:
    """Manifests, field maps and schemas stand in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for folder in ("engines", "schemas"):
        files = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
        files = [path for path in files if ROOT / "engines" / "training" not in path.parents]
        expected = {f"streamfilter/_bundled/{path.relative_to(ROOT)}" for path in files}
        assert expected
        assert expected <= names


def test_an_installed_wheel_needs_no_checkout(wheel: Path, tmp_path: Path) -> None:
    """It runs from its own folder, and finds its engines and surveys there."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import streamfilter, streamfilter.alerts.surveys as s;"
        "import streamfilter.inference.manifest as m;"
        "print(streamfilter.__file__, *s.Surveys.load().names, *m.names())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    place, *names = done.stdout.split()
    assert Path(place).is_relative_to(tmp_path)
    assert {"lsst", "ztf", "deepcr", "maximask", "maxitrack", "stampmask"} <= set(names)


def test_what_an_error_tells_to_install_can_be_installed(wheel: Path) -> None:
    """The command for a wheel as it stands; no index is needed, the extra is here already."""
    _, _, command = how_to_install("openvino").partition(", or ")
    words = shlex.split(command.removesuffix(" with a wheel (make wheel)"))
    assert ["pip", "install"] == words[:2]
    done = subprocess.run(
        [sys.executable, "-m", *words, "--dry-run", "--no-index", "--disable-pip-version-check"],
        cwd=wheel.parent.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    # pip says in a warning alone that an extra does not exist.
    assert (0, "") == (done.returncode, done.stderr)
    assert "Would install streamfilter-" in done.stdout
