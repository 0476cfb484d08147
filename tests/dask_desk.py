"""A real Dask cluster of this machine: a scheduler and workers, each a process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import pytest

distributed: Any = pytest.importorskip("distributed", reason="a cluster needs the extra 'dask'")
PATIENCE_S = 120.0


class Cluster:
    """A scheduler and so many workers of one thread, each of which may be killed."""

    def __init__(self, folder: Path, workers: int) -> None:
        self._folder, self._number = folder, workers
        self._processes: list[subprocess.Popen[str]] = []
        self.address = ""

    def __enter__(self) -> Self:
        """Start all, and wait for them."""
        try:
            self._begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _begin(self) -> None:
        told = self._folder / "scheduler.json"
        self.scheduler = self._start(
            "dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
            "--scheduler-file", str(told),
        )  # fmt: skip
        self._wait_for_file(told)
        self.address = json.loads(told.read_text())["address"]
        # Workers have nannies, as at sites: who dies is replaced.
        self._start(
            "dask_worker", self.address, "--nworkers", str(self._number), "--nthreads", "1",
            "--no-dashboard", "--local-directory", str(self._folder), "--memory-limit", "0",
        )  # fmt: skip
        with self.client() as client:
            client.wait_for_workers(self._number, timeout=PATIENCE_S)

    def client(self) -> Any:
        """A client of its own."""
        return distributed.Client(self.address, set_as_default=False, timeout=PATIENCE_S)

    def kill_workers_at_work(self, driver: subprocess.Popen[str]) -> bool:
        """SIGKILL all workers while a task is under way; returns False where the driver ended.

        They are stopped first, so that none can finish between the question and the kill.
        """
        with self.client() as client:
            while driver.poll() is None:
                if not any(client.processing().values()):
                    time.sleep(0.02)
                    continue
                try:
                    pids = list(client.run(os.getpid).values())
                except OSError:  # one of them is just being replaced
                    continue
                for pid in pids:
                    os.kill(pid, signal.SIGSTOP)
                hit = any(client.processing().values())
                for pid in pids:
                    os.kill(pid, signal.SIGKILL if hit else signal.SIGCONT)
                if hit:
                    return True
        return False

    def __exit__(self, *_: object) -> None:
        """End all: workers first, which a nanny ends too."""
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self._processes):
            try:
                process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()

    def _start(self, program: str, *arguments: str) -> subprocess.Popen[str]:
        with (self._folder / f"{program}.log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{program}", *arguments],
                stdout=log, stderr=log, text=True, cwd=self._folder,
            )  # fmt: skip
        self._processes.append(process)
        return process

    def _wait_for_file(self, path: Path) -> None:
        end = time.monotonic() + PATIENCE_S
        while not (path.exists() and path.read_text().strip().endswith("}")):
            assert self.scheduler.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
