"""Settings, errors and log lines of librdkafka, for source, sink and administration."""

import logging
from collections.abc import Callable, Mapping
from threading import Thread
from typing import Any, TypeVar

import structlog
from confluent_kafka import KafkaError, KafkaException

from streamfilter.errors import ConfigurationInvalid, TopicMissing, TransportFailed
from streamfilter.kafka import tokens
from streamfilter.kafka.properties import CLIENT, Kind, fitted

Settings = Mapping[str, str | int | float | bool]
"""Settings by librdkafka's own names."""

Result = TypeVar("Result")
Client = TypeVar("Client")

SLICE_S = 0.5
"""Longest single wait in ``within``; a pause of the process counts as no more than this."""

log = structlog.get_logger()

_CREDENTIALS = "check security.protocol, sasl.mechanism, sasl.username and sasl.password"
_KERBEROS = "check sasl.kerberos.service.name, sasl.kerberos.principal and sasl.kerberos.keytab"
_RIGHTS = "ask the broker's operators for the right (ACL), or use other names"
_FENCED = (
    "another worker began with the same delivery.transactional_id, or this one was away for longer "
    "than delivery.transaction_timeout_s: give each worker an id of its own and start it again"
)
_SAME_INSTANCE = (
    "another worker has the same group.instance.id: give each worker its own and start it again. "
    "One that was killed holds its own until the group's session time-out"
)
# How an operator can mend an error that does not end by itself.
MENDS = {
    KafkaError._AUTHENTICATION: _CREDENTIALS,
    KafkaError.SASL_AUTHENTICATION_FAILED: _CREDENTIALS,
    KafkaError.UNSUPPORTED_SASL_MECHANISM: _CREDENTIALS,
    KafkaError.TOPIC_AUTHORIZATION_FAILED: _RIGHTS,
    KafkaError.GROUP_AUTHORIZATION_FAILED: f"{_RIGHTS} (group.id)",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: _RIGHTS,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: f"{_RIGHTS} (transactional.id)",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "create it: streamfilter topics create --config FILE",
    KafkaError._UNKNOWN_TOPIC: "create it: streamfilter topics create --config FILE",
    KafkaError._UNKNOWN_PARTITION: "create it: streamfilter topics create --config FILE",
    KafkaError.TOPIC_EXCEPTION: "use letters, digits, '.', '_' and '-' in topic names",
    KafkaError.INVALID_TIMESTAMP: (
        "set this machine's clock: the broker's is over message.timestamp.after.max.ms (1 h) away"
    ),
    KafkaError.INVALID_GROUP_ID: "set group.id",
    KafkaError.INCONSISTENT_GROUP_PROTOCOL: (
        "another member of the group assigns differently: stop it, or set "
        "partition.assignment.strategy to what it uses"
    ),
    KafkaError.UNSUPPORTED_ASSIGNOR: "set group.remote.assignor to one that the broker has",
    KafkaError.UNSUPPORTED_VERSION: "remove group.protocol, or use a newer broker",
    KafkaError.FENCED_INSTANCE_ID: _SAME_INSTANCE,
    KafkaError.UNRELEASED_INSTANCE_ID: _SAME_INSTANCE,
    KafkaError.GROUP_MAX_SIZE_REACHED: "start fewer workers, or raise group.max.size",
    KafkaError.INVALID_REGULAR_EXPRESSION: "mend the topic pattern",
    KafkaError._AUTO_OFFSET_RESET: (
        "the group has no valid offset there: set auto.offset.reset to earliest or latest"
    ),
    KafkaError._FENCED: _FENCED,
    KafkaError.PRODUCER_FENCED: _FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH: _FENCED,
    KafkaError.INVALID_TRANSACTION_TIMEOUT: (
        "lower delivery.transaction_timeout_s, or raise the broker's transaction.max.timeout.ms"
    ),
    KafkaError.OFFSET_METADATA_TOO_LARGE: "raise the broker's offset.metadata.max.bytes to 4096",
    KafkaError._MSG_TIMED_OUT: "see that the broker is up, or raise delivery.timeout.ms",
    KafkaError._TRANSPORT: "see that the broker is up and bootstrap.servers is right",
    KafkaError._ALL_BROKERS_DOWN: "see that the broker is up and bootstrap.servers is right",
    KafkaError._TIMED_OUT: "see that the broker is up and bootstrap.servers is right",
}
_NO_TOPIC = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC})
GONE = _NO_TOPIC | {KafkaError._UNKNOWN_PARTITION}
"""Errors of a topic or partition that was deleted, or never was."""
_LOGINS = frozenset({KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED})
_LOGINS_BY_WORD = {
    tokens.OAUTHBEARER: tokens.MEND, "invalid_token": tokens.MEND,
    "GSSAPI": _KERBEROS, "Kerberos": _KERBEROS,
}  # fmt: skip
_SILENCE = frozenset({KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT})
_ENDED = "FATAL"  # facility of librdkafka's line about an error that ends the client
# Settings that confluent-kafka adds to librdkafka's; streamfilter sets them itself.
CALLBACKS = frozenset(
    {"error_cb", "logger", "oauth_cb", "on_commit", "on_delivery", "stats_cb", "throttle_cb"}
)
# Passing errors: they end when the broker or the network comes back.
PASSING = frozenset(
    {
        KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE,
        KafkaError._TIMED_OUT, KafkaError._SSL,
    }
)  # fmt: skip


