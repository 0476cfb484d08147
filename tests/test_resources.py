"""What of memory and cores is left, as the kernel tells it."""

from pathlib import Path

import pytest

from streamfilter import resources

MIB = 2**20


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A container's files, on a system with 8 GiB left."""
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: 1 kB\nMemAvailable: {8 * 1024 * 1024} kB\n")
    monkeypatch.setattr(resources, "_MEMINFO", meminfo)
    monkeypatch.setattr(resources, "_CGROUP", tmp_path)
    return tmp_path


def test_files_that_the_kernel_keeps_are_no_memory_in_use(container: Path) -> None:
    """A container that read many frames is full of them; they give way."""
    (container / "memory.max").write_text(f"{1000 * MIB}\n")
    (container / "memory.current").write_text(f"{990 * MIB}\n")
    assert 10 == resources.available_mib()
    (container / "memory.stat").write_text(f"anon 5\ninactive_file {700 * MIB}\n")
    assert 710 == resources.available_mib()


def test_the_smaller_of_system_and_container_counts(container: Path) -> None:
    """Without a limit the container has what the system has."""
    assert 8 * 1024 == resources.available_mib()
    (container / "memory.max").write_text("max\n")
    (container / "memory.current").write_text("5\n")
    assert 8 * 1024 == resources.available_mib()


def test_where_nobody_tells_nothing_is_known(container: Path) -> None:
    """As on other systems than Linux."""
    (container / "meminfo").unlink()
    assert resources.available_mib() is None


def test_a_quota_of_cores_counts(container: Path) -> None:
    """Half a core, whatever the machine has."""
    (container / "cpu.max").write_text("50000 100000\n")
    assert 0.5 == resources.usable_cores()
