"""What the live page costs the worker, and itself, while many look on.

    python tests/bench/bench_console.py [--json] [--alerts N] [--survey ztf|lsst] [--engine NAME]
        [--rate R] [--onlookers N] [--repeats N]

A real Kafka, a worker and the page are each a process of their own on this machine. Alerts come
evenly. Runs with the page and its onlookers and runs without any page take turns, so that what
else the machine does meets both. An onlooker follows the live page and asks for every picture of
the cards that it is sent, as a browser does; all of them are threads of this program, and share the
cores with what is measured.
"""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench_stream import Bench, arguments, opened, origin_of
from machine import facts

_PICTURES = re.compile(r'src="(/card/[^"]+)"')
_STOP_S = 30.0
_GIVE_UP_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of the stream, with the page or without it."""

    onlookers: int
    alerts: int
    offered_per_s: float
    worker_cpu_ms_per_alert: float
    p50_ms: float
    p99_ms: float
    """From the append of an alert to the append of its annotation."""
    page_peak_mb: float
    page_cpu_s: float
    cards: int
    """That onlookers were sent, all together."""
    pictures: int


class Page:
    """``streamfilter console`` in a process of its own."""

    def __init__(self, settings: dict[str, str], log: Path) -> None:
        command = [sys.executable, "-m", "streamfilter", "console"]
        for key, value in {**settings, "console.port": "0"}.items():
            command += ["--set", f"{key}={value}"]
        with log.open("wb") as sink:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sink)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().decode().strip()
        if not self.url:
            raise SystemExit(f"the page did not start: {log.read_text()}")

    def peak_mb(self) -> float:
        """The most memory that it ever had resident."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1000

    def cpu_s(self) -> float:
        """Processor seconds that it has taken."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(_STOP_S)


class Onlooker(threading.Thread):
    """Follows the live page until it ends, and fetches what a browser would."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._address = urlsplit(url).netloc
        self.cards = self.pictures = 0

    def run(self) -> None:
        """Read events; each has a name, then its data."""
        following, fetching = (
            http.client.HTTPConnection(self._address, timeout=_GIVE_UP_S) for _ in range(2)
        )
        following.request("GET", "/events?kind=live")
        answer = following.getresponse()
        name = ""
        try:
            while line := answer.readline().decode():
                field, _, value = line.rstrip("\n").partition(": ")
                if field == "event":
                    name = value
                elif field == "data" and name == "cards":
                    self._look(json.loads(value)["html"], fetching)
        except (OSError, http.client.HTTPException):
            return  # the page has ended
        finally:
            following.close()
            fetching.close()

    def _look(self, html: str, fetching: http.client.HTTPConnection) -> None:
        self.cards += html.count("<article")
        for path in dict.fromkeys(_PICTURES.findall(html)):
            fetching.request("GET", path)
            answer = fetching.getresponse()
            answer.read()
            self.pictures += answer.status == 200


def run(bench: Bench, folder: Path, alerts: int, rate_per_s: float, onlookers: int) -> Run:
    """Let alerts come evenly, and count what they cost."""
    topic, out = bench.topics()
    settings = {
        "kafka.bootstrap": bench.broker.bootstrap, "alerts.topics": f'["{topic}"]',
        "outputs.annotations": out, "outputs.rejected": "", "engine.name": bench.engine,
    }  # fmt: skip
    with bench.workers(1, 1, topic, out) as (worker,):
        with looked_at(settings, folder, onlookers) as (page, all_):
            bench.produce_evenly(topic, rate_per_s, alerts // 10)  # all are warm
            bench.appended(out, alerts // 10)
            worker_s, page_s = worker.cpu_s(), page.cpu_s() if page else 0.0
            bench.produce_evenly(topic, rate_per_s, alerts)
            bench.appended(out, alerts + alerts // 10)
            worker_s = worker.cpu_s() - worker_s
            page_s = page.cpu_s() - page_s if page else 0.0
            peak_mb = page.peak_mb() if page else 0.0
        ended = {origin_of(m): float(m.timestamp_ms or 0) for m in bench.broker.read(out)}
        latency = bench.latency_of(topic, ended, rate_per_s)
    return Run(
        onlookers=onlookers, alerts=alerts, offered_per_s=rate_per_s,
        worker_cpu_ms_per_alert=round(1000 * worker_s / alerts, 3),
        p50_ms=round(latency.p50_ms, 1), p99_ms=round(latency.p99_ms, 1),
        page_peak_mb=round(peak_mb), page_cpu_s=round(page_s, 2),
        cards=sum(each.cards for each in all_), pictures=sum(each.pictures for each in all_),
    )  # fmt: skip


@contextmanager
def looked_at(
    settings: dict[str, str], folder: Path, onlookers: int
) -> Iterator[tuple[Page | None, Sequence[Onlooker]]]:
    """A page with its onlookers; neither where there are to be none."""
    if not onlookers:
        yield None, ()
        return
    page = Page(settings, folder / "page.log")
    every = [Onlooker(page.url) for _ in range(onlookers)]
    for each in every:
        each.start()
    try:
        yield page, every
    finally:
        page.stop()
        for each in every:
            each.join(_GIVE_UP_S)


def measure(
    bench: Bench, folder: Path, alerts: int, rate_per_s: float, onlookers: int, repeats: int
) -> dict[str, object]:
    """All figures, the ratio first."""
    runs = [
        run(bench, folder, alerts, rate_per_s, count)
        for _ in range(repeats)
        for count in (0, onlookers)
    ]
    without, with_page = (
        [each for each in runs if bool(each.onlookers) is looked] for looked in (False, True)
    )
    before, after = (
        sum(each.worker_cpu_ms_per_alert for each in part) for part in (without, with_page)
    )
    return {
        "worker_cpu_with_over_without": round(after / before, 3),
        "page_peak_mb": max(each.page_peak_mb for each in with_page),
        "runs": [asdict(each) for each in runs],
        "machine": facts("confluent-kafka", "onnxruntime", "starlette", "uvicorn"),
    }


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__.partition("\n")[0], alerts=3000)
    parser.set_defaults(engine="stampmask")  # MaxiMask does not judge 200 a second on two cores
    parser.add_argument("--rate", type=float, default=200.0, help="alerts/s")
    parser.add_argument("--onlookers", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=2)
    given = parser.parse_args()
    with opened(given) as bench:
        found = measure(
            bench, bench.folder, given.alerts, given.rate, given.onlookers, given.repeats
        )
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for key, value in found.items():
        for each in value if isinstance(value, list) else [value]:
            print(f"{key:28} {each}")


if __name__ == "__main__":
    main()
