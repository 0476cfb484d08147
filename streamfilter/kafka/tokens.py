"""Tokens of OAUTHBEARER: where they come from, and which failures to get one librdkafka retries.

librdkafka asks for the next token well before the last one expires, and after a failure every few
seconds. So an identity provider that is away for a while stops no client.
"""

import re
import time
from collections.abc import Callable, Mapping

from streamfilter.errors import ConfigurationInvalid

MECHANISMS = ("sasl.mechanism", "sasl.mechanisms")
OAUTHBEARER = "OAUTHBEARER"
MEND = (
    "see that the identity provider is up, and check sasl.oauthbearer.token.endpoint.url, "
    "sasl.oauthbearer.client.id and sasl.oauthbearer.client.secret"
)
NO_ANSWER = (
    "see that the identity provider of sasl.oauthbearer.token.endpoint.url gives tokens: without "
    "one no broker is asked. Then see that the broker is up and bootstrap.servers is right"
)
_FAILED = "Failed to acquire SASL OAUTHBEARER token"
# librdkafka tries a request several times, and again after 10 s: a longer silence means success.
_ROW_S = 60.0
# A running client has a token that is valid for some time; one that never had any is misconfigured.
_FIRST_S = 10.0
WAIT_AT_WORK_S, WAIT_AT_START_S = 300.0, 60.0
_STATUS = re.compile(r"\((\d{3})\)$")
_PASSING = frozenset({408, 425, 429})


def uses_tokens(settings: Mapping[str, object]) -> bool:
    """Whether a client logs in with tokens."""
    return any(str(settings.get(key, "")).upper() == OAUTHBEARER for key in MECHANISMS)


def refuse_tokenless(settings: Mapping[str, object]) -> None:
    """Refuse settings with which a client would silently wait for a token for ever.

    Raises
    ------
    ConfigurationInvalid
        Nothing gives it tokens.
    """
    if not uses_tokens(settings):
        return
    asks = str(settings.get("sasl.oauthbearer.method", "")).lower() == "oidc"
    unsecured = str(settings.get("enable.sasl.oauthbearer.unsecure.jwt", "")).lower() == "true"
    if not asks and not (unsecured and settings.get("sasl.oauthbearer.config")):
        raise ConfigurationInvalid(
            "Kafka setting 'sasl.mechanism' is OAUTHBEARER, and nothing gives it tokens: set "
            "'sasl.oauthbearer.method' to 'oidc', with 'sasl.oauthbearer.token.endpoint.url', "
            "'sasl.oauthbearer.client.id' and 'sasl.oauthbearer.client.secret'"
        )


def concerns_tokens(detail: str) -> bool:
    """Whether a line of librdkafka tells of a token that it could not get."""
    return _FAILED in detail


class TokenFailures:
    """Counts the failures in a row of a running client to get a token."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._made_s = clock()
        self._since_s: float | None = None
        self._last_s = 0.0
        self._worked = self._refused = False

    def worked(self) -> None:
        """Note that a broker has answered, so that the client had a token."""
        self._worked = True

    def read(self, facility: str, line: str) -> None:
        """Read a line of librdkafka's log: only there stands the provider's status."""
        if facility == "OIDC" and (found := _STATUS.search(line)):
            status = int(found[1])
            self._refused = 400 <= status < 500 and status not in _PASSING

    @property
    def under_way(self) -> bool:
        """Whether the last attempt failed."""
        return self._since_s is not None and self._clock() - self._last_s < _ROW_S

    def failed(self) -> bool:
        """Count a failure; whether the client should end."""
        now = self._clock()
        if not self.under_way:
            self._since_s = now
            # The first token is asked for at once: a later failure is one to renew it.
            self._worked = self._worked or now - self._made_s > _FIRST_S
        self._last_s = now
        lasts_s = now - (self._since_s or now)
        if self._worked:
            return lasts_s > WAIT_AT_WORK_S
        return self._refused or lasts_s > WAIT_AT_START_S
