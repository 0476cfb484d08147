"""What the doctor says of the machine, against settings that are too large for it."""

import shutil
from pathlib import Path

import pytest

from streamfilter import config
from streamfilter.config import Settings
from streamfilter.doctor import State, engines, machine


def loaded(**overrides: str) -> Settings:
    """Returns settings; in keys, ``__`` stands for a dot."""
    pairs = [f"{key.replace('__', '.')}={value}" for key, value in overrides.items()]
    return config.load(environment={}, overrides=pairs)


def test_more_threads_than_cores_are_told() -> None:
    """The finding has the number to set."""
    (finding,) = machine.check_cores(loaded(engine__workers="999"), [])
    assert State.WARNING is finding.state
    assert finding.mend.startswith("set engine.workers to ")
    (finding,) = machine.check_cores(loaded(engine__workers="1"), [])
    assert State.OK is finding.state


def test_more_in_flight_than_memory_is_told() -> None:
    """The settings allow a terabyte of messages."""
    (finding,) = machine.check_memory(loaded(flow__max_in_flight_bytes=str(2**40)), [])
    assert (State.WARNING, True) == (finding.state, "max_in_flight_bytes" in finding.mend)


def test_masks_of_frames_need_memory_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is that of a frame of 4,096 px, plus the messages, plus 20 bytes a pixel."""
    monkeypatch.setattr(machine, "available_mib", lambda: 0)
    (without,) = machine.check_memory(loaded(), [])
    (beside,) = machine.check_memory(loaded(exposures__contaminants__topics='["e"]'), [])
    added = [int(each.expected.split()[1].replace(",", "")) for each in (without, beside)]
    assert 1_500 + 2 * 512 + 20 * 128 == added[1] - added[0]


def test_a_disk_is_looked_at_where_the_cache_will_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This works before the folder exists; a full disk is a failure."""
    settings = loaded(engine__home=str(tmp_path / "not" / "yet"))
    (finding,) = machine.check_disk(settings, [])
    assert "MiB free" in finding.found
    monkeypatch.setattr(machine, "_FULL_MIB", 2**40)
    monkeypatch.setattr(machine, "_ROOM_MIB", 2**40)
    (finding,) = machine.check_disk(settings, [])
    assert State.FAILED is finding.state


def test_a_gpu_is_asked_for_only_by_a_runtime_that_needs_one() -> None:
    """Each thing that is missing has its mend."""
    (finding,) = engines.check_gpu(loaded(), [])
    assert State.NOT_APPLICABLE is finding.state
    if shutil.which("nvidia-smi") is not None:
        pytest.skip("a GPU may be here: nothing need be missing")
    findings = list(engines.check_gpu(loaded(engine__runtime="tensorrt"), []))
    assert {"tensorrt", "pycuda", "driver"} == {finding.subject for finding in findings}
    (driver,) = (finding for finding in findings if finding.subject == "driver")
    assert (State.FAILED, True) == (driver.state, "install NVIDIA's driver" in driver.mend)
