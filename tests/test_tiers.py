"""Each test has one tier, and what a test of the first one forgets to ask for is not there."""

import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import alone
import pytest
import tiers

ROOT = Path(__file__).parent.parent
MAKEFILE = (ROOT / "Makefile").read_text()


@pytest.mark.parametrize(
    ("marks", "tier"),
    [
        ((), "check"),
        (("parametrize", "filterwarnings"), "check"),
        (("engine",), "unit"),
        (("process",), "unit"),
        (("kafka", "engine"), "stream"),
        (("tool", "kafka"), "deploy"),
        (("chaos", "kafka", "engine"), "bounded_chaos"),
        (("night", "chaos"), "night"),
    ],
)
def test_what_a_test_needs_says_its_tier(marks: tuple[str, ...], tier: str) -> None:
    """The dearest of it does."""
    assert tier == tiers.tier_of(marks)


def test_a_fixture_brings_its_mark_and_the_tier(request: pytest.FixtureRequest) -> None:
    """This test asks for nothing."""
    assert request.node.get_closest_marker("check")
    assert request.node.get_closest_marker("stream") is None


def recipe(target: str) -> str:
    """What a target of the Makefile runs."""
    (found,) = re.findall(rf"^{target}:(?! [A-Z]+ :?=).*\n((?:\t.*\n)+)", MAKEFILE, re.M)
    return str(found)


def chosen(*targets: str) -> list[str]:
    """The tiers that targets run, each as often as it is run."""
    expressions = re.findall(r" -m (\w+|\".+?\")(?= |$)", "".join(map(recipe, targets)), re.M)
    return [
        tier for each in expressions for tier in each.strip('"').split(" or ") if tier != "pytest"
    ]


def test_every_tier_has_a_target() -> None:
    """And no target has two of them."""
    targets = ("check", "unit", "stream", "deploy-check", "bounded-chaos", "night")
    assert ["check", "unit", "stream", "deploy", "bounded_chaos", "night"] == [
        *chain.from_iterable(map(chosen, targets))
    ]
    assert {"check", *tiers.TIERS} == set(chosen(*targets))


def test_make_test_runs_each_tier_once_but_the_night_s() -> None:
    """By the targets that it names; `unit` asks for `check`."""
    assert "unit with-services" in recipe("test")
    assert "unit: check weights\n" in MAKEFILE
    found = chosen("check", "unit", "with-services")
    assert sorted({"check", *tiers.TIERS} - {"night"}) == sorted(found)


def test_jobs_of_the_workflow_run_every_tier() -> None:
    """Side by side, the first two on every Python."""
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    python, services = re.findall(r"^ +tier: \[(.*)\]$", text, re.M)
    assert ("check, unit", "stream, deploy-check, bounded-chaos") == (python, services)
    assert "run: make night" in text


@pytest.mark.parametrize("event", ["subprocess.Popen", "os.posix_spawn", "os.exec", "os.fork"])
def test_a_process_that_no_mark_tells_of_fails(event: str) -> None:
    """As the interpreter itself reports it: nothing is started."""
    with pytest.raises(pytest.fail.Exception, match="mark it process"):
        sys.audit(event, "java", ["-version"], None, None)


@pytest.mark.parametrize("address", [("192.0.2.1", 9092), ("2001:db8::1", 443, 0, 0)])
def test_a_connection_that_no_mark_tells_of_fails(address: tuple[object, ...]) -> None:
    """Addresses of examples, to which nothing is sent."""
    with pytest.raises(pytest.fail.Exception, match="connects to"):
        sys.audit("socket.connect", None, address)


@pytest.mark.parametrize("address", [("127.0.0.1", 9), ("localhost", 9), ("::1", 9), "/run/x"])
def test_this_machine_may_be_connected_to(address: object) -> None:
    """Small servers of the tests listen there."""
    sys.audit("socket.connect", None, address)


def test_what_runs_alone_finds_neither_cache_nor_programs() -> None:
    """Where weights, a broker and Java would be looked for; the rest stays as it was."""
    given = {
        "HOME": "/home/me", "PATH": "/usr/bin", "STREAMFILTER_HOME": "/weights", "CI": "true",
        "XDG_CACHE_HOME": "/cache", "JAVA_HOME": "/java", "STREAMFILTER_TEST_BOOTSTRAP": "b:9092",
    }  # fmt: skip
    expected = {"HOME": "/empty", "PATH": str(Path(sys.executable).parent), "CI": "true"}
    assert expected == alone.environment("/empty", given)


LOOK = """
import os, shutil, socket
from pathlib import Path
names = [line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]]
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).close()
server.close()
print(os.listdir(Path.home()), shutil.which("java"), names)
"""


@pytest.mark.process
def test_a_command_alone_has_loopback_and_nothing_else(capfd: pytest.CaptureFixture[str]) -> None:
    """No file at home, no Java, and no network where the kernel gives one of its own."""
    alone_program = [sys.executable, alone.__file__, sys.executable, "-c", LOOK]
    assert 0 == subprocess.run(alone_program, check=False).returncode
    out, err = capfd.readouterr()
    home, java, interfaces = out.strip().split(" ", 2)
    assert ("[]", "None") == (home, java)
    if "no network of its own" not in err:
        assert "lo" in interfaces
        assert not re.search(r"eth|ens|enp|wl", interfaces)


def test_tests_of_one_slow_fixture_stay_on_one_worker(request: pytest.FixtureRequest) -> None:
    """pytest-xdist groups them by this name: without it each worker would build the image."""
    assert request.node.nodeid == request.node._nodeid
