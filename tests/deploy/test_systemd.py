"""The systemd unit, held against systemd's own checks and the settings it must fit."""

import shutil
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path

import pytest

from streamfilter.config import Settings

UNIT = Path(__file__).parent.parent.parent / "deploy" / "systemd" / "streamfilter@.service"
HANGING_BROKER_S = 15.0
LARGEST_EXPOSURE = "20"
"""In tenths, of 100: what `systemd-analyze security` calls OK."""


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that is here."""
    program = Path(sys.executable).with_name("streamfilter")
    text = UNIT.read_text()
    assert "/opt/streamfilter/bin/streamfilter run" in text
    path = tmp_path / UNIT.name
    path.write_text(text.replace("/opt/streamfilter/bin/streamfilter run", f"{program} run"))
    return path


def analysed(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What systemd-analyze says; it needs no running systemd."""
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not here: install Debian's package systemd")
    return subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.tool
def test_systemd_finds_nothing_wrong(unit: Path) -> None:
    """No unknown key, no wrong value, no program that is not there."""
    done = analysed("verify", str(unit))
    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.tool
def test_a_wrong_key_is_found(unit: Path) -> None:
    """The test above looks."""
    unit.write_text(unit.read_text().replace("ProtectHome=yes", "ProtectHouse=yes"))
    assert "ProtectHouse" in analysed("verify", str(unit)).stderr


@pytest.mark.tool
def test_the_service_is_closed_off(unit: Path) -> None:
    """What systemd itself counts as exposure stays small."""
    threshold = f"--threshold={LARGEST_EXPOSURE}"
    done = analysed("security", "--offline=true", threshold, str(unit))
    assert "Overall exposure level" in done.stdout
    assert 0 == done.returncode, done.stdout[-300:]


def test_the_unit_waits_for_what_a_stop_takes() -> None:
    """Else systemd kills in the middle of a commit; and reload is the signal that reloads."""
    unit = RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(UNIT.read_text())
    service = unit["Service"]
    needed = Settings().flow.drain_s + HANGING_BROKER_S
    assert float(service["TimeoutStopSec"]) >= needed
    assert "/bin/kill -HUP $MAINPID" == service["ExecReload"]
    assert "2" == service["RestartPreventExitStatus"]
    assert service["StateDirectory"] in service["Environment"]
