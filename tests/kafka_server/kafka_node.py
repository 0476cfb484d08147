"""A real Apache Kafka node for the tests: jars from Maven Central, one process, loopback only."""

import hashlib
import os
import shutil
import signal
import socket
import string
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tool_cache import alone_with, cache

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
# A first download of 44 MB; starting takes 3 s on two idle cores.
DOWNLOAD_S, START_S, STOP_S = 600.0, 90.0, 30.0


class KafkaUnavailable(Exception):
    """No Kafka can be started here; the text says what is missing."""


def end(process: "subprocess.Popen[bytes]", how: signal.Signals) -> None:
    """End a process by a signal, or by SIGKILL where it takes too long."""
    process.send_signal(how)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def jars(pom: Path = HERE / "pom.xml", name: str = "kafka") -> Path:
    """The folder of the jars that a pom names, fetched once into the tests' cache.

    Raises
    ------
    KafkaUnavailable
        Java or Maven is missing, or the jars could not be fetched.
    """
    return fetched_once(
        name,
        hashlib.sha256(pom.read_bytes()).hexdigest()[:16],
        ["-f", str(pom), COPY, "-DincludeScope=runtime"],
    )


def fetched_once(name: str, version: str, goal: Sequence[str]) -> Path:
    """The folder ``.cache/NAME/VERSION`` that a goal of Maven fills, where it is not there yet.

    Raises
    ------
    KafkaUnavailable
        Java or Maven is missing, or the goal failed.
    """
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            raise KafkaUnavailable(
                f"{tool} is not installed: install Java 17 and Maven, or set "
                "STREAMFILTER_TEST_BOOTSTRAP to the address of a running broker"
            )
    folder = cache() / name / version
    with alone_with(folder):
        if not folder.is_dir():
            _fetch(goal, name, folder)
    return folder


def _fetch(goal: Sequence[str], name: str, folder: Path) -> None:
    fetched = folder.with_name(f"{folder.name}.{os.getpid()}")
    try:
        # Without a project some goals leave marks of theirs where they run.
        with tempfile.TemporaryDirectory() as scratch:
            subprocess.run(
                ["mvn", "-q", "-B", *goal, f"-DoutputDirectory={fetched}"],
                check=True, capture_output=True, text=True, timeout=DOWNLOAD_S, cwd=scratch,
            )  # fmt: skip
        fetched.rename(folder)
    except subprocess.SubprocessError as error:
        said = (getattr(error, "stdout", None) or str(error))[-500:]
        raise KafkaUnavailable(f"{name} could not be fetched from Maven Central: {said}") from error
    finally:
        shutil.rmtree(fetched, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


class KafkaNode:
    """One Kafka process that can be stopped, killed, frozen and started again on the same data.

    Parameters
    ----------
    folder
        For its data, settings and log.
    more
        Further lines of ``server.properties``, with the same placeholders and ``${third_port}``.
    scram
        Passwords by user, for SCRAM-SHA-512.
    controller_port
        Where the others of its cluster find its controller; ``more`` then names the quorum. None:
        it is alone.
    heap_mb
        What Java may have.
    """

    def __init__(
        self,
        folder: Path,
        *,
        more: str = "",
        scram: Mapping[str, str] | None = None,
        controller_port: int | None = None,
        heap_mb: int = 768,
    ) -> None:
        self._classpath = f"{jars()}/*"
        self._data = folder / "data"
        self.log = folder / "kafka.log"
        self._properties = folder / "server.properties"
        self._heap_mb = heap_mb
        self._port, self._sasl_port, self.third_port, own_controller_port = free_ports(4)
        self._process: subprocess.Popen[bytes] | None = None
        template = string.Template((HERE / "server.properties").read_text() + more)
        self._properties.write_text(
            template.substitute(
                port=self._port,
                sasl_port=self._sasl_port,
                third_port=self.third_port,
                controller_port=controller_port or own_controller_port,
                data=self._data,
            )
        )
        self._format(scram or {}, alone=controller_port is None)

    @property
    def bootstrap(self) -> str:
        """The address that clients are given."""
        return f"127.0.0.1:{self._port}"

    @property
    def sasl_bootstrap(self) -> str:
        """The address at which user ``filter`` gives the password ``right`` (PLAIN, no TLS)."""
        return f"127.0.0.1:{self._sasl_port}"

    def _java(self, *arguments: str) -> list[str]:
        # The first compiler alone: the node lives for a minute, its start is what counts.
        heap = ["-Xms256m", f"-Xmx{self._heap_mb}m"]
        options = [*heap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        return ["java", *options, "-cp", self._classpath, *arguments]

    def _format(self, scram: Mapping[str, str], *, alone: bool) -> None:
        tool = ["kafka.tools.StorageTool", "format", "-t", "ZbfUs0UyRMWYxwXxhj7pDw"]
        command = self._java(*tool, "-c", str(self._properties))
        if alone:
            command.append("--standalone")
        for user, password in scram.items():
            command += ["--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_S)
        if done.returncode != 0:
            raise KafkaUnavailable(f"Kafka's storage could not be formatted: {done.stdout}")

    def start(self) -> None:
        """Start the process and wait until it accepts clients."""
        self.launch()
        self.wait_open()

    def launch(self) -> None:
        """Start the process without waiting: in a cluster it needs the others to go on."""
        with self.log.open("ab") as log:
            command = self._java("kafka.Kafka", str(self._properties))
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def wait_open(self) -> None:
        """Return once the process accepts clients."""
        assert self._process is not None
        end = time.monotonic() + START_S
        while time.monotonic() < end and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1.0).close()
                return
            except OSError:
                time.sleep(0.05)
        tail = self.log.read_text(errors="replace")[-2000:]
        self.kill()
        raise KafkaUnavailable(f"Kafka did not start; {self.log} ends with: {tail}")

    def stop(self) -> None:
        """Shut the process down in order, and wait for its end."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        self._end(signal.SIGKILL)

    def configure(self, *arguments: str) -> None:
        """Change the running node's settings, as ``kafka-configs.sh`` does."""
        command = self._java("kafka.admin.ConfigCommand", "--bootstrap-server", self.bootstrap)
        subprocess.run([*command, "--alter", *arguments], check=True, capture_output=True)

    def freeze(self) -> None:
        """Let the process hang: connections stay open, nothing is answered."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        """End the process and delete its data; the log stays."""
        self.thaw()
        self.stop()
        shutil.rmtree(self._data, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        end(self._process, how)
        self._process = None
