"""Settings: small frozen sections, read only from TOML, the environment and the command line.

Order, later ones win: the defaults in ``sections``, the TOML file,
``STREAMFILTER_<SECTION>__<KEY>`` in the environment, ``--set section.key=value``.
A string may name a secret as ``${NAME}`` (from the environment) or ``${file:PATH}`` (the file's
content, stripped).
"""

from streamfilter.config.deciding import DECIDING, digest
from streamfilter.config.listening import Listening, address_of
from streamfilter.config.reading import expanded, load
from streamfilter.config.reloading import RELOADABLE, fingerprint, reloaded
from streamfilter.config.schema import schema
from streamfilter.config.sections import (
    Console,
    Delivery,
    Exposures,
    Flow,
    FrameContaminants,
    Instrument,
    Kafka,
    MaskingEngine,
    Metrics,
    Outputs,
    Registry,
    Scalar,
    Settings,
    Survey,
    TrackingEngine,
    Webhook,
)
from streamfilter.config.sections import Engine as EngineSettings
from streamfilter.config.showing import hides, show, shown
from streamfilter.config.topic_names import has_survey, of_survey

__all__ = [
    "DECIDING",
    "RELOADABLE",
    "Console",
    "Delivery",
    "EngineSettings",
    "Exposures",
    "Flow",
    "FrameContaminants",
    "Instrument",
    "Kafka",
    "Listening",
    "MaskingEngine",
    "Metrics",
    "Outputs",
    "Registry",
    "Scalar",
    "Settings",
    "Survey",
    "TrackingEngine",
    "Webhook",
    "address_of",
    "digest",
    "expanded",
    "fingerprint",
    "has_survey",
    "hides",
    "load",
    "of_survey",
    "reloaded",
    "schema",
    "show",
    "shown",
]
