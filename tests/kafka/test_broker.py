"""The broker that the tests start is a real one, and its helpers tell the truth."""

from kafka_desk import Broker


def test_what_is_produced_is_read_back_with_key_headers_and_timestamp(broker: Broker) -> None:
    """A tombstone, an empty value and a value come back as they were."""
    topic = broker.topic(3)
    broker.produce(
        topic, [b"v", None, b""], keys=[b"a", b"b", b"a"], headers=(("h", b"1"),),
        timestamp_ms=1_700_000_000_000,
    )  # fmt: skip
    found = broker.read(topic)
    assert {(b"a", b"v"), (b"b", None), (b"a", b"")} == {(m.key, m.value) for m in found}
    assert {((("h", b"1"),), 1_700_000_000_000)} == {(m.headers, m.timestamp_ms) for m in found}
    assert {b"a": 2, b"b": 1} == broker.counts(topic)


def test_a_restarted_broker_keeps_its_topics(private_broker: Broker) -> None:
    """Stop and start find the same data at the same address."""
    topic = private_broker.topic()
    private_broker.produce(topic, [b"kept"])
    assert private_broker.node is not None
    private_broker.node.stop()
    private_broker.node.start()
    assert [b"kept"] == [message.value for message in private_broker.read(topic)]
