"""A real Prometheus over the deployed rules, and what it answers."""

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
ANSWER_S = 30.0


@contextmanager
def running(log: Path, *command: str | Path) -> Iterator[None]:
    """A program until the end of the block."""
    with log.open("wb") as sink, subprocess.Popen(command, stdout=sink, stderr=sink) as process:
        try:
            yield
        finally:
            process.terminate()


def configured(folder: Path, replaced: Mapping[str, str]) -> None:
    """The deployed files with addresses and intervals of a test."""
    for source in (*DEPLOY.glob("prometheus/*.yml"), *DEPLOY.glob("alertmanager/*.yml")):
        text = source.read_text()
        for was, now in replaced.items():
            text = text.replace(was, now)
        (folder / source.name).write_text(text)


def prometheus_command(debian: Path, folder: Path, address: str) -> tuple[str | Path, ...]:
    """Prometheus over the configuration in a folder."""
    return (
        debian / "prometheus",
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/series",
        f"--web.listen-address={address}",
    )


class QueryFailed(Exception):
    """Prometheus refuses a query; the text is its own."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer."""

    labels: dict[str, str]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Prometheus:
    """What a test asks of a Prometheus."""

    address: str
    started_s: float

    def instant(self, expr: str) -> list[Series]:
        """As of now."""
        found = self._ask("query", query=expr)["result"]
        return [Series(each["metric"], (float(each["value"][1]),)) for each in found]

    def range(self, expr: str) -> list[Series]:
        """Since the start, every second."""
        span = {"start": str(self.started_s), "end": str(time.time()), "step": "1"}
        found = self._ask("query_range", query=expr, **span)["result"]
        return [
            Series(each["metric"], tuple(float(value) for _, value in each["values"]))
            for each in found
        ]

    def label_values(self, metric: str, label: str) -> list[str]:
        """The values of a label, as Grafana's variables ask for them."""
        found: list[str] = self._ask(f"label/{label}/values", **{"match[]": metric})
        return found

    def ailing_rules(self) -> dict[str, str]:
        """Rules that fail, and why."""
        groups = self._ask("rules")["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert rules, "Prometheus has no rules"
        return {r["name"]: r.get("lastError", "") for r in rules if r["health"] == "err"}

    def until(self, expr: str, least: float, within_s: float) -> None:
        """Wait until an expression's only value is so high."""
        end = time.monotonic() + within_s
        while True:
            try:
                found = [series.values[0] for series in self.instant(expr)]
            except OSError:
                found = []
            if found and found[0] >= least:
                return
            assert time.monotonic() < end, f"{expr} is {found}, not {least}, after {within_s} s"
            time.sleep(0.3)

    def _ask(self, what: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        url = f"http://{self.address}/api/v1/{what}?{query}"
        try:
            with urllib.request.urlopen(url, timeout=ANSWER_S) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.SERVICE_UNAVAILABLE:
                raise  # it starts, and says so in plain text
            with error:
                raise QueryFailed(json.load(error)["error"]) from error