def transport_failed(
    error: KafkaError, doing: str, *, tokens_used: bool = False
) -> TransportFailed:
    """Returns the failure for an error of librdkafka, with how to mend it where known.

    Parameters
    ----------
    tokens_used
        Whether the client logs in with tokens: then silence may mean that it has none.
    """
    mend = tokens.NO_ANSWER if tokens_used and error.code() in _SILENCE else _mend_of(error)
    kind = TopicMissing if error.code() in _NO_TOPIC else TransportFailed
    return kind(f"{doing}: {error.str()}" + (f"; {mend}" if mend else ""))


def lasting(error: KafkaError) -> bool:
    """Whether an error lasts until somebody mends its cause, so that retries do not help."""
    code = error.code()
    return error.fatal() or code == KafkaError._FATAL or (code in MENDS and code not in PASSING)


def _mend_of(error: KafkaError) -> str | None:
    """Returns what mends an error; the reason why a client has ended stands only in its message."""
    code, said = error.code(), error.str()
    if code in _LOGINS:  # the words name the mechanism
        named_too = (mend for word, mend in _LOGINS_BY_WORD.items() if word in said)
        return next(named_too, MENDS[code])
    if code != KafkaError._FATAL:
        return MENDS.get(code)
    named = (mend for code, mend in MENDS.items() if KafkaError(code).str() in said)
    return next(named, "start the worker again")


def error_of(exception: KafkaException) -> KafkaError:
    """Returns the error inside an exception of confluent-kafka."""
    error: KafkaError = exception.args[0]
    return error


def words_of(error: Exception) -> str:
    """Returns the message of an exception of confluent-kafka or another."""
    return str(error_of(error).str()) if isinstance(error, KafkaException) else str(error)


def make_client(
    kind: Callable[[dict[str, Any]], Client], settings: Mapping[str, Any], name: str
) -> Client:
    """Returns a client of a kind of confluent-kafka's, such as ``Consumer``.

    Raises
    ------
    ConfigurationInvalid
        librdkafka refuses the settings; its message stands behind the name of the client.
    """
    try:
        return kind(dict(settings))
    except (KafkaException, TypeError, ValueError) as error:
        raise ConfigurationInvalid(f"Kafka {name} settings: {words_of(error)}") from error


def within(seconds: float, work: Callable[[], Result]) -> list[Result]:
    """Run a call that has no time-out; returns a list with its result, empty if it takes too long.

    The call then continues in its own thread, which does not keep the process from ending.
    """
    results: list[Result] = []
    thread = Thread(target=lambda: results.append(work()), daemon=True)
    thread.start()
    # While a process is paused (SIGSTOP, a frozen container) the clock goes on, the work does not.
    while seconds > 0 and thread.is_alive():
        thread.join(min(seconds, SLICE_S))
        seconds -= SLICE_S
    return results


