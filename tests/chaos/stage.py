"""What a scenario acts on: topics on a real Kafka, workers as users run them, faults and books."""

import itertools
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import MappingProxyType

from audit import DAMAGED, JUDGED, UNREAD, Account, Due, account, seconds_to_recover
from filter_process import FilterProcess
from kafka_desk import Broker
from watch import Feed, Watch

from streamfilter.files import bundled_folder
from streamfilter.kafka.ledger import Partition
from streamfilter.simulate.visits import alerts

PARTITIONS = 4
OUTPUTS = ("annotations", "enriched", "clean", "contaminated", "rejected", "tracking")
# One of them comes of each message that is answered.
ANSWERS = ("annotations", "rejected", "tracking")
# Small, so that what may come twice after a crash is little.
IN_FLIGHT = 16
# Nothing but a stream that stands still takes so long, on however busy a machine.
PATIENCE_S = 240.0
_SEEN_S = 10.0  # after which the watch has read what was answered
_MOST_SOUGHT = 5  # of the alerts that lack an output
_SCENES = 40  # distinct skies; each takes 0.1 s to draw
# A group that loses nobody on a busy machine, and that soon learns of who came.
_CLASSIC = {"session.timeout.ms": 45_000, "heartbeat.interval.ms": 500}
MIB_40 = str(41 * 2**20)


class Guarantee(StrEnum):
    """``delivery`` of a worker."""

    AT_LEAST_ONCE = "at-least-once"
    EXACTLY_ONCE = "exactly-once"


class CannotBe(Exception):
    """A scenario cannot be acted on this machine; the text says what is missing."""


def consumer(**settings: str | int) -> dict[str, str]:
    """The override of every worker's consumer, and more of librdkafka's settings over it.

    Parameters
    ----------
    settings
        By their names, written with underscores.
    """
    named = {key.replace("_", "."): value for key, value in settings.items()}
    ours = {} if named.get("group.protocol") == "consumer" else _CLASSIC
    pairs = (f'"{key}" = {json.dumps(value)}' for key, value in {**ours, **named}.items())
    return {"kafka.consumer": f"{{{', '.join(pairs)}}}"}


@cache
def packets(survey: str = "") -> tuple[bytes, ...]:
    """Simulated alerts, ZTF's and LSST's wire forms in turn: 49 and 110 kB."""
    surveys = (survey,) if survey else ("ztf", "lsst")
    return tuple(each.value for each in alerts(5, _SCENES, scenes=_SCENES, surveys=surveys))


@dataclass(frozen=True, slots=True)
class Fault:
    """When something was broken, and what may come again for it."""

    at_s: float
    exposed: int
    """Alerts that were under way, or answered and not committed."""


