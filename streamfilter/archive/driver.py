"""Annotates an archive: tasks to workers, results to the ledger, and the audit at the end."""

import hashlib
import json
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from streamfilter.archive.annotator import Judging, Reading
from streamfilter.archive.audit import Audit, audit
from streamfilter.archive.events import Advanced, Event, GivenUp
from streamfilter.archive.input_files import input_files
from streamfilter.archive.ledger import Entry, Ledger
from streamfilter.archive.local import LocalWorkers
from streamfilter.archive.outputs import ANNOTATIONS, remove_leftovers
from streamfilter.archive.tasks import Kind, Task, tasks_of
from streamfilter.errors import ConfigurationInvalid, how_to_install
from streamfilter.library.filter import Filter
from streamfilter.service.assembly.archives import refuse_unfit_topics

if TYPE_CHECKING:
    from streamfilter.archive.dask_cluster import DaskWorkers

_SAMPLE = 64
"""Packets by which a dry run measures the rate: a second or two."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What is to be annotated, and how."""

    paths: tuple[str, ...]
    out: Path
    judging: Judging
    workers: int
    """Processes of this machine, where there is no scheduler."""
    scheduler: str | None = None
    """Address of a Dask cluster's; None: this machine does it."""
    resume: bool = False
    limit: int | None = None


