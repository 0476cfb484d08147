"""An embedded broker for demonstrations: librdkafka's mock cluster in a child process.

It keeps about 5 MB a partition and silently drops the oldest messages. It has no administration,
and its transactions have no effect: never test delivery guarantees on it. It may crash, hence the
child process.
"""

import contextlib
import ctypes
import ctypes.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import confluent_kafka

from streamfilter.errors import TransportFailed
from streamfilter.kafka.client import within

# The child starts in 0.3 s on an idle machine.
START_S, STOP_S = 30.0, 5.0
# Delay until a member of a group learns of new partitions; librdkafka's default is 3 s.
HEARTBEAT_MS = 300
_PRODUCER = 0  # RD_KAFKA_PRODUCER of rdkafka.h; the cluster needs a client of any kind
_ERROR_BYTES = 512


class EmbeddedBroker:
    """A broker on this machine's loopback; it ends with this object or process.

    Parameters
    ----------
    topics
        Partitions by topic; any other topic is created with 4 at its first use.

    Raises
    ------
    TransportFailed
        The child process did not start.
    """

    def __init__(self, topics: Mapping[str, int] | None = None) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        # Its own session: Ctrl-C reaches the parent, which may still drain over the broker.
        self._child = subprocess.Popen(
            [sys.executable, "-m", "streamfilter.kafka.embedded"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr,
            start_new_session=True, text=True,
        )  # fmt: skip
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        try:
            self._child.stdin.write(json.dumps(dict(topics or {})) + "\n")
            self._child.stdin.flush()
            answer = within(START_S, self._child.stdout.readline)
        except OSError:  # the child ended before it read
            answer = [""]
        if not answer or not answer[0]:
            with contextlib.suppress(subprocess.TimeoutExpired):
                # The output of a process ends a moment before the process.
                self._child.wait(STOP_S if answer else 0.0)
            failure = self._failure()
            self.close()
            raise failure
        self.bootstrap: str = json.loads(answer[0])["bootstrap"]

    def check(self) -> None:
        """Raise ``TransportFailed`` where the child process has ended by itself."""
        if self._child.poll() is not None:
            raise self._failure()

    def close(self) -> None:
        """End the child process; may be called twice."""
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._stderr.close()

    def _failure(self) -> TransportFailed:
        status = self._child.poll()
        self._stderr.seek(0)
        message = self._stderr.read()[-_ERROR_BYTES:].decode(errors="replace").strip()
        how = "does not answer" if status is None else f"ended with status {status}"
        return TransportFailed(
            f"the embedded broker {how}: {message or 'it said nothing'}; "
            "start again, or use a real Kafka"
        )

    def __enter__(self) -> Self:
        """Returns the broker itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the child; where it had ended by itself, raise that as the cause of the error."""
        failure = self._failure() if self._child.poll() is not None else None
        self.close()
        if failure is not None and (error is None or isinstance(error, Exception)):
            raise failure from error


def library() -> ctypes.CDLL:
    """Returns the librdkafka that confluent-kafka uses: from its wheel, or the system's.

    Raises
    ------
    OSError
        There is no such library.
    """
    package = Path(confluent_kafka.__file__).parent
    inside = (package / ".dylibs", package.parent / "confluent_kafka.libs")
    bundled = [path for folder in inside for path in sorted(folder.glob("librdkafka*"))]
    name = str(bundled[0]) if bundled else ctypes.util.find_library("rdkafka")
    if name is None:
        raise OSError(f"no librdkafka in {inside[0]}, {inside[1]} or among the system's libraries")
    return ctypes.CDLL(name)


def start(topics: Mapping[str, int]) -> str:
    """Start a cluster of one broker in this process; returns its address."""
    rdkafka, pointer = library(), ctypes.c_void_p
    rdkafka.rd_kafka_conf_new.restype = pointer
    rdkafka.rd_kafka_new.restype = pointer
    rdkafka.rd_kafka_new.argtypes = [ctypes.c_int, pointer, ctypes.c_char_p, ctypes.c_size_t]
    rdkafka.rd_kafka_mock_cluster_new.restype = pointer
    rdkafka.rd_kafka_mock_cluster_new.argtypes = [pointer, ctypes.c_int]
    rdkafka.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    rdkafka.rd_kafka_mock_cluster_bootstraps.argtypes = [pointer]
    rdkafka.rd_kafka_mock_topic_create.argtypes = [
        pointer, ctypes.c_char_p, ctypes.c_int, ctypes.c_int,
    ]  # fmt: skip
    reason = ctypes.create_string_buffer(_ERROR_BYTES)
    client = rdkafka.rd_kafka_new(_PRODUCER, rdkafka.rd_kafka_conf_new(), reason, _ERROR_BYTES)
    cluster = rdkafka.rd_kafka_mock_cluster_new(client, 1) if client else None
    if not cluster:
        raise OSError(f"librdkafka made no mock cluster: {reason.value.decode()}")
    # Added in librdkafka 2.11; without it a rebalance takes some seconds.
    if hasattr(rdkafka, "rd_kafka_mock_set_group_consumer_heartbeat_interval_ms"):
        heartbeat = rdkafka.rd_kafka_mock_set_group_consumer_heartbeat_interval_ms
        heartbeat.argtypes = [pointer, ctypes.c_int]
        heartbeat(cluster, HEARTBEAT_MS)
    for name, partitions in topics.items():
        if partitions < 1:  # librdkafka would abort the process
            raise ValueError(f"topic {name!r} has {partitions} partitions; give it at least 1")
        error = rdkafka.rd_kafka_mock_topic_create(cluster, name.encode(), partitions, 1)
        if error:
            raise OSError(f"librdkafka made no topic {name!r}: error {error}")
    address: bytes = rdkafka.rd_kafka_mock_cluster_bootstraps(cluster)
    return address.decode()


def main() -> None:
    """Run the child: it reads the topics from standard input, and ends when that ends."""
    address = start(json.loads(sys.stdin.readline()))
    print(json.dumps({"bootstrap": address}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
