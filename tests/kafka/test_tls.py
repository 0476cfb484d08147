"""SCRAM over TLS and ACLs, as public streams have them: what opens, and what each failure says."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import secure_node
import structlog
import trustme
from joined_source import joined
from kafka_node import KafkaUnavailable
from secure_node import PASSWORD, SecureNode

from streamfilter.errors import TransportFailed
from streamfilter.kafka.sink import KafkaSink, Undeliverable
from streamfilter.kafka.source import KafkaSource
from streamfilter.records import Message, Origin, Output

PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureNode]:
    try:
        made = secure_node.start(tmp_path_factory.mktemp("secure"))
    except KafkaUnavailable as why:
        pytest.skip(f"no Kafka: {why}")
    for name in ("alerts", "streamfilter.annotations", "forbidden"):
        made.broker.topic(name=name)
    made.grant()
    yield made
    made.node.remove()


def settings(secure: SecureNode, password: str = PASSWORD, **more: str) -> dict[str, str]:
    changed = {key.replace("_", "."): value for key, value in more.items()}
    address = {"bootstrap.servers": secure.bootstrap, "group.id": "streamfilter"}
    return {**address, **secure.client(password), **changed}


def read_one(source: KafkaSource) -> Message:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        for message in source.poll(1, 0.1):
            return message
    raise TimeoutError("no message came")


def send(sink: KafkaSink, topic: str) -> list[Undeliverable | None]:
    said: list[Undeliverable | None] = []
    sink.send(Output(Origin("in", 0, 0), topic, b"v"), lambda _, error: said.append(error))
    end = time.monotonic() + PATIENCE_S
    while not said and time.monotonic() < end:
        sink.poll(0.1)
    return said


def test_the_rights_of_the_script_are_enough(secure: SecureNode) -> None:
    """A worker reads, commits and writes idempotently with them, over SCRAM and TLS."""
    secure.broker.produce("alerts", [b"alert"])
    sink, source = KafkaSink(settings(secure)), joined(settings(secure), ["alerts"])
    assert b"alert" == read_one(source).value
    assert [None] == send(sink, "streamfilter.annotations")
    source.commit({("alerts", 0): 1}, wait=True)
    source.close()
    sink.close()
    assert {0: 1} == secure.broker.committed("streamfilter", "alerts")
    assert [b"v"] == [message.value for message in secure.broker.read("streamfilter.annotations")]


def test_no_other_topic_is_written(secure: SecureNode) -> None:
    """The failure says that a right is missing, not that the broker is down."""
    sink = KafkaSink(settings(secure))
    with pytest.raises(TransportFailed, match=r"\(ACL\)"):
        send(sink, "forbidden")
    sink.close()


def test_no_other_group_is_joined(secure: SecureNode) -> None:
    """The group is named as what to ask for."""
    source = joined(settings(secure, group_id="another"), ["alerts"])
    with pytest.raises(TransportFailed, match=r"\(ACL\).*\(group\.id\)"):
        read_one(source)
    source.close()


def test_a_wrong_password_is_told_without_it(secure: SecureNode) -> None:
    """SCRAM answers at once; the message names the settings, not their values."""
    sink = KafkaSink(settings(secure, password="marker-wrong"))
    with pytest.raises(TransportFailed, match=r"sasl\.password") as caught:
        send(sink, "streamfilter.annotations")
    assert "marker" not in str(caught.value)
    sink.close()


def test_a_certificate_of_nobody_is_not_trusted(secure: SecureNode, tmp_path: Path) -> None:
    """The worker says what is wrong with it, and gives the password to nobody."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    with structlog.testing.capture_logs() as logged:
        other = settings(secure, ssl_ca_location=str(tmp_path / "other.pem"))
        source = joined(other, ["alerts"])
        end = time.monotonic() + PATIENCE_S
        while "certificate verify failed" not in str(logged) and time.monotonic() < end:
            source.poll(1, 0.1)
        source.close()
    assert "certificate verify failed" in str(logged)
    assert PASSWORD not in str(logged)
