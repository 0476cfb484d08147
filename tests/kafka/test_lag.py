"""How far a group is behind is asked from outside."""

import pytest
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as Position
from kafka_desk import Broker

from streamfilter.kafka.lag import GroupLag


@pytest.mark.parametrize("pattern", [False, True])
def test_what_a_group_has_not_committed_is_its_lag(broker: Broker, pattern: bool) -> None:
    """Of all partitions; where nothing was committed, all that is there."""
    topic = broker.topic(2, stem="lag")
    broker.produce(topic, [b"a"] * 5, partition=0)
    broker.produce(topic, [b"b"] * 3, partition=1)
    settings = {"bootstrap.servers": broker.bootstrap}
    lag = GroupLag(settings, f"group-{topic}", (f"^{topic}$" if pattern else topic,))
    assert 8 == lag.messages()
    consumer = Consumer({**settings, "group.id": f"group-{topic}"})
    consumer.commit(offsets=[Position(topic, 0, 4)], asynchronous=False)
    consumer.close()
    assert 4 == lag.messages()
    lag.close()


def test_where_nothing_is_known_no_number_is_made_up(broker: Broker) -> None:
    """Neither without a topic nor without a broker."""
    none = GroupLag({"bootstrap.servers": broker.bootstrap}, "group", ("no-such-topic",))
    assert none.messages() is None
    none.close()
    away = GroupLag({"bootstrap.servers": "127.0.0.1:1"}, "group", ("t",))
    assert away.messages() is None
    away.close()
