"""What figures were measured on, and how they are handed on."""

import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path


def facts(*packages: str) -> dict[str, object]:
    """Processor, cores, load, Python, and the versions of packages that matter."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "load_1_min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def report(found: Mapping[str, object], to: Path | None) -> None:
    """Print figures as JSON, and write them to a file where one is named."""
    text = json.dumps(found, indent=2)
    print(text)
    if to is not None:
        to.write_text(text + "\n")
