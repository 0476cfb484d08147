"""Without a token nobody works for long, and the words say where tokens come from."""

import pytest
from confluent_kafka import KafkaError

from streamfilter.errors import ConfigurationInvalid, TransportFailed
from streamfilter.kafka.client import ClientErrors, merged, transport_failed
from streamfilter.kafka.tokens import TokenFailures

FAILED = "Failed to acquire SASL OAUTHBEARER token: {}"
BROKER = {"bootstrap.servers": "127.0.0.1:1"}


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def failures_every(
    seconds: float, times: int, *, worked: bool, line: str = ""
) -> tuple[TokenFailures, list[bool]]:
    """Of a client that got no token so often; what was said of each."""
    clock = Clock()
    failures = TokenFailures(clock)
    if worked:
        failures.worked()
    said = []
    for _ in range(times):
        failures.read("OIDC", line)
        said.append(failures.failed())
        clock.now_s += seconds
    return failures, said


def test_a_client_at_work_waits_five_minutes_for_a_token() -> None:
    """The one that it has lasts for a while, and librdkafka asks again."""
    _, said = failures_every(10.0, 32, worked=True, line="...: {} (401)")
    assert [False] * 31 + [True] == said


def test_a_client_that_never_had_a_token_waits_a_minute() -> None:
    """A provider that is started at the same time may need so long."""
    _, said = failures_every(10.0, 8, worked=False, line="...: {} (503)")
    assert [False] * 7 + [True] == said


def test_a_refusal_at_the_start_is_the_end() -> None:
    """A wrong secret does not become right."""
    _, said = failures_every(10.0, 1, worked=False, line='... "http://idp/token": {} (401)')
    assert [True] == said


def test_a_refusal_later_on_is_waited_out() -> None:
    """Of a producer that had nothing to send yet nobody knows whether it worked."""
    clock = Clock()
    failures = TokenFailures(clock)
    clock.now_s += 16.0
    failures.read("OIDC", "{} (401)")
    assert not failures.failed()


def test_failures_far_apart_are_no_row() -> None:
    """There was a token in between."""
    failures, said = failures_every(100.0, 10, worked=True)
    assert [False] * 10 == said
    assert not failures.under_way


def test_a_worker_waits_and_a_command_does_not() -> None:
    """Of a broker that refuses the old token meanwhile nothing more is said either."""
    error = KafkaError(KafkaError._AUTHENTICATION, FAILED)
    expired = KafkaError(KafkaError.SASL_AUTHENTICATION_FAILED, "invalid_token")
    worker, command = ClientErrors("consumer", patient=True), ClientErrors("doctor")
    for trouble in (worker, command):
        trouble.recovered()
        trouble.on_error(error)
        trouble.on_error(expired)
    worker.check()
    with pytest.raises(TransportFailed, match=r"sasl\.oauthbearer\.token\.endpoint\.url"):
        command.check()


def test_a_broker_that_refuses_a_token_without_a_failure_before_ends_the_worker() -> None:
    """Its words fit the mechanism."""
    trouble = ClientErrors("consumer", patient=True)
    trouble.on_error(KafkaError(KafkaError.SASL_AUTHENTICATION_FAILED, "{'invalid_token'}"))
    with pytest.raises(TransportFailed, match=r"sasl\.oauthbearer\.client\.secret"):
        trouble.check()


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ("SASL OAUTHBEARER mechanism handshake failed", "sasl.oauthbearer.client.id"),
        ("GSSAPI: no principal", "sasl.kerberos.keytab"),
        ("Authentication failed: Invalid username or password", "sasl.password"),
    ],
)
def test_words_fit_the_mechanism(said: str, named: str) -> None:
    """Nobody looks for a password where there is none."""
    assert named in str(transport_failed(KafkaError(KafkaError._AUTHENTICATION, said), "reading"))


@pytest.mark.parametrize(
    "more",
    [{}, {"enable.sasl.oauthbearer.unsecure.jwt": True}, {"sasl.oauthbearer.method": "default"}],
)
@pytest.mark.parametrize("key", ["sasl.mechanism", "sasl.mechanisms"])
def test_no_source_of_tokens_is_refused(key: str, more: dict[str, str | bool]) -> None:
    """librdkafka would wait for one for ever, without a word."""
    with pytest.raises(ConfigurationInvalid, match="nothing gives it tokens: set"):
        merged({}, {**BROKER, key: "OAUTHBEARER", **more}, ("bootstrap.servers",))


@pytest.mark.parametrize(
    "more",
    [
        {"sasl.oauthbearer.method": "oidc"},
        {"enable.sasl.oauthbearer.unsecure.jwt": True, "sasl.oauthbearer.config": "principal=me"},
    ],
)
def test_a_source_of_tokens_is_taken(more: dict[str, str | bool]) -> None:
    """librdkafka itself says what else oidc needs."""
    merged({}, {**BROKER, "sasl.mechanism": "OAUTHBEARER", **more}, ("bootstrap.servers",))
