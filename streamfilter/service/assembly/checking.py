"""Finds what is wrong with settings before anything is opened or connected to."""

import re

from streamfilter.alerts.surveys import Surveys
from streamfilter.config import Kafka, Scalar, Settings
from streamfilter.errors import ConfigurationInvalid
from streamfilter.kafka.source import KafkaSource
from streamfilter.schemas.sources import FolderSource
from streamfilter.service.assembly.alerts import checked
from streamfilter.service.assembly.clients import consumer_settings, readers
from streamfilter.service.assembly.delivery import open_sink
from streamfilter.service.assembly.exposures import (
    checked_exposures,
    consumer_of_frames,
    producer_of_frames,
)

_BROKERS = {"bootstrap.servers", "metadata.broker.list"}


def checked_all(settings: Settings) -> Surveys:
    """Returns the field maps, after a check of all settings of a worker.

    Raises
    ------
    ConfigurationInvalid
        Names the key, what was found and how to mend it.
    """
    surveys = checked(settings)
    checked_exposures(settings)
    for folder in settings.schemas.folders:
        FolderSource(folder)
    _checked_clients(_offline(settings))
    return surveys


def _checked_clients(settings: Settings) -> None:
    """Make every client: only librdkafka knows its properties, and which patterns it reads."""
    for reader in readers(settings):
        try:
            frames = reader.section != "alerts"
            client = (
                consumer_of_frames(settings, reader.group)
                if frames
                else {**consumer_settings(settings), "group.id": reader.group}
            )
            source = KafkaSource(client, reader.topics)
            source.join()
            source.close()
            defaults = producer_of_frames(settings) if frames else None
            open_sink(settings, group=reader.group, defaults=defaults).close()
        except ConfigurationInvalid as error:
            where = _where(settings.kafka, str(error))
            raise ConfigurationInvalid(f"{reader.section}: {error}{where}") from error


def _where(kafka: Kafka, message: str) -> str:
    """Returns where the properties were set that a message names."""
    tables = {"settings": kafka.settings, "consumer": kafka.consumer, "producer": kafka.producer}
    found = [
        f'"{key}" is set in kafka.{name}'
        for name, table in tables.items()
        for key in table
        if re.search(rf"(?<![\w.]){re.escape(key)}(?![\w.])", message)
    ]
    return f" ({', '.join(found)})" if found else ""


def _offline(settings: Settings) -> Settings:
    """Returns the same settings for clients without brokers and login, which log nothing."""
    kafka, quiet = settings.kafka, {"log_level": 0}
    changed = {
        "bootstrap": "",
        "output_bootstrap": "",
        "settings": _without_login(kafka.settings) | quiet,
        "consumer": _without_login(kafka.consumer),
        "producer": _without_login(kafka.producer),
    }
    return settings.model_copy(update={"kafka": kafka.model_copy(update=changed)})


def _without_login(properties: dict[str, Scalar]) -> dict[str, Scalar]:
    """Returns properties without brokers and login; certificates stay, to be checked."""
    kept = {key: value for key, value in properties.items() if key not in _BROKERS}
    if "security.protocol" in kept:
        protocol = str(kept["security.protocol"]).lower()
        kept["security.protocol"] = protocol.removeprefix("sasl_")
    return kept
