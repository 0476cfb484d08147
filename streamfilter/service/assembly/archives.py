"""From settings to a publisher of archived alerts."""

import os

from streamfilter.alerts.encode import Encoder
from streamfilter.config import Settings, has_survey
from streamfilter.errors import ConfigurationInvalid
from streamfilter.inference.cache import default_home
from streamfilter.kafka.sink import KafkaSink
from streamfilter.kafka.topics import absent
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.service.alerts.archive_publisher import ArchivePublisher
from streamfilter.service.assembly.alerts import encoder_of, refuse_reading_outputs, schema_sources
from streamfilter.service.assembly.clients import producer_settings
from streamfilter.service.assembly.delivery import checked_delivery


def open_archive_publisher(settings: Settings) -> ArchivePublisher:
    """A publisher to ``outputs.annotations`` and ``outputs.rejected``.

    Raises
    ------
    ConfigurationInvalid
        A setting of the producer cannot be.
    """
    sink = KafkaSink(producer_settings(settings))
    return ArchivePublisher(sink, _encoder(settings), settings.outputs)


def refuse_unfit_topics(settings: Settings) -> None:
    """Refuse outputs that cannot take an archive's alerts, before any is judged.

    Raises
    ------
    ConfigurationInvalid
        A topic is not there, is read by the filter itself, or the settings of the producer cannot
        be.
    TransportFailed
        The broker does not answer.
    """
    refuse_reading_outputs(settings, "alerts", settings.alerts.topics)
    checked_delivery(settings)
    names = [settings.outputs.annotations, settings.outputs.rejected]
    plain = [each for each in names if not has_survey(each)]
    if left := absent(producer_settings(settings), plain):
        raise ConfigurationInvalid(
            f"no topic {left[0]}: make it (`streamfilter topics create` makes those of the "
            "settings), or name another"
        )


def _encoder(settings: Settings) -> Encoder:
    home = settings.engine.home or default_home(os.environ)
    finder = SchemaFinder(schema_sources(settings, home), settings.limits)
    return encoder_of(settings, finder, home)
