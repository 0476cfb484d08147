"""Memory that the chart gives, beside what a fetch may unpack to."""

import yaml
from container_file import ROOT

from streamfilter.kafka.consumer_settings import DEFAULTS

LZ4 = 255  # times as much as it is compressed, at most
BROKERS = 3
# A worker at rest with its network, what is in flight and what is prefetched.
WORKER_MIB = 1024 + 2 * 96 + 32


def mib(text: str) -> int:
    """A quantity of Kubernetes in MiB."""
    assert text.endswith("Gi")
    return 1024 * int(text.removesuffix("Gi"))


def test_alerts_have_room_for_what_a_fetch_of_each_broker_unpacks_to() -> None:
    """Else whoever may write to the input ends a worker with a few batches of zeros."""
    values = yaml.safe_load((ROOT / "deploy/helm/streamfilter/values.yaml").read_text())
    limit = mib(values["alerts"]["resources"]["limits"]["memory"])
    fetch_mib = int(DEFAULTS["fetch.max.bytes"]) / 2**20
    assert limit >= WORKER_MIB + BROKERS * LZ4 * fetch_mib
