"""One Kafka node for all workers of a test run: the first that needs it starts it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from kafka_desk import Broker
from kafka_node import KafkaNode


@contextmanager
def shared(folder: Path) -> Iterator[Broker]:
    """The node that has its place in ``folder``, started here if no other process has.

    Who started it ends it, once all others have let go: each holds a shared lock while it uses the
    node, which the kernel takes back from a worker that dies.

    Raises
    ------
    KafkaUnavailable
        No Kafka can be started here.
    """
    with (folder / "joining").open("w") as joining, (folder / "using").open("w") as using:
        with _locked(joining):
            address = folder / "address"
            node = None if address.exists() else _started(folder, address)
            fcntl.flock(using, fcntl.LOCK_SH)
        bootstrap, sasl_bootstrap = address.read_text().split()
        try:
            yield Broker(bootstrap, node, sasl_bootstrap)
        finally:
            fcntl.flock(using, fcntl.LOCK_UN)
            if node is not None:
                with _locked(joining), _locked(using):
                    address.unlink()
                    node.remove()


def _started(folder: Path, address: Path) -> KafkaNode:
    place = folder / f"node-{os.getpid()}"
    place.mkdir()
    node = KafkaNode(place)
    node.start()
    address.write_text(f"{node.bootstrap} {node.sasl_bootstrap}")
    return node


@contextmanager
def _locked(file: IO[str]) -> Iterator[None]:
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