def text(value: str | int | float | bool) -> str:
    """Returns a value as the text that librdkafka reads."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def merged(
    defaults: Settings, given: Settings, required: tuple[str, ...], kind: Kind = CLIENT
) -> dict[str, str]:
    """Returns the settings of a client: the given ones, and the defaults, fitted to them.

    Raises
    ------
    ConfigurationInvalid
        A required setting is missing, a setting takes a function (confluent-kafka's own), or two
        settings exclude each other.
    """
    present = set(given) | ({"bootstrap.servers"} if "metadata.broker.list" in given else set())
    missing = [key for key in required if key not in present]
    for key in sorted(CALLBACKS & set(given)):
        raise ConfigurationInvalid(f"Kafka setting {key!r} takes a function: remove it")
    if missing:
        raise ConfigurationInvalid(f"Kafka setting {missing[0]!r} is missing: give it a value")
    tokens.refuse_tokenless(given)
    return {k: text(v) for k, v in {**fitted(defaults, given, kind), **given}.items()}


def refuse(given: Settings, guarantees: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse settings under which messages could be lost.

    Raises
    ------
    ConfigurationInvalid
        A setting in ``guarantees`` has a value that is not among the allowed ones.
    """
    for key, allowed in guarantees.items():
        if key in given and text(given[key]).lower() not in allowed:
            raise ConfigurationInvalid(
                f"Kafka setting {key!r} is {text(given[key])!r}, but must be {allowed[0]!r}: "
                "otherwise alerts could be lost; remove it"
            )


class ClientErrors:
    """The errors of a client: a passing one is logged once per outage, the first lasting one kept.

    librdkafka calls ``on_error`` and ``log`` while the client is polled.

    Parameters
    ----------
    patient
        Whether it waits for a token that cannot be had now: workers do, commands do not.
    passing
        Codes of lasting errors that end no client of this kind.
    """

    def __init__(
        self, client: str, *, patient: bool = False, passing: frozenset[int] = frozenset()
    ) -> None:
        self._client = client
        self._passing = passing
        self._unreachable = False
        self._patient = patient
        self._tokens = tokens.TokenFailures()
        self.tokens_used = False
        """Whether the client logs in with tokens: then silence may mean that it has none."""
        self._failure: Exception | None = None

    def settings(self) -> dict[str, Any]:
        """Returns the callbacks, to be merged into the client's settings."""
        return {"error_cb": self.on_error, "logger": self}

    def on_error(self, error: KafkaError) -> None:
        """Keep or log an error that belongs to the client, not to a message."""
        without_token = tokens.concerns_tokens(error.str())
        if self._patient and error.code() in _LOGINS and not error.fatal():
            waits = not self._tokens.failed() if without_token else self._tokens.under_way
            if waits:
                if self._begins_outage():
                    log.warning("no token", client=self._client, detail=error.str(), retried=True)
                return
        if lasting(error) and error.code() not in self._passing:
            self.fail(transport_failed(error, f"the {self._client} cannot go on"))
        elif error.code() not in PASSING:
            log.warning("kafka trouble", client=self._client, detail=error.str())
        elif self._begins_outage():
            log.warning("kafka unreachable", client=self._client, detail=error.str(), retried=True)

    def _begins_outage(self) -> bool:
        """Returns whether an outage begins with this error: only then it is logged."""
        begins, self._unreachable = not self._unreachable, True
        return begins

    @property
    def unreachable(self) -> bool:
        """Whether there is an outage, as far as is known."""
        return self._unreachable

    def failure(self, error: KafkaError, doing: str) -> TransportFailed:
        """Returns the failure for an error of a request."""
        return transport_failed(error, doing, tokens_used=self.tokens_used)

    def silence(self, about: str) -> TransportFailed:
        """Returns the failure for a question that got no answer."""
        mend = tokens.NO_ANSWER if self.tokens_used else "see that the broker is up"
        return TransportFailed(f"no answer about {about}; {mend}")

    def recovered(self) -> None:
        """Note that the broker has answered: the next outage is logged again."""
        self._tokens.worked()
        if self._unreachable and not self._tokens.under_way:
            self._unreachable = False
            log.info("kafka reachable", client=self._client)

    def fail(self, failure: Exception) -> None:
        """Keep the first lasting failure: callbacks cannot raise it themselves."""
        self._failure = self._failure or failure

    @property
    def failed(self) -> bool:
        """Whether there is a lasting failure."""
        return self._failure is not None

    def check(self) -> None:
        """Raise the lasting failure, if there is one."""
        if self._failure is not None:
            raise self._failure

    def log(self, level: int, template: str, facility: str, client: str, line: str) -> None:
        """Log a line of librdkafka; ``on_error`` reports the errors that it retries.

        A client that has ended for good says so here at once. To a consumer its error comes later,
        behind messages that are another's by then: after a refused commit with its session's end.
        """
        self._tokens.read(facility, line)
        if facility == _ENDED:
            ended = KafkaError(KafkaError._FATAL, line.partition("]: ")[2] or line)
            self.fail(transport_failed(ended, f"the {self._client} cannot go on"))
        quiet = level < logging.WARNING or facility in {"FAIL", "ERROR", "GETPID", "REQTMOUT"}
        write = log.debug if quiet else log.warning
        write("librdkafka", client=self._client, facility=facility, detail=line)
