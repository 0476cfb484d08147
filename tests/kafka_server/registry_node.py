"""A real Apicurio Registry for the tests: from Maven Central, one process, loopback only.

It speaks the interface of Confluent's registry, under a path of its own, and keeps nothing.
"""

import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from kafka_node import START_S, KafkaUnavailable, end, fetched_once, free_ports

# The last series that runs on Java 17; 142 MB.
VERSION = "2.6.13.Final"
UNPACK = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:unpack"


class RegistryNode:
    """One registry process, its schemas in memory.

    Parameters
    ----------
    folder
        For its log.
    """

    def __init__(self, folder: Path) -> None:
        artifact = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"
        self._home = fetched_once("apicurio", VERSION, [UNPACK, f"-Dartifact={artifact}"])
        self.log = folder / "registry.log"
        (self._port,) = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address that clients of Confluent's interface are given."""
        return f"http://127.0.0.1:{self._port}/apis/ccompat/v7"

    def start(self) -> None:
        """Start the process and wait until it answers."""
        (runner,) = self._home.glob("apicurio-registry-app-*-runner.jar")
        # The first compiler alone, as for Kafka: its start is what counts.
        options = ["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        options += [f"-Dquarkus.http.port={self._port}", "-Dquarkus.http.host=127.0.0.1"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["java", *options, "-jar", str(runner)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.log.parent,
            )  # fmt: skip
        end = time.monotonic() + START_S
        while time.monotonic() < end and self._process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.url}/subjects", timeout=2.0).close()
                return
            except (OSError, urllib.error.URLError):
                time.sleep(0.1)
        tail = self.log.read_text(errors="replace")[-2000:]
        self.stop()
        raise KafkaUnavailable(f"the registry did not start; {self.log} ends with: {tail}")

    def stop(self) -> None:
        """End the process and wait for its end."""
        if self._process is None:
            return
        end(self._process, signal.SIGTERM)
        self._process = None