@dataclass(slots=True)
class Stage:
    """One stream with its workers; ``act`` of a scenario is called with it.

    Attributes
    ----------
    rounds
        How often the fault is to happen.
    settings
        Overrides of every worker.
    """

    broker: Broker
    folder: Path
    home: Path
    guarantee: Guarantee
    rounds: int
    settings: dict[str, str]
    topic: str
    outputs: dict[str, str]
    feed: Feed
    watch: Watch
    due: dict[bytes, Due] = field(default_factory=dict)
    excused: dict[bytes, frozenset[str]] = field(default_factory=dict)
    partitions: dict[bytes, Partition] = field(default_factory=dict)
    """Where each alert stands; those of one partition in its order."""
    more_topics: list[str] = field(default_factory=list)
    """Topics of alerts that came later."""
    faults: list[Fault] = field(default_factory=list)
    workers: dict[FilterProcess, int] = field(default_factory=dict)
    """Each with its number: the lowest that no living one had."""
    remarks: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    found_more: Callable[[], Mapping[str, Counter[bytes | None]]] = dict

    @property
    def group(self) -> str:
        """The workers' consumer group."""
        return f"group-{self.topic}"

    # ---- workers --------------------------------------------------------------------------------

    def start(
        self,
        overrides: Mapping[str, str] = MappingProxyType({}),
        *,
        ready: bool = True,
        environment: Mapping[str, str] | None = None,
        follows: FilterProcess | None = None,
    ) -> FilterProcess:
        """Start one more worker, and wait until it is warm and has partitions (``ready``).

        It has a name of its own, or that of the worker that it ``follows``.
        """
        if follows is None:
            taken = {n for each, n in self.workers.items() if each.process.poll() is None}
            number = next(n for n in itertools.count() if n not in taken)
        else:
            number = self.workers[follows]
        settings = {**self.settings, **self._delivery(number), **overrides}
        log = self.folder / f"worker-{len(self.workers)}.log"
        worker = FilterProcess(log, settings, self.home, environment=environment)
        self.workers[worker] = number
        return worker.wait_ready() if ready else worker

    def _delivery(self, number: int) -> dict[str, str]:
        """Settings of the guarantee; who comes for a killed worker fences it by its name."""
        if self.guarantee is Guarantee.AT_LEAST_ONCE:
            return {}
        name = f"{self.topic}-{number}"
        return {"delivery.guarantee": self.guarantee, "delivery.transactional_id": name}

    def stop(self, worker: FilterProcess) -> None:
        """End a worker in order; any other end is wrong."""
        if (code := worker.stop()) != 0:
            self.wrong.append(f"{worker.log.name}: exit code {code} after SIGTERM")

    def wait_ended(self, worker: FilterProcess) -> int | None:
        """Return once a worker has ended by itself; its exit code."""
        self.wait_until(lambda: worker.process.poll() is not None, f"the end of {worker.log.name}")
        return worker.process.returncode

    def wait_in_network(self, worker: FilterProcess) -> None:
        """Return while the worker has alerts in hand."""
        end = time.monotonic() + PATIENCE_S
        while worker.metric("streamfilter_in_flight_messages") == 0:
            assert time.monotonic() < end, f"nothing in flight: {worker.log.read_text()[-2000:]}"

    # ---- alerts ---------------------------------------------------------------------------------

    def send(
        self,
        count: int,
        *,
        partitions: tuple[int, ...] = tuple(range(PARTITIONS)),
        survey: str = "",
        damaged_every: int = 0,
        change: Callable[[bytes], bytes] = bytes,
        topic: str = "",
    ) -> list[bytes]:
        """Send alerts, each under a key of its own; their keys.

        Parameters
        ----------
        survey
            Whose packets; both surveys' in turn where none is named.
        damaged_every
            One message in so many is cut short, as a broken connection would.
        change
            What is done to each packet.
        topic
            One of ``more_topics``; the first where none is named.
        """
        sent, topic = [], topic or self.topic
        for _ in range(count):
            number = len(self.due)
            key, partition = b"%06d" % number, partitions[number % len(partitions)]
            # The number of a packet is not the partition's: both surveys come to each.
            values = packets(survey)
            value = change(values[number // len(partitions) % len(values)])
            bad = damaged_every and number // len(partitions) % damaged_every == 0
            self.due[key] = DAMAGED if bad else JUDGED
            self.partitions[key] = topic, partition
            self.feed.send(topic, partition, key, value[: len(value) // 2] if bad else value)
            sent.append(key)
        return sent

    @contextmanager
    def flowing(self, per_s: float) -> Iterator[None]:
        """Send alerts all the while."""
        over = threading.Event()

        def flow() -> None:
            while not over.wait(1 / per_s):
                self.send(1)

        thread = threading.Thread(target=flow, name="flow")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def wait_answered(self, count: int) -> None:
        """Return once so many alerts are answered."""
        self.wait_until(lambda: len(self.watch.keys) >= count, f"{count} answers")

    def wait_for(self, keys: list[bytes], output: str = "") -> None:
        """Return once these alerts are answered, in one of the outputs or in this."""

        def there() -> frozenset[bytes]:
            return self.watch.keys_in(self.outputs[output]) if output else self.watch.keys

        words = f"the {output or 'answers'} of {len(keys)} alerts"
        self.wait_until(lambda: there().issuperset(keys), words)

    def bring_back(self, keys: list[bytes]) -> None:
        """Have alerts annotated that a passing trouble may have had rejected, as a user does it."""
        self.wait_for(keys)
        away = self.watch.keys_in(self.outputs["rejected"]).intersection(keys)
        if away:
            self.excused |= dict.fromkeys(away, frozenset({"rejected"}))
            self.remarks.append(f"{len(away)} rejected meanwhile and replayed")
            command = [sys.executable, "-m", "streamfilter", "rejected", "replay"]
            command += ["--reason", "schema_unavailable"]
            for key, value in self.settings.items():
                command += ["--set", f"{key}={value}"]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        self.wait_for(keys, "annotations")

    def wait_all(self) -> None:
        """Return once everything is answered of which an answer is due."""
        self.feed.flush()
        self.wait_for([key for key, wanted in self.due.items() if wanted])

    def wait_committed(self) -> None:
        """Return once all that was sent is committed."""
        self.feed.flush()
        sent = self.sent()
        self.wait_until(lambda: self.committed() == sent, f"{sent} commits")

    def keys_in(self, partition: int) -> list[bytes]:
        """What was sent to a partition of the first topic: the key at each offset."""
        place = self.topic, partition
        return [key for key, at in self.partitions.items() if at == place]

    def sent(self) -> int:
        """How many messages stand in the topics of alerts, or stood there."""
        return sum(self.broker.size(each) for each in (self.topic, *self.more_topics))

    def leave_unread(self, keys: Iterable[bytes]) -> None:
        """These were deleted or stepped over before they were read: no answer may come of them."""
        self.due |= dict.fromkeys(keys, UNREAD)

    def wait_until(self, done: Callable[[], bool], words: str) -> None:
        """Return once it is done; the words name it where it does not come."""
        end = time.monotonic() + PATIENCE_S
        while not done():
            if time.monotonic() > end:
                ends = [(each.log.name, each.process.poll()) for each in self.workers]
                raise AssertionError(
                    f"{words} did not come within {PATIENCE_S:.0f} s, {len(self.watch.keys)} are "
                    f"there; workers {ends}; the last says {list(self.workers)[-1].events()[-5:]}"
                )
            time.sleep(0.05)

    # ---- faults ---------------------------------------------------------------------------------

    @contextmanager
    def fault(self) -> Iterator[None]:
        """What is done inside is one fault; the stream is to go on by itself after it."""
        alive = sum(each.process.poll() is None for each in self.workers)
        committed = self.committed()
        yield
        # What is answered and not committed comes again, and once more what was in hand; as much
        # may have been answered that the watch did not see yet.
        uncommitted = max(len(self.watch.keys) - committed, 0)
        exposed = uncommitted + 2 * IN_FLIGHT * max(alive, 1)
        self.faults.append(Fault(time.time(), exposed))

    def committed(self) -> int:
        """How many alerts the group has committed."""
        # A client for administration that outlived a broker waits for ever (librdkafka 2.16).
        fresh = Broker(self.broker.bootstrap)
        topics = (self.topic, *self.more_topics)
        return sum(sum(fresh.committed(self.group, each).values()) for each in topics)

    def committed_unanswered(self) -> set[bytes]:
        """Alerts below a committed offset of the first topic that no answer came of."""
        committed = Broker(self.broker.bootstrap).committed(self.group, self.topic)
        below = {key for n, end in committed.items() for key in self.keys_in(n)[:end]}
        end = time.monotonic() + _SEEN_S
        while (unanswered := below - self.watch.keys) and time.monotonic() < end:
            time.sleep(0.05)
        return unanswered

    @property
    def recoveries_s(self) -> list[float]:
        """Seconds to recover, for each fault after which something was left to answer."""
        answers = self.watch.answers
        each = (seconds_to_recover(one.at_s, answers, self.partitions) for one in self.faults)
        return [seconds for seconds in each if seconds is not None]

    # ---- the end --------------------------------------------------------------------------------

    def settle(self) -> Account:
        """Wait for the last answer, end the workers in order, and audit what stands there."""
        try:
            self.wait_all()
        except AssertionError as late:
            self.wrong.append(str(late))
        for worker in self.workers:
            if worker.process.poll() is None:
                self.stop(worker)
        sent, committed = self.sent(), self.committed()
        if committed != sent:
            self.wrong.append(f"{committed} offsets committed of {sent}")
        found = {name: self.broker.counts(topic) for name, topic in self.outputs.items()}
        seen = account(self.due, {**found, **self.found_more()}, self.excused)
        if seen.missing:
            self.remarks += self._whereabouts(seen.missing[:_MOST_SOUGHT])
        return seen

    def _whereabouts(self, keys: Sequence[bytes]) -> list[str]:
        """What the topics, which are deleted soon, have of each alert that lacks an output."""
        came = {
            topic: self._offsets(topic, keys) for topic in {self.partitions[key][0] for key in keys}
        }
        answers = {
            f"{name} {isolation}": self._offsets(output, keys, isolation)
            for name, output in self.outputs.items()
            for isolation in ("read_committed", "read_uncommitted")
        }
        remarks = []
        for key in keys:
            topic, partition = self.partitions[key]
            said = f"{key.decode()} was taken at {topic}[{partition}]@{self.feed.taken.get(key)}, "
            said += f"stands there at {came[topic][key]}"
            found = ((name, offsets[key]) for name, offsets in answers.items())
            remarks.append(said + "".join(f"; {name} at {at}" for name, at in found if at))
        return remarks

    def _offsets(
        self, topic: str, keys: Sequence[bytes], isolation: str = "read_committed"
    ) -> dict[bytes, list[int]]:
        """Where a topic has messages of these keys; it is read once for all of them."""
        found: dict[bytes, list[int]] = {key: [] for key in keys}
        for message in self.broker.read(topic, isolation=isolation):
            if message.key in found:
                found[message.key].append(message.origin.offset)
        return found


@contextmanager
def stage(
    broker: Broker,
    folder: Path,
    home: Path,
    guarantee: Guarantee,
    *,
    rounds: int,
    stamped_by: str = "LogAppendTime",
) -> Iterator[Stage]:
    """Topics, a feed and a watch for one scenario; all is removed after it.

    Parameters
    ----------
    stamped_by
        ``message.timestamp.type`` of the outputs; by the broker it tells when an answer came.
    """
    topic = broker.topic(PARTITIONS, stem="alerts", max_message_bytes=MIB_40)
    outputs = {
        name: broker.topic(stem=name, message_timestamp_type=stamped_by, max_message_bytes=MIB_40)
        for name in OUTPUTS
    }
    base = {
        "kafka.bootstrap": broker.bootstrap,
        "kafka.group": f"group-{topic}",
        **consumer(),
        "alerts.topics": f'["{topic}"]',
        "schemas.folders": f'["{bundled_folder("schemas") / "simulated"}"]',
        "engine.workers": "1",
        "flow.max_in_flight": str(IN_FLIGHT),
        "flow.commit_interval_s": "0.2",
        **{f"outputs.{name}": each for name, each in outputs.items()},
    }
    feed = Feed(broker.bootstrap)
    with Watch(broker.bootstrap, [outputs[name] for name in ANSWERS]) as watch:
        made = Stage(
            broker, folder, home, guarantee, rounds, base, topic, outputs, feed, watch
        )  # fmt: skip
        try:
            yield made
        finally:
            for worker in made.workers:
                worker.__exit__()
    broker.delete(topic, *made.more_topics, *outputs.values())
