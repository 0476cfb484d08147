"""Does one task: packets or columns in, Parquet out; what a worker of any engine calls."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from streamfilter.alerts.packets import Packet
from streamfilter.archive.events import GivenUp, WorkersFailed
from streamfilter.archive.ledger import Entry
from streamfilter.archive.outputs import OutputUnwritable, TaskOutput
from streamfilter.archive.stores import StoreUnavailable
from streamfilter.archive.tasks import Kind, Task
from streamfilter.config import Settings, load
from streamfilter.errors import MessageRejected, Reason, StreamfilterError, plain_words
from streamfilter.library import tables
from streamfilter.library.arrow_packets import INDEX, PACKET, SOURCE, column_plan
from streamfilter.library.filter import Filter
from streamfilter.library.shared_filters import shared_filter
from streamfilter.service.alerts.archive_publisher import ArchivePublisher
from streamfilter.service.assembly.archives import open_archive_publisher

SKIPPED, UNREADABLE = "skipped", "unreadable"
"""Reasons of files, or members of archives, that are no packets, and that cannot be read."""
_BATCH_ROWS, _BATCH_BYTES = 64, 16 * 2**20
"""What is read ahead: a row of three stamps has 45 to 95 kB."""
_SENT_ROWS = 64
_PACKETS = pa.schema([(PACKET, pa.binary()), (SOURCE, pa.string()), (INDEX, pa.int64())])

Progress = Callable[[int, int], object]
"""Takes the packets that were annotated and rejected since the last call."""


@dataclass(frozen=True, slots=True)
class Topics:
    """Where annotations and rejected messages are published, instead of Parquet."""

    annotations: str
    rejected: str


class DriverGone(StreamfilterError):
    """The driver ended: nobody would write down that the task is done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judging:
    """What a worker makes its filter of, and where what it says goes."""

    config: Path | None = None
    overrides: tuple[str, ...] = ()
    planes: tuple[str, ...] | None = None
    columns: tuple[str, ...] = ()
    threads: int = 1
    topics: Topics | None = None
    """None: Parquet."""

    def filter(self) -> Filter:
        """Returns a filter; raises as making one."""
        return Filter(
            self.config,
            overrides=self.overrides,
            planes=self.planes,
            columns=self.columns,
            threads=self.threads,
        )

    def shared(self) -> AbstractContextManager[Filter]:
        """Returns the filter that this process shares; entering it raises as making one."""
        return shared_filter(
            self.config,
            overrides=self.overrides,
            planes=self.planes,
            columns=self.columns,
            threads=self.threads,
        )

    def publishing(self) -> Settings:
        """Returns the settings of a stream with these topics; raises ConfigurationInvalid."""
        assert self.topics is not None
        outputs = f"outputs.annotations={self.topics.annotations}"
        rejected = f"outputs.rejected={self.topics.rejected}"
        return load(self.config, overrides=(*self.overrides, outputs, rejected))

    def publisher(self) -> AbstractContextManager[ArchivePublisher | None]:
        """Returns what publishes, where topics are named; raises ConfigurationInvalid."""
        if self.topics is None:
            return nullcontext()
        return open_archive_publisher(self.publishing())


@dataclass(slots=True)
class Reading:
    """The packets of a task, and what of its files is none."""

    task: Task
    limit: int | None
    refused: list[dict[str, Any]] = field(default_factory=list)
    rows: int = 0
    cut: bool = False

    def batches(self, filter_: Filter) -> Iterator[pa.RecordBatch]:
        """Yields batches for ``Filter.annotate``, and counts their rows."""
        reader = self._packets() if self.task.kind is Kind.PACKETS else self._row_group(filter_)
        for batch in reader:
            some = batch
            if self.limit is not None and self.rows + batch.num_rows > self.limit:
                self.cut = True
                some = batch.slice(0, self.limit - self.rows)
            self.rows += some.num_rows
            if some.num_rows:
                yield some
            if self.cut:
                return

    def refuse(self, source: str, reason: str, detail: str) -> None:
        """Note what is no packet; of a file in parts, of it as a whole the first part's worker."""
        whole = source in {file.path for file in self.task.files}
        if not whole or self.task.part == 0 or self.task.kind is Kind.PARQUET:
            self.refused.append(
                {"source": source, "index": None, "rejected": reason, "detail": detail}
            )

    def _packets(self) -> Iterator[pa.RecordBatch]:
        some, size = list[Packet](), 0
        for packet in self._every_packet():
            some.append(packet)
            size += len(packet.value)
            if len(some) == _BATCH_ROWS or size > _BATCH_BYTES:
                yield _batch(some)
                some, size = [], 0
        if some:
            yield _batch(some)

    def _every_packet(self) -> Iterator[Packet]:
        for file in self.task.files:
            try:
                yield from file.packets(
                    lambda source, reason: self.refuse(source, SKIPPED, reason),
                    self.task.part,
                    self.task.parts,
                )
            except OSError as error:
                self.refuse(file.path, UNREADABLE, plain_words(error))

    def _row_group(self, filter_: Filter) -> Iterator[pa.RecordBatch]:
        (file,) = self.task.files
        try:
            with file.parquet() as opened:
                schema = opened.schema_arrow
                whole = PACKET in schema.names
                paths = [PACKET] if whole else list(column_plan(schema, filter_.pipeline).paths)
                before = _rows_before(opened.metadata, self.task.part)
                for batch in opened.iter_batches(
                    _BATCH_ROWS, row_groups=[self.task.part], columns=paths
                ):
                    yield _placed(batch, file.path, before)
                    before += batch.num_rows
        except MessageRejected as error:
            self.refuse(file.path, error.reason.value, error.detail)
        except (OSError, pa.ArrowException) as error:
            self.refuse(file.path, UNREADABLE, plain_words(error))


