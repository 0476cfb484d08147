"""Checks the password of a page, and slows and counts guesses."""

import base64
import hmac
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from streamfilter.service.connections import address_of

log = structlog.get_logger(__name__)

# For each address: so many wrong passwords at once, and one more after so long.
_BURST, _EACH_S = 10, 6.0
# Delay of the answer to a wrong password.
_DELAY_S = 1.0
# Number of addresses that are remembered; beyond it the oldest is forgotten.
_MOST_ADDRESSES = 4096
# Interval between two log lines about one address.
_LOG_EVERY_S = 60.0
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="streamfilter", charset="UTF-8"'}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused request: HTTP status and headers."""

    status: str
    headers: Mapping[str, str]


@dataclass(slots=True)
class _Guesses:
    left: float
    at_s: float
    untold: int = 0
    logged_s: float = float("-inf")


class Logins:
    """Lets in who has the password, and bounds how often each address may guess.

    Parameters
    ----------
    user, password
        Without a user everybody is let in.
    on_refused
        Called for each wrong password, and for each that came too often to be looked at.
    setting
        That has the password, for the log.
    """

    def __init__(
        self,
        user: str,
        password: str,
        on_refused: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        setting: str = "metrics.password",
    ) -> None:
        self._setting = setting
        self._open = not user
        self._expected = b"Basic " + base64.b64encode(f"{user}:{password}".encode())
        self._on_refused = on_refused
        self._clock = clock
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._of: OrderedDict[str, _Guesses] = OrderedDict()

    def refusal(self, given: str, host: str) -> Refusal | None:
        """Returns why a client at an address is not let in; None where it is. A refusal takes time.

        Parameters
        ----------
        given
            Its header ``Authorization``; empty where it has none.
        """
        if self._open:
            return None
        if not given:  # not a guess: browsers ask so whether a password is needed
            return Refusal("401 Unauthorized", _CHALLENGE)
        # Beyond the bound the right one is refused too: a guess must not learn from the answer.
        wait_s = self._wait_s(host)
        text = given.encode("latin-1", "replace")
        if not wait_s and hmac.compare_digest(self._expected, text):
            return None
        self._note(host, looked_at=not wait_s)
        self._closing.wait(_DELAY_S)
        if wait_s:
            after = {"Retry-After": str(math.ceil(wait_s))}
            return Refusal("429 Too Many Requests", after)
        return Refusal("401 Unauthorized", _CHALLENGE)

    def close(self) -> None:
        """Let nobody wait any longer."""
        self._closing.set()

    def _wait_s(self, host: str) -> float:
        """Returns the seconds until a password of this address is checked again."""
        with self._lock:
            guesses = self._of.get(address_of(host))
            if guesses is None:
                return 0.0
            self._refill(guesses)
            return 0.0 if guesses.left >= 1 else (1 - guesses.left) * _EACH_S

    def _note(self, host: str, *, looked_at: bool) -> None:
        self._on_refused()
        address, now_s = address_of(host), self._clock()
        with self._lock:
            guesses = self._of.setdefault(address, _Guesses(_BURST, now_s))
            self._of.move_to_end(address)
            if len(self._of) > _MOST_ADDRESSES:
                self._of.popitem(last=False)
            self._refill(guesses)
            guesses.left = max(guesses.left - looked_at, 0.0)
            guesses.untold += 1
            told = guesses.untold
            due = now_s - guesses.logged_s >= _LOG_EVERY_S
            if due:
                guesses.logged_s, guesses.untold = now_s, 0
        if due:
            log.warning("wrong password", address=address, refused=told, of=self._setting)

    def _refill(self, guesses: _Guesses) -> None:
        now_s = self._clock()
        guesses.left = min(guesses.left + (now_s - guesses.at_s) / _EACH_S, _BURST)
        guesses.at_s = now_s
