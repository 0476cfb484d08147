"""Memory and cores that the system and this process's container leave it."""

import os
from pathlib import Path

_MIB = 2**20
_MEMINFO, _CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def available_mib() -> int | None:
    """Returns the memory left by the system and this container; None where neither tells."""
    available = []
    for line in _lines(_MEMINFO):
        if line.startswith("MemAvailable:"):
            available.append(int(line.split()[1]) // 1024)
    most, used = _cgroup("memory.max"), _cgroup("memory.current")
    if most.isdigit() and used.isdigit():
        available.append((int(most) - int(used) + _cached_bytes()) // _MIB)
    return min(available, default=None)


def usable_cores() -> float:
    """Returns the cores of the process's affinity, or a container's smaller quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = float(len(affinity(0)) if affinity else os.cpu_count() or 1)
    quota, _, period = _cgroup("cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        cores = min(cores, int(quota) / int(period))
    return cores


def _cached_bytes() -> int:
    """Returns how much of a container's memory holds files that the kernel gives back."""
    stat = dict(line.split(" ", 1) for line in _lines(_CGROUP / "memory.stat") if " " in line)
    return int(stat.get("inactive_file", "0"))


def _cgroup(name: str) -> str:
    """Returns a value of this container's cgroup (version 2); empty where there is none."""
    return "".join(_lines(_CGROUP / name)[:1]).strip()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
