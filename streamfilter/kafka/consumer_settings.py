"""The settings of a consumer: our defaults, the operator's values, and what may not be changed."""

from collections.abc import Sequence

from streamfilter.kafka.client import Settings, merged, refuse, text
from streamfilter.kafka.properties import CONSUMER
from streamfilter.kafka.starts import ERROR, refuse_skipping

DEFAULTS: Settings = {
    # A new group starts with what the topic still holds: no alert is skipped.
    "auto.offset.reset": "earliest",
    # Prefetched messages are in memory: 32 MiB are 300 large alerts.
    "queued.max.messages.kbytes": 32 * 1024,
    # A fetch is unpacked whole, before any bound of ours: 4 MiB of lz4 may be 1 GiB. Smaller ones
    # would cost throughput over long ways: these are 40 MB/s where the broker is 100 ms away.
    "fetch.max.bytes": 4 * 2**20,
    # After a full queue the client rests for 1 s by default, which would starve a fast engine.
    "fetch.queue.backoff.ms": 20,
    # Nightly topics that match a pattern are found within this time.
    "topic.metadata.refresh.interval.ms": 30_000,
    # A batch on a slow engine takes seconds, a drain up to 30.
    "max.poll.interval.ms": 300_000,
    "enable.partition.eof": False,
    # Messages of aborted transactions are not alerts, and open transactions are waited for.
    "isolation.level": "read_committed",
    "statistics.interval.ms": 5_000,
}
GUARANTEES = {"enable.auto.commit": ("false",)}
_STATISTICS = "statistics.interval.ms"


class ReadySettings:
    """The settings with which a consumer is made.

    Raises
    ------
    ConfigurationInvalid
        A setting is missing, would let alerts be lost, or excludes another.
    """

    def __init__(self, given: Settings, topics: Sequence[str]) -> None:
        refuse(given, GUARANTEES)
        ready = merged(DEFAULTS, given, ("bootstrap.servers", "group.id"), CONSUMER)
        self.policy = ready["auto.offset.reset"].lower()
        """Where a group without an offset begins; librdkafka itself is set to ask."""
        refuse_skipping(self.policy, tuple(topics))
        ready |= {"enable.auto.commit": "false", "auto.offset.reset": ERROR}
        # The broker assigns in the newer protocol, which does not know the classic options.
        if ready.get("group.protocol", "classic").lower() != "consumer":
            ready.setdefault("partition.assignment.strategy", "cooperative-sticky")
        strategy = ready.get("partition.assignment.strategy", "cooperative-sticky")
        self.incremental = "cooperative" in strategy
        """Whether partitions are assigned and revoked one by one."""
        if ready[_STATISTICS] == "0":  # whether reading goes on is seen in them
            ready[_STATISTICS] = text(DEFAULTS[_STATISTICS])
        self.properties = ready

    @property
    def queue_bytes(self) -> int:
        """Bytes of prefetched messages at which librdkafka stops fetching."""
        kbytes = self.properties["queued.max.messages.kbytes"]
        return int(kbytes) * 1024 if kbytes.isdecimal() else 0  # librdkafka says what is wrong
