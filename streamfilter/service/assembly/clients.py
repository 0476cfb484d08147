"""Who reads and writes what under the settings, and the clients of both sides."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from streamfilter.config import Scalar, Settings
from streamfilter.kafka.client import Settings as ClientSettings
from streamfilter.kafka.source import KafkaSource
from streamfilter.kafka.statistics import Statistics
from streamfilter.metrics.kafka import BrokerState, ClientStatistics

Say = Callable[[str], None]
"""Takes one line for a human."""


def consumer_settings(settings: Settings) -> dict[str, Scalar]:
    """Of the consumer, without its group."""
    kafka = settings.kafka
    return {"bootstrap.servers": kafka.bootstrap, **kafka.settings, **kafka.consumer}


def producer_settings(settings: Settings) -> dict[str, Scalar]:
    """Of the producer."""
    kafka = settings.kafka
    output = {"bootstrap.servers": kafka.output_bootstrap} if kafka.output_bootstrap else {}
    return {"bootstrap.servers": kafka.bootstrap, **kafka.settings, **output, **kafka.producer}


@dataclass(frozen=True, slots=True)
class Reader:
    """A worker that reads: its section of the settings, its topics, and its group."""

    section: str
    topics: tuple[str, ...]
    group_key: str
    group: str


# Outputs that are not of the alerts' worker alone.
_WRITERS = {
    "rejected": {"alerts", "exposures", "exposures.contaminants"},
    "tracking": {"exposures"},
    "contaminants": {"exposures.contaminants"},
    "masks": {"exposures.contaminants"},
}


def readers(settings: Settings) -> list[Reader]:
    """The workers that these settings start."""
    exposures, masking = settings.exposures, settings.exposures.contaminants
    every = (
        Reader("alerts", settings.alerts.topics, "kafka.group", settings.kafka.group),
        Reader("exposures", exposures.topics, "exposures.group", exposures.group),
        Reader(
            "exposures.contaminants", masking.topics, "exposures.contaminants.group", masking.group
        ),
    )
    return [reader for reader in every if reader.topics]


def outputs(settings: Settings, sections: Collection[str] | None = None) -> dict[str, str]:
    """The topics that the workers of these sections (None: all) write, by name of the setting."""
    running = {r.section for r in readers(settings) if sections is None or r.section in sections}
    named = settings.outputs.model_dump().items()
    return {
        name: topic for name, topic in named if topic and running & _WRITERS.get(name, {"alerts"})
    }


def open_source(
    client: ClientSettings, topics: Sequence[str], shown: ClientStatistics
) -> KafkaSource:
    """The consumer of a worker, which joins its group when the worker is run.

    Parameters
    ----------
    client
        librdkafka's settings, with the group.
    shown
        Kept up to date with the consumer's statistics.

    Raises
    ------
    ConfigurationInvalid
        A setting of the consumer cannot be.
    """
    made = KafkaSource(
        client,
        topics,
        on_statistics=lambda statistics: watch_consumer(shown, made, statistics),
    )
    return made


def watch_consumer(shown: ClientStatistics, source: KafkaSource, statistics: Statistics) -> None:
    """Replace what is shown of a consumer by its last statistics."""
    watch_brokers(shown, "consumer", statistics)
    # The client goes on naming partitions that other workers read by now.
    lag = statistics.lag
    shown.lag = {each: lag[each] for each in source.assigned if each in lag}


def watch_brokers(shown: ClientStatistics, client: str, statistics: Statistics) -> None:
    """Replace what is shown of one client's brokers by its last statistics."""
    queued = statistics.prefetched_messages + statistics.queued_messages  # one of them is 0
    shown.queued = {**shown.queued, client: queued}
    others = {key: state for key, state in shown.brokers.items() if key[0] != client}
    shown.brokers = others | {
        (client, broker.name): BrokerState(broker.up, broker.rtt_s, broker.errors)
        for broker in statistics.brokers
    }
