"""librdkafka's settings of the two sides of a worker, as the site's settings have them."""

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
