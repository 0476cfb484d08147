"""Three brokers as one cluster: every partition on each of them, a write needs two."""

import time
from pathlib import Path

from confluent_kafka.admin import AdminClient
from kafka_desk import ANSWER_S, Broker
from kafka_node import START_S, KafkaNode, free_ports

_NODES = 3
_HEAP_MB = 512
_MORE = """
node.id={number}
controller.quorum.bootstrap.servers=
controller.quorum.voters={voters}
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
# Three nodes and workers on two cores: one that is late is not away.
broker.session.timeout.ms=5000
"""


class Cluster(Broker):
    """Three combined nodes with a static quorum, and the helpers around them.

    Parameters
    ----------
    folder
        For a folder of each node.

    Attributes
    ----------
    nodes
        Each can be killed and started again; one starts while another is up.
    """

    replicas = _NODES

    def __init__(self, folder: Path) -> None:
        controllers = free_ports(_NODES)
        numbered = tuple(enumerate(controllers, 1))
        voters = ",".join(f"{number}@127.0.0.1:{port}" for number, port in numbered)
        nodes = []
        for number, port in numbered:
            place = folder / f"node-{number}"
            place.mkdir(parents=True)
            more = _MORE.format(number=number, voters=voters)
            nodes.append(KafkaNode(place, more=more, controller_port=port, heap_mb=_HEAP_MB))
        self.nodes = tuple(nodes)
        super().__init__(",".join(node.bootstrap for node in nodes))

    def start(self, *nodes: KafkaNode) -> None:
        """Start these nodes, or all, and wait until every replica is in sync."""
        for node in nodes or self.nodes:
            node.launch()
        for node in nodes or self.nodes:
            node.wait_open()
        self.wait_in_sync()

    def wait_in_sync(self) -> None:
        """Return once each partition, of internal topics too, has all of its replicas in sync."""
        end = time.monotonic() + START_S
        # A client that outlived brokers may know them no more.
        while behind := self._behind(AdminClient({"bootstrap.servers": self.bootstrap})):
            if time.monotonic() > end:
                raise TimeoutError(f"not in sync after {START_S:.0f} s: {', '.join(behind)}")
            time.sleep(0.2)

    def _behind(self, admin: AdminClient) -> list[str]:
        known = admin.list_topics(timeout=ANSWER_S)
        lacking = [f"{_NODES - len(known.brokers)} brokers"] * (len(known.brokers) < _NODES)
        return lacking + [
            f"{name}[{number}]"
            for name, topic in known.topics.items()
            for number, each in topic.partitions.items()
            if len(each.isrs) < len(each.replicas)
        ]

    def remove(self) -> None:
        """End the nodes and delete their data; the logs stay."""
        for node in self.nodes:
            node.remove()