@dataclass(slots=True)
class Report:
    """What was done of an archive, by this run and those that it went on with."""

    digest: str
    judged_by: dict[str, Any]
    files: int
    tasks: int
    resumed: int
    """Tasks that were done before."""
    removed: list[str]
    """Files of tasks that an earlier run had not finished."""
    topics: dict[str, str] | None = None
    """Where it was published; None: Parquet."""
    seconds: float = 0.0
    rows: int = 0
    """Packets that this run read."""
    given_up: list[dict[str, str]] = field(default_factory=list)
    audit: Audit = field(default_factory=Audit)
    verdicts: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Returns it as a file of JSON has it."""
        rate = {"rows_per_s": round(self.rows / self.seconds, 1) if self.seconds else None}
        return {**asdict(self), **rate}


@dataclass(frozen=True, slots=True)
class Estimate:
    """What annotating an archive will take."""

    files: int
    size: int
    tasks: int
    rows: int
    """As far as the files say it; of packets by the size of the first."""
    seconds_a_row: float
    """Of one core."""

    @property
    def core_hours(self) -> float:
        """Time of one core for all rows."""
        return self.rows * self.seconds_a_row / 3600


def annotate(order: Order, heard: Callable[[Event, int], None]) -> Report:
    """Returns what was done; tasks that were done before are left out.

    Parameters
    ----------
    heard
        Is told of each event, and of how many bytes of input it is the last.

    Raises
    ------
    FileNotFoundError
        A path is not there.
    StoreUnavailable
        A store does not say what there is.
    ConfigurationInvalid
        The output was begun with something else, or is not this run's alone; no scheduler answers,
        or a topic is not there.
    OutputUnwritable, StreamfilterError
        The disk is full; the network or a registry failed. ``resume`` goes on.
    """
    started = time.monotonic()
    files = input_files(order.paths)
    with order.judging.filter() as filter_:  # fetches the network once, before workers open it
        layout = filter_.layout
        digest, judged_by = layout.digest, dict(layout.judged_by)
    head, run = _head(order.judging, digest, judged_by), secrets.token_hex(8)
    if order.judging.topics is not None:
        refuse_unfit_topics(order.judging.publishing())
    with (
        _workers(order, run, digest) as workers,
        Ledger(order.out, head, resume=order.resume, run=run) as ledger,
    ):
        before = len(ledger.entries)
        removed = remove_leftovers(order.out, ledger.files)
        tasks = ledger.left(tasks_of(files))
        report = Report(
            digest=head["digest"],
            judged_by=judged_by,
            topics=head.get("topics"),
            files=len(files),
            tasks=len(tasks),
            resumed=before,
            removed=removed,
        )
        for event in workers.run(tasks, order.limit):
            if isinstance(event, Entry):
                ledger.add(event)
                report.rows += event.rows
            elif isinstance(event, GivenUp):
                report.given_up.append({"file": event.task.files[0].path, "why": event.why})
            heard(event, _bytes_of(event))
        remove_leftovers(order.out, ledger.files)  # of workers that died
        report.audit = audit(order.out, ledger.entries, published=bool(report.topics))
        report.rejected = _reasons(ledger.entries)
        report.verdicts = _verdicts(order.out, ledger.files)
    report.seconds = round(time.monotonic() - started, 1)
    return report


def _head(judging: Judging, digest: str, judged_by: dict[str, Any]) -> dict[str, Any]:
    """Returns what an output is bound to: what judges, and the topics that are written."""
    if judging.topics is None:
        return {"digest": digest, "judged_by": judged_by}
    topics = asdict(judging.topics)
    text = json.dumps([digest, topics], sort_keys=True)
    bound = hashlib.sha256(text.encode()).hexdigest()[: len(digest)]
    return {"digest": bound, "topics": topics, "judged_by": judged_by}


def _workers(order: Order, run: str, digest: str) -> "LocalWorkers | DaskWorkers":
    """Returns what does the tasks; raises ConfigurationInvalid."""
    if order.scheduler is None:
        return LocalWorkers(order.judging, order.out, order.workers)
    try:
        from streamfilter.archive.dask_cluster import DaskWorkers, Job
    except ImportError as error:
        raise ConfigurationInvalid(
            f"--engine dask needs distributed: {how_to_install('dask')}"
        ) from error
    # Workers have another working folder.
    config = order.judging.config and order.judging.config.resolve()
    judging = replace(order.judging, config=config)
    job = Job(judging=judging, folder=order.out.resolve(), run=run, digest=digest)
    return DaskWorkers(job, order.scheduler)


def sizes(paths: Iterable[str]) -> tuple[list[Task], int, int]:
    """Returns tasks, number of files and bytes of paths; raises FileNotFoundError."""
    files = input_files(paths)
    return tasks_of(files), len(files), sum(max(each.size, 0) for each in files)


def estimate(order: Order) -> Estimate:
    """Returns what the order will take, by judging the first packets; writes nothing.

    Raises
    ------
    FileNotFoundError
        A path is not there.
    """
    tasks, files, size = sizes(order.paths)
    with order.judging.filter() as filter_:
        seconds, bytes_a_packet = _measured(filter_, tasks)
    known = sum(task.rows or 0 for task in tasks)
    unknown = sum(task.size for task in tasks if task.kind is Kind.PACKETS)
    rows = known + round(unknown / bytes_a_packet if bytes_a_packet else 0)
    return Estimate(files, size, len(tasks), rows, seconds)


def _measured(filter_: Filter, tasks: Sequence[Task]) -> tuple[float, float]:
    """Returns seconds for a packet, and its bytes in the file; 0 where there is none."""
    for task in tasks:
        reading = Reading(task, _SAMPLE)
        batches = list(reading.batches(filter_))
        if not reading.rows:
            continue
        list(filter_.annotate(iter([batches[0].slice(0, 1)])))  # the first is slow
        started = time.monotonic()
        list(filter_.annotate(iter(batches)))
        seconds = (time.monotonic() - started) / reading.rows
        return seconds, sum(each.nbytes for each in batches) / reading.rows
    return 0.0, 0.0


def _bytes_of(event: Event) -> int:
    """Returns the bytes of input that are done with an event."""
    if isinstance(event, Advanced):
        return 0
    if isinstance(event, GivenUp):
        return event.task.size
    sizes = sum(max(int(each["size"]), 0) for each in event.task["files"])
    return sizes // int(event.task["parts"])


def _reasons(entries: Iterable[Entry]) -> dict[str, int]:
    """Returns the rejected packets of each reason, the most frequent first."""
    counts = Counter[str]()
    for each in entries:
        counts.update(each.rejected)
    return dict(counts.most_common())


def _verdicts(folder: Path, files: Iterable[str]) -> dict[str, int]:
    """Returns the rows of each verdict, the most frequent first."""
    counts = Counter[str]()
    for name in files:
        if name.startswith(f"{ANNOTATIONS}/"):
            table = pq.read_table(folder / name, columns=["verdict"], partitioning=None)
            for each in table["verdict"].value_counts().to_pylist():
                counts[each["values"]] += each["counts"]
    return dict(counts.most_common())
