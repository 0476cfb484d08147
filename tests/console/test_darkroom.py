"""Pictures and facts of alerts, where a topic of theirs is gone."""

from functools import partial
from pathlib import Path

import pytest
from card_factories import card
from kafka_desk import Broker
from live_site import settings_of

from streamfilter.alerts.surveys import Surveys
from streamfilter.console.assembly import open_painter
from streamfilter.console.darkroom import Darkroom
from streamfilter.console.pictures import Unreadable
from streamfilter.console.ring import Ring
from streamfilter.kafka.client import Settings as KafkaSettings
from streamfilter.kafka.places import PlaceReader
from streamfilter.records import Origin
from streamfilter.simulate.visits import alerts

WAIT_S = 60.0


def test_alerts_whose_topic_is_gone_do_not_end_the_pictures_of_others(
    broker: Broker, engine_home: Path
) -> None:
    """They are given up, pictures and facts alike, and the next one is drawn."""
    settings = settings_of(broker, engine_home)
    topic = settings.alerts.topics[0]
    (alert,) = alerts(1, 1, surveys=("ztf",))
    broker.produce(topic, [alert.value], partition=0)
    gone = card(1, origin=Origin(f"{topic}-gone", 0, 0))
    there = card(2, alert_id=alert.alert_id, origin=Origin(topic, 0, 0))
    connection: KafkaSettings = {
        "bootstrap.servers": broker.bootstrap,
        # A topic is new for so long (30 s by default), and its absence no error.
        "topic.metadata.propagation.max.ms": 0,
    }
    learned: list[object] = []
    failures: list[Exception] = []
    darkroom = Darkroom(
        partial(PlaceReader, connection),
        partial(open_painter, settings, Surveys.load(), print),
        lambda card, facts: learned.append(card),
        failures.append,
        20.0,
    )
    entry = Ring(5).add(gone)
    assert entry is not None
    darkroom.start()
    darkroom.note(entry)
    with pytest.raises(Unreadable, match="no longer in its topic"):
        darkroom.picture(gone).result(WAIT_S)
    assert "science" in darkroom.picture(there).result(WAIT_S).planes
    darkroom.stop()
    assert ([], [there], "") == (failures, learned, darkroom.trouble)
