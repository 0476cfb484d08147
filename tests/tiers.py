"""Marks and tiers of the tests: what a test needs, and in which run it stands.

Marks come from fixtures where a fixture tells, from the test itself where none does. Each test has
one tier, which is the first line of ``TIERS`` that it fits; ``make`` runs them by that name.
"""

import sys
from collections.abc import Collection
from typing import Any, NoReturn

import pytest

FROM_FIXTURES = {
    "broker": "kafka",
    "private_broker": "kafka",
    "registry_url": "kafka",
    "secure": "kafka",
    "engine_home": "engine",
    "chromium": "tool",
    "debian": "tool",
    "image": "tool",
    "go_programs": "tool",
}
"""What a test needs that asks for a fixture, at first or second hand."""

TIERS = {
    "night": {"night"},
    "bounded_chaos": {"chaos"},
    "deploy": {"tool"},
    "stream": {"kafka"},
    "unit": {"engine", "process", "gpu"},
}
"""Tier, and the marks of which one is enough; what has none of them is of tier ``check``."""

MADE_ONCE = ("image", "prometheus", "secure")
"""Fixtures of a module that take long to make: their tests stay on one worker."""

_LOOPBACK = ("127.", "::1", "localhost", "/", "\0")
_PROCESSES = ("subprocess.Popen", "os.posix_spawn", "os.exec", "os.fork", "os.system")
# matplotlib asks for fonts when it first draws, and goes on where there is no such program.
_NO_MATTER = ("fc-list",)


def tier_of(marks: Collection[str]) -> str:
    """The one tier of a test that has these marks."""
    return next((name for name, enough in TIERS.items() if enough & set(marks)), "check")


def sort_into_tiers(items: list[pytest.Item]) -> None:
    """Give each test the marks of its fixtures, and the mark of its tier."""
    for item in items:
        for name in sorted(set(getattr(item, "fixturenames", ())) & set(FROM_FIXTURES)):
            item.add_marker(FROM_FIXTURES[name])
        item.add_marker(tier_of({mark.name for mark in item.iter_markers()}))
        for name in set(getattr(item, "fixturenames", ())) & set(MADE_ONCE):
            item.add_marker(pytest.mark.xdist_group(f"{item.path.stem} {name}"))


class Guard:
    """While it is armed, whoever starts a process or leaves this machine fails at once.

    It is Python's own audit hook: it sees what any library does from Python. A hook stays for the
    life of the interpreter, so there is one guard, which is armed for tests of tier ``check``.
    """

    def __init__(self) -> None:
        self.armed = False
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        if event in _PROCESSES and arguments[0] not in _NO_MATTER:
            self._refuse(f"starts a process ({event}: {arguments[:2]!r})", "process")
        if event == "socket.connect" and not _is_here(arguments[1]):
            self._refuse(f"connects to {arguments[1]!r}", "kafka, engine or tool")

    def _refuse(self, what: str, mark: str) -> NoReturn:
        self.armed = False  # how the failure is shown is not the test's doing
        pytest.fail(f"a test of tier check {what}: mark it {mark}, or ask for a fixture that does")


def _is_here(address: object) -> bool:
    host = address[0] if isinstance(address, tuple) else address
    text = host.decode(errors="replace") if isinstance(host, bytes) else str(host)
    return text.startswith(_LOOPBACK)
