"""Guessing of the password: slowed, counted, logged."""

import base64
import time

import pytest
from structlog.testing import capture_logs

from streamfilter.service import logins
from streamfilter.service.logins import Logins


class Clock:
    """A clock that a test sets."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def counted() -> list[None]:
    return []


@pytest.fixture
def guarded(clock: Clock, counted: list[None]) -> Logins:
    """Asks for a password, and does not keep the test waiting."""
    made = Logins("ops", "right", lambda: counted.append(None), clock)
    made.close()
    return made


def login(password: str) -> str:
    return "Basic " + base64.b64encode(f"ops:{password}".encode()).decode()


def status(guarded: Logins, password: str, host: str = "10.0.0.1") -> int:
    refusal = guarded.refusal(login(password), host)
    return 200 if refusal is None else int(refusal.status[:3])


def test_after_some_guesses_not_even_the_right_password_is_looked_at(
    guarded: Logins, clock: Clock, counted: list[None]
) -> None:
    """Else the answer would tell which one is right; every guess is counted."""
    assert [401] * 10 == [status(guarded, str(n)) for n in range(10)]
    assert [429, 429] == [status(guarded, "x"), status(guarded, "right")]
    assert 12 == len(counted)
    clock.now_s += 7.0
    assert 200 == status(guarded, "right")


def test_in_an_hour_an_address_has_few_guesses(guarded: Logins, clock: Clock) -> None:
    """Ten at first, then ten a minute."""
    looked_at = 0
    for _ in range(3600):
        clock.now_s += 1.0
        looked_at += status(guarded, "wrong") == 401
    assert 600 <= looked_at <= 610


def test_one_address_does_not_lock_out_another(guarded: Logins) -> None:
    """Prometheus goes on while somebody guesses."""
    for number in range(50):
        status(guarded, str(number))
    assert 200 == status(guarded, "right", "10.0.0.2")


def test_a_client_without_a_password_guesses_nothing(guarded: Logins, counted: list[None]) -> None:
    """Browsers ask once without one."""
    for _ in range(20):
        refusal = guarded.refusal("", "10.0.0.1")
        assert refusal is not None
        assert "WWW-Authenticate" in refusal.headers
    assert [] == counted
    assert 200 == status(guarded, "right")


def test_guesses_are_logged_once_a_minute(guarded: Logins, clock: Clock) -> None:
    """With the address, how many they were, and not what was tried."""
    with capture_logs() as logged:
        for _ in range(120):
            clock.now_s += 1.0
            status(guarded, "hunter2")
    assert ["wrong password"] * 2 == [each["event"] for each in logged]
    assert [("10.0.0.1", 1), ("10.0.0.1", 60)] == [(e["address"], e["refused"]) for e in logged]
    assert "hunter2" not in str(logged)


def test_a_wrong_password_is_answered_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A right one is not."""
    monkeypatch.setattr(logins, "_DELAY_S", 2.0)
    guarded = Logins("ops", "right", lambda: None)
    started = time.monotonic()
    assert 200 == status(guarded, "right")
    assert time.monotonic() - started < 2.0
    assert 401 == status(guarded, "wrong")
    assert time.monotonic() - started >= 2.0


def test_as_many_addresses_as_there_are_take_no_more_memory(guarded: Logins) -> None:
    """Of too many the one that was wrong longest ago is forgotten."""
    for number in range(5000):
        status(guarded, "wrong", f"10.1.{number // 256}.{number % 256}")
    assert 4096 == len(guarded._of)
