"""A worker as users run it: the command in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Self

START_S = 60.0
STOP_S = 30.0


class FilterProcess:
    """``streamfilter run`` with overrides; its log is kept in a file."""

    def __init__(
        self,
        log: Path,
        overrides: Mapping[str, str],
        home: Path,
        *options: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        command = [sys.executable, "-m", "streamfilter", "run", *options]
        command += ["--set", "metrics.port=0"]
        for key, value in overrides.items():
            command += ["--set", f"{key}={value}"]
        around = {**os.environ, "STREAMFILTER_HOME": str(home), **(environment or {})}
        with log.open("wb") as sink:
            self.process = subprocess.Popen(command, stderr=sink, stdout=sink, env=around)
        self._url = ""

    def __enter__(self) -> "FilterProcess":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def events(self) -> list[dict[str, object]]:
        """The log's events so far."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of a page of the worker."""
        if not self._url:
            pages = [event["metrics"] for event in self.events() if "metrics" in event]
            if not pages:
                return 0, ""
            self._url = str(pages[0]).removesuffix("/metrics")
        try:
            with urllib.request.urlopen(self._url + path, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def wait_ready(self) -> "FilterProcess":
        """Return once the worker is warm and has partitions."""
        end = time.monotonic() + START_S
        while self.get("/readyz")[0] != 200:
            assert self.process.poll() is None, f"ended: {self.log.read_text()}"
            assert time.monotonic() < end, f"not ready: {self.log.read_text()}"
            time.sleep(0.1)
        return self

    def metric(self, line: str) -> float:
        """Value of a sample, such as ``streamfilter_messages_total``; 0 where there is none."""
        for text in self.get("/metrics")[1].splitlines():
            name, _, value = text.rpartition(" ")
            if name == line:
                return float(value)
        return 0.0

    def lines(self, start: str) -> list[str]:
        """Lines of the metrics page that begin so."""
        return [line for line in self.get("/metrics")[1].splitlines() if line.startswith(start)]

    def peak_mb(self) -> float:
        """The most memory that the worker ever had resident, in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1000

    def cpu_s(self) -> float:
        """The processor seconds that the worker has taken, its own and the system's for it."""
        _, _, after_name = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")
        user, system = after_name.split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> int:
        """SIGTERM, as an orchestrator sends it; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)

    def kill(self) -> None:
        """SIGKILL: nothing is finished, nothing is committed."""
        self.process.kill()
        self.process.wait()


class EndsWorkers:
    """Ends its workers where its block ends, whatever became of the test."""

    workers: list[FilterProcess]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.__exit__()
