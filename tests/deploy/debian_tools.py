"""Programs from Debian's packages, unpacked without installing any service."""

import os
import shutil
import subprocess
from pathlib import Path

from tool_cache import alone_with, cache

PROMETHEUS = ("prometheus", "prometheus-alertmanager")
# Alertmanager reads templates below /usr/share: the unpacked one, named first, is laid over it.
WITH_TEMPLATES = ("unshare", "-rm", "sh", "-c", 'mount --bind "$0" /usr/share && exec "$@"')
DOWNLOAD_S = 300.0  # 30 MB


class ToolsUnavailable(Exception):
    """No Debian package can be had here; the text says why."""


def tools() -> Path:
    """The folder of Prometheus' programs.

    Raises
    ------
    ToolsUnavailable
        apt or dpkg is missing, or the packages could not be fetched.
    """
    return unpacked("root", PROMETHEUS) / "usr" / "bin"


def unpacked(name: str, packages: tuple[str, ...]) -> Path:
    """The folder of what packages hold, fetched once into the tests' cache.

    Raises
    ------
    ToolsUnavailable
        apt or dpkg is missing, or the packages could not be fetched.
    """
    folder = cache() / "debian" / name
    with alone_with(folder):
        if not folder.is_dir():
            for tool in ("apt-get", "dpkg"):
                if shutil.which(tool) is None:
                    raise ToolsUnavailable(f"{tool} is not installed: run on Debian or Ubuntu")
            _fetch(folder, packages)
    return folder


def _fetch(folder: Path, packages: tuple[str, ...]) -> None:
    fetched = folder.with_name(f"{folder.name}.{os.getpid()}")
    fetched.mkdir(parents=True)
    try:
        subprocess.run(
            ["apt-get", "download", *packages],
            cwd=fetched, check=True, capture_output=True, text=True, timeout=DOWNLOAD_S,
        )  # fmt: skip
        for package in fetched.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, fetched], check=True, capture_output=True)
            package.unlink()
        fetched.rename(folder)
    except subprocess.SubprocessError as error:
        said = (getattr(error, "stderr", None) or str(error))[-500:]
        hint = "if the lists of packages are empty, run apt-get update as root"
        raise ToolsUnavailable(f"apt-get download failed ({hint}): {said}") from error
    finally:
        shutil.rmtree(fetched, ignore_errors=True)
