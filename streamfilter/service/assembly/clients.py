"""The topics that workers read and write, and the Kafka clients of both sides."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from streamfilter.alerts.surveys import Surveys
from streamfilter.config import Scalar, Settings, digest, has_survey, of_survey
from streamfilter.kafka.client import Settings as ClientSettings
from streamfilter.kafka.members import ask_members
from streamfilter.kafka.source import KafkaSource
from streamfilter.kafka.statistics import Statistics
from streamfilter.kafka.tokens import uses_tokens
from streamfilter.metrics.kafka import BrokerState, ClientStatistics
from streamfilter.service.group_watch import GroupWatch, client_id
from streamfilter.service.member import Member

Say = Callable[[str], None]
"""Takes one line for a human."""
ANSWER_S = 5.0
"""A worker waits for brokers that are away; a check of its topics does not."""


def consumer_settings(settings: Settings) -> dict[str, Scalar]:
    """Returns the settings of the consumer, without its group."""
    kafka = settings.kafka
    return {"bootstrap.servers": kafka.bootstrap, **kafka.settings, **kafka.consumer}


def producer_settings(settings: Settings) -> dict[str, Scalar]:
    """Returns the settings of the producer."""
    kafka = settings.kafka
    output = {"bootstrap.servers": kafka.output_bootstrap} if kafka.output_bootstrap else {}
    return {"bootstrap.servers": kafka.bootstrap, **kafka.settings, **output, **kafka.producer}


def output_reader(settings: Settings) -> dict[str, Scalar]:
    """Returns the settings of a consumer that reads our own outputs."""
    kafka = settings.kafka
    secured = {k: v for k, v in kafka.producer.items() if k.startswith(_CONNECTION)}
    bootstrap = kafka.output_bootstrap or kafka.bootstrap
    return {**kafka.settings, **secured, "bootstrap.servers": bootstrap}


@dataclass(frozen=True, slots=True)
class Reader:
    """A worker's section of the settings, its topics, and its group."""

    section: str
    topics: tuple[str, ...]
    group_key: str
    group: str


log = structlog.get_logger(__name__)

_CONNECTION = ("security.", "sasl.", "ssl.")
"""Settings of the producer that are also needed to read from its brokers."""
_OF_CONSUMERS = {"group.id", "group.instance.id", "client.id"}
# Outputs of other sections than the alerts'; labels are the live page's.
_WRITERS = {
    "rejected": {"alerts", "exposures", "exposures.contaminants"},
    "tracking": {"exposures"},
    "contaminants": {"exposures.contaminants"},
    "masks": {"exposures.contaminants"},
    "labels": {"console"},
}


def readers(settings: Settings) -> list[Reader]:
    """Returns the workers that these settings start."""
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
    """Returns the topics that the workers of these sections (None: all) write, by name of the
    setting.

    ``{survey}`` stands in them as it was written; ``names_of`` puts the surveys there.
    """
    running = {r.section for r in readers(settings) if sections is None or r.section in sections}
    running |= {"console"} if sections is None else set()  # the live page, which no worker runs
    named = settings.outputs.model_dump().items()
    return {
        name: topic for name, topic in named if topic and running & _WRITERS.get(name, {"alerts"})
    }


def names_of(settings: Settings, topic: str) -> dict[str, str]:
    """Returns the names of an output topic by survey; one, under "", where all surveys share it.

    There is one for each field map; empty where nothing is published there.

    Raises
    ------
    ConfigurationInvalid
        Field maps are wanted, and cannot be read.
    """
    if not has_survey(topic):
        return {"": topic} if topic else {}
    surveys = Surveys.load(settings.alerts.survey_folders).names
    return {survey: of_survey(topic, survey) for survey in surveys}


def watch_group(client: ClientSettings, shown: ClientStatistics, worker: Member) -> None:
    """Let a worker compare its settings with those of the other members of its group.

    Parameters
    ----------
    client
        Of its consumer, with the group and the client id.
    """
    group = str(client["group.id"])
    own = {k: v for k, v in client.items() if k not in _OF_CONSUMERS}
    if uses_tokens(own):
        # Each question would ask the identity provider for one more.
        log.info("members not compared", group=group, detail="the client logs in with tokens")
        return

    def show(configurations: int) -> None:
        shown.configurations = configurations

    watch = GroupWatch(
        group,
        str(client["client.id"]),
        ask=partial(ask_members, own, group),
        rebalances=lambda: shown.rebalances,
        show=show,
    )
    worker.add_thread(lambda: watch.watch(lambda: worker.stopping), "group-watch")


def named(settings: Settings, section: str, client: ClientSettings) -> dict[str, Scalar]:
    """Returns a consumer's settings with a client id that shows what decides its worker's outputs.

    An operator's own ``client.id`` stays: brokers may have quotas for it.
    """
    return {"client.id": client_id(digest(settings, section)), **client}


def open_source(
    client: ClientSettings, topics: Sequence[str], shown: ClientStatistics
) -> KafkaSource:
    """Returns the consumer of a worker; it joins its group when the worker runs.

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
        on_skipped=lambda topic, reason, offsets: count_skipped(shown, topic, reason, offsets),
    )
    return made


def count_skipped(shown: ClientStatistics, topic: str, reason: str, offsets: int) -> None:
    """Add offsets that were skipped."""
    before = shown.skipped.get((topic, reason), 0)
    shown.skipped = {**shown.skipped, (topic, reason): before + offsets}


def watch_consumer(shown: ClientStatistics, source: KafkaSource, statistics: Statistics) -> None:
    """Replace what is shown of a consumer by its last statistics."""
    watch_brokers(shown, "consumer", statistics)
    shown.rebalances = statistics.rebalances
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