def annotate_task(
    filter_: Filter,
    task: Task,
    folder: Path,
    *,
    publisher: ArchivePublisher | None = None,
    limit: int | None = None,
    driver_there: Callable[[], bool] = lambda: True,
    progress: Progress = lambda annotated, rejected: None,
) -> Entry:
    """Returns what was done, once all files of the task are whole and in their place.

    With a publisher, once all messages are acknowledged; then only what is no packet is in a file.

    Parameters
    ----------
    folder
        Of the output.
    limit
        Most packets to read; None: all.
    driver_there
        Says whether the driver is still at work, without which nothing is finished.

    Raises
    ------
    OutputUnwritable
        The disk is full, or the folder cannot be written.
    StoreUnavailable
        A store does not give an input now.
    StreamfilterError
        The network or a registry of schemas failed, or the driver is gone.
    """
    started = time.monotonic()
    reading = Reading(task, limit)
    output = TaskOutput(folder, task.name, filter_.layout.schema)
    try:
        annotated, reasons = _judge(filter_, reading, publisher or output, progress)
        output.refuse(reading.refused)
        if publisher is not None and (too_large := publisher.finish()):
            annotated -= too_large
            reasons[Reason.OUTPUT_TOO_LARGE.value] += too_large
        if not driver_there():
            raise DriverGone("the driver of this worker is gone")
        files = output.finish()
    except BaseException:
        output.discard()
        raise
    return Entry(
        task=task.as_json(),
        files={each.path: each.rows for each in files},
        rows=reading.rows,
        annotated=annotated,
        rejected=dict(reasons),
        refused=len(reading.refused),
        cut=reading.cut,
        seconds=round(time.monotonic() - started, 3),
    )


def _judge(
    filter_: Filter, reading: Reading, output: TaskOutput | ArchivePublisher, progress: Progress
) -> tuple[int, Counter[str]]:
    """Hand over what becomes of packets; returns the annotated, and by reason the rejected ones."""
    annotated, reasons = 0, Counter[str]()
    rows = filter_.judge_batches(reading.batches(filter_))
    while judged := list(islice(rows, _SENT_ROWS)):
        if isinstance(output, ArchivePublisher):
            output.publish(each.rejected or each.annotation for each in judged)
        else:
            for batch in tables.batches(filter_.layout, judged):
                output.add(batch)
        refused = [each.rejected.reason.value for each in judged if each.rejected]
        annotated += len(judged) - len(refused)
        reasons.update(refused)
        progress(len(judged) - len(refused), len(refused))
    return annotated, reasons


def attempt(
    filter_: Filter,
    task: Task,
    folder: Path,
    *,
    judging: Judging,
    limit: int | None,
    driver_there: Callable[[], bool],
    progress: Progress,
) -> Entry | GivenUp | StreamfilterError:
    """Returns what a worker says of a task: that it is done, given up, or what ends the run.

    The parameters are those of ``annotate_task``.
    """
    try:
        with judging.publisher() as publisher:
            return annotate_task(
                filter_,
                task,
                folder,
                publisher=publisher,
                limit=limit,
                driver_there=driver_there,
                progress=progress,
            )
    except OutputUnwritable as error:
        return error
    except StoreUnavailable as error:
        return GivenUp(task, str(error))
    except StreamfilterError as error:
        return WorkersFailed(str(error))
    except MemoryError as error:
        return GivenUp(task, plain_words(error))


def _batch(packets: Sequence[Packet]) -> pa.RecordBatch:
    columns = (
        [each.value for each in packets],
        [each.source for each in packets],
        [each.index for each in packets],
    )
    arrays = [pa.array(each, kind.type) for each, kind in zip(columns, _PACKETS, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=_PACKETS)


def _rows_before(footer: pq.FileMetaData, group: int) -> int:
    return sum(footer.row_group(each).num_rows for each in range(group))


def _placed(batch: pa.RecordBatch, source: str, before: int) -> pa.RecordBatch:
    """Returns a batch with the columns that name its rows: the file, and the row in it."""
    numbers = pa.array(range(before, before + batch.num_rows), pa.int64())
    sources = pa.array([source] * batch.num_rows)
    names = [*batch.schema.names, SOURCE, INDEX]
    return pa.RecordBatch.from_arrays([*batch.columns, sources, numbers], names=names)
