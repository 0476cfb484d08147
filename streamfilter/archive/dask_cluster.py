"""Workers of a Dask cluster, named by its scheduler's address: the only module that knows Dask."""

import socket
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

from distributed import Client, Future, KilledWorker, get_worker

from streamfilter.archive.annotator import Judging, attempt
from streamfilter.archive.events import Advanced, Event, GivenUp, WorkersFailed
from streamfilter.archive.ledger import Entry, run_at
from streamfilter.archive.tasks import Task
from streamfilter.errors import ConfigurationInvalid, StreamfilterError, plain_words
from streamfilter.library.filter import Filter
from streamfilter.library.saying import say

_CONNECT_S = 20
_AHEAD = 2
"""Tasks for each thread of the cluster: the next is there when one is done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What all tasks of a run have in common."""

    judging: Judging
    folder: Path
    """Of the output: the same for driver and workers."""
    run: str
    """Names the run, as in its ledger."""
    digest: str
    """Of what the driver's filter would write; a worker's has to write the same."""

    @property
    def topic(self) -> str:
        """Events of the cluster that say how many packets are done."""
        return f"streamfilter-{self.run}"


class DaskWorkers:
    """Does tasks in the processes of an existing cluster; several drivers may share it.

    Parameters
    ----------
    job
        What is to be done; its paths are read by the workers.
    scheduler
        Its address, such as ``tcp://host:8786``.

    Raises
    ------
    ConfigurationInvalid
        No scheduler answers there.
    """

    def __init__(self, job: Job, scheduler: str) -> None:
        self._job, self._scheduler = job, scheduler
        self._said = SimpleQueue[Any]()
        self._running: dict[str, tuple[Future, Task]] = {}
        try:
            self._client = Client(
                scheduler, timeout=_CONNECT_S, set_as_default=False, name="streamfilter-annotate"
            )
        except (OSError, ValueError) as error:
            raise ConfigurationInvalid(
                f"no Dask scheduler answers at {scheduler!r} ({plain_words(error)}): expected the "
                "address of one that runs, such as tcp://host:8786"
            ) from error

    def run(self, tasks: Sequence[Task], limit: int | None = None) -> Iterator[Event]:
        """Yields what happens until every task is done or given up.

        Parameters
        ----------
        limit
            Most packets of all; then the tasks are done in order, one at a time.

        Raises
        ------
        OutputUnwritable, WorkersFailed
            Nothing more can be done; tasks that were done stay done.
        """
        waiting, left = deque(tasks), limit
        with self._connected():
            self._client.subscribe_topic(self._job.topic, self._hear)
            if tasks and not self._threads():
                say(f"{self._scheduler} has no worker: waiting for one")
        while True:
            with self._connected():
                room = 1 if limit is not None else max(1, self._threads()) * _AHEAD
                while waiting and len(self._running) < room and left != 0:
                    self._submit(waiting.popleft(), left)
            if not self._running:
                return
            said = self._said.get()
            if isinstance(said, Future):
                said = self._outcome(*self._running.pop(said.key))
            if isinstance(said, Entry) and left is not None:
                left -= said.rows
            yield said

    def close(self) -> None:
        """Leave the cluster as it is; what is not done is taken back."""
        self._client.close()

    def __enter__(self) -> Self:
        """Returns the workers."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the cluster."""
        self.close()

    def _threads(self) -> int:
        return sum(self._client.nthreads().values())

    def _submit(self, task: Task, limit: int | None) -> None:
        key = f"streamfilter-{self._job.run}-{task.name}"
        future = self._client.submit(work, self._job, task, limit, key=key, pure=False)
        self._running[key] = future, task
        future.add_done_callback(self._said.put)

    def _hear(self, event: tuple[float, Sequence[int]]) -> None:
        _, (annotated, rejected) = event
        self._said.put(Advanced(annotated, rejected))

    def _outcome(self, future: Future, task: Task) -> Event:
        """Returns what became of a task; raises as ``run`` does."""
        try:
            said = future.result()
        except KilledWorker:
            return GivenUp(task, "several workers of the cluster ended while they did it")
        except ImportError as error:
            raise WorkersFailed(
                f"a worker lacks what streamfilter needs ({error}): install the driver's version "
                "with the same extras there"
            ) from error
        except Exception as error:
            if future.status != "error":
                raise self._gone(error) from error
            # As where a process of this machine ends by it.
            return GivenUp(task, f"{type(error).__name__}: {error}")
        if isinstance(said, StreamfilterError):
            raise said
        assert isinstance(said, Entry | GivenUp)
        return said

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Translates what is raised where the scheduler is gone."""
        try:
            yield
        except OSError as error:
            raise self._gone(error) from error

    def _gone(self, error: Exception) -> WorkersFailed:
        return WorkersFailed(
            f"the Dask scheduler at {self._scheduler} is gone, or was told to forget our tasks "
            f"({plain_words(error)}): go on with --resume once it runs"
        )


def work(job: Job, task: Task, limit: int | None) -> Entry | GivenUp | StreamfilterError:
    """Do a task in a worker of the cluster; returns what ``attempt`` does."""
    worker = get_worker()
    try:
        _refuse_other_folder(job)
        with job.judging.shared() as filter_:
            _refuse_other_output(job, filter_)
            return attempt(
                filter_,
                task,
                job.folder,
                judging=job.judging,
                limit=limit,
                driver_there=lambda: _is_under_way(job),
                progress=lambda *numbers: worker.log_event(job.topic, numbers),
            )
    except StreamfilterError as error:
        return WorkersFailed(str(error))


def _is_under_way(job: Job) -> bool:
    try:
        return run_at(job.folder) == job.run
    except OSError:  # the output was removed
        return False


def _refuse_other_folder(job: Job) -> None:
    """Raise where the worker has another folder of that name than the driver."""
    try:
        found = run_at(job.folder)
    except OSError as error:
        raise WorkersFailed(
            f"{socket.gethostname()} does not have {job.folder} as the driver has it "
            f"({plain_words(error)}): --out has to be on a file system that all machines share"
        ) from error
    if found != job.run:
        raise WorkersFailed(f"{job.folder}: the run that this task is of has ended")


def _refuse_other_output(job: Job, filter_: Filter) -> None:
    if (found := filter_.layout.digest) != job.digest:
        raise WorkersFailed(
            f"{socket.gethostname()} would write another output (digest {found}, the driver's is "
            f"{job.digest}): install the same version there, with the same settings and field maps"
        )
