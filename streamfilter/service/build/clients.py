"""Who reads and writes what under the settings, and librdkafka's settings of both sides."""

from dataclasses import dataclass

from streamfilter.config import Scalar, Settings


def reading(settings: Settings) -> dict[str, Scalar]:
    """Of the consumer, without its group."""
    kafka = settings.kafka
    return {"bootstrap.servers": kafka.bootstrap, **kafka.settings, **kafka.consumer}


def writing(settings: Settings) -> dict[str, Scalar]:
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


def outputs(settings: Settings) -> dict[str, str]:
    """The topics that these workers write, by their names in the settings."""
    running = {reader.section for reader in readers(settings)}
    named = settings.outputs.model_dump().items()
    return {
        name: topic for name, topic in named if topic and running & _WRITERS.get(name, {"alerts"})
    }
