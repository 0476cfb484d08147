"""What both halves of the demo share: one broker, and the settings of the page over it."""

from pathlib import Path

from streamfilter.config import Settings
from streamfilter.demo import alerts, exposures
from streamfilter.kafka.embedded import EmbeddedBroker


def open_broker() -> EmbeddedBroker:
    """Returns a broker with every topic of the demo.

    Raises
    ------
    TransportFailed
        Its process did not start.
    """
    return EmbeddedBroker({**alerts.TOPICS, **exposures.TOPICS})


def page_settings(bootstrap: str, home: Path | None) -> Settings:
    """Returns the settings of a live page that shows alerts and exposures, on any free port."""
    chosen = alerts.settings(bootstrap, home).model_dump(exclude_unset=True)
    watched = exposures.settings(bootstrap, home).model_dump(exclude_unset=True)
    outputs = {**chosen["outputs"], "tracking": watched["outputs"]["tracking"]}
    more = {"outputs": outputs, "exposures": watched["exposures"], "console": {"port": 0}}
    return Settings.model_validate({**chosen, **more})
