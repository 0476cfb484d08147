"""Makes the delivery of outputs from the settings."""

import uuid
from collections.abc import Mapping

from streamfilter.config import Scalar, Settings
from streamfilter.errors import ConfigurationInvalid
from streamfilter.kafka.ledger import Ledger
from streamfilter.kafka.properties import PRODUCER, fitted
from streamfilter.kafka.sink import KafkaSink
from streamfilter.kafka.statistics import OnStatistics
from streamfilter.kafka.transactions import TransactionalSink
from streamfilter.metrics.kafka import TransactionMetrics
from streamfilter.service.assembly.clients import producer_settings
from streamfilter.service.delivery.at_least_once import AtLeastOnce
from streamfilter.service.delivery.exactly_once import ExactlyOnce, OffsetNotes
from streamfilter.service.delivery.parcel import Delivery

EXACTLY_ONCE = "exactly-once"
_ADDRESSES = ("bootstrap.servers", "metadata.broker.list")
_OURS = {
    "transactional.id": "delivery.transactional_id",
    "transaction.timeout.ms": "delivery.transaction_timeout_s",
}
"""librdkafka's properties that a setting of ours decides."""


def checked_delivery(settings: Settings) -> None:
    """Refuse settings that contradict the delivery guarantee.

    Raises
    ------
    ConfigurationInvalid
        Names the key, what was found and how to mend it.
    """
    kafka = settings.kafka
    producer = {**kafka.settings, **kafka.producer}
    for key, ours in _OURS.items():
        if key in producer:
            raise ConfigurationInvalid(f"kafka.producer: {key!r} is set by {ours}; remove it")
    if settings.delivery.guarantee != EXACTLY_ONCE:
        return
    consumer = {**kafka.settings, **kafka.consumer}
    if kafka.output_bootstrap or any(key in kafka.producer for key in _ADDRESSES):
        raise ConfigurationInvalid(
            'kafka.output_bootstrap: with delivery.guarantee = "exactly-once" outputs and offsets '
            "are committed in one transaction, and no transaction spans two Kafka clusters; "
            'remove it, or set delivery.guarantee = "at-least-once"'
        )
    if any(key in kafka.consumer for key in _ADDRESSES):
        raise ConfigurationInvalid(
            'kafka.consumer: brokers of its own; with delivery.guarantee = "exactly-once" alerts '
            "and outputs are in one cluster: name it in kafka.bootstrap"
        )
    if (level := consumer.get("isolation.level", "read_committed")) != "read_committed":
        raise ConfigurationInvalid(
            f"kafka.consumer: 'isolation.level' is {level!r}; with delivery.guarantee = "
            '"exactly-once" it must be "read_committed", or a worker could begin before the '
            "offsets of the last one are known; remove it"
        )


def open_delivery(
    settings: Settings,
    ledger: Ledger,
    *,
    group: str,
    metrics: TransactionMetrics,
    defaults: Mapping[str, Scalar] | None = None,
    on_statistics: OnStatistics | None = None,
    notes: OffsetNotes | None = None,
) -> Delivery:
    """Returns the delivery of the worker of a group.

    Parameters
    ----------
    ledger
        Says which messages of the worker are settled.
    notes
        What is kept beside the offsets; the others are those of ``open_sink``.

    Raises
    ------
    ConfigurationInvalid
        A setting of the producer cannot be.
    """
    sink = open_sink(settings, group=group, defaults=defaults, on_statistics=on_statistics)
    if isinstance(sink, KafkaSink):
        return AtLeastOnce(sink, ledger)
    return ExactlyOnce(sink, ledger, settings.delivery, metrics, notes)


def open_sink(
    settings: Settings,
    *,
    group: str,
    defaults: Mapping[str, Scalar] | None = None,
    on_statistics: OnStatistics | None = None,
) -> KafkaSink | TransactionalSink:
    """Returns the producer that the guarantee needs.

    Parameters
    ----------
    defaults
        librdkafka's properties, which give way to the settings.

    Raises
    ------
    ConfigurationInvalid
        A setting of the producer cannot be.
    """
    rules = settings.delivery
    given = producer_settings(settings)
    producer = {**fitted(defaults or {}, given, PRODUCER), **given}
    if rules.guarantee != EXACTLY_ONCE:
        return KafkaSink(producer, on_statistics=on_statistics)
    return TransactionalSink(
        producer,
        transactional_id=f"{group}-{rules.transactional_id or uuid.uuid4().hex}",
        timeout_s=rules.transaction_timeout_s,
        on_statistics=on_statistics,
    )
