"""Workers on this machine: processes, of which any may die without its task being lost."""

import multiprocessing
import os
import signal
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Self

from streamfilter.archive.annotator import Judging, attempt
from streamfilter.archive.events import Advanced, Event, GivenUp, WorkersFailed
from streamfilter.archive.ledger import Entry
from streamfilter.archive.tasks import Task
from streamfilter.errors import StreamfilterError
from streamfilter.library.saying import say

MOST_DEATHS = 3
"""A task on which so many workers died is given up; the others go on."""


@dataclass(slots=True)
class _Worker:
    process: multiprocessing.process.BaseProcess
    connection: Connection
    task: Task | None = None
    began: bool = False


class LocalWorkers:
    """Does tasks in processes of this machine; where there are fewer, each has more threads.

    Parameters
    ----------
    judging
        What each makes its filter of.
    folder
        Of the output.
    number
        Of processes.
    """

    def __init__(self, judging: Judging, folder: Path, number: int) -> None:
        self._judging, self._folder, self._number = judging, folder, number
        # A fork would share the runtime's threads, which do not survive it.
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._deaths: dict[str, int] = {}
        self._early_deaths = 0

    @property
    def pids(self) -> list[int]:
        """Processes of the workers."""
        return [each.process.pid for each in self._workers if each.process.pid]

    def run(self, tasks: Sequence[Task], limit: int | None = None) -> Iterator[Event]:
        """Yields what happens until every task is done or given up.

        Parameters
        ----------
        limit
            Most packets of all; then there is one worker, which takes the tasks in order.

        Raises
        ------
        OutputUnwritable, WorkersFailed
            Nothing more can be done; tasks that were done stay done.
        """
        waiting, left = deque(tasks), limit
        number = 1 if limit is not None else min(self._number, len(tasks))
        self._judging = replace(self._judging, threads=max(1, self._number // max(number, 1)))
        try:
            self._workers = [self._started() for _ in range(number)]
            while waiting or any(each.task for each in self._workers):
                for worker in self._workers:
                    if worker.task is None and waiting and left != 0:
                        self._give(worker, waiting.popleft(), left)
                if not any(each.task for each in self._workers):
                    return
                for event in self._events(waiting):
                    if isinstance(event, Entry) and left is not None:
                        left -= event.rows
                    yield event
        finally:
            self.close()

    def close(self) -> None:
        """End the processes."""
        for each in self._workers:
            each.connection.close()
        for each in self._workers:
            each.process.join(timeout=5)
            if each.process.is_alive():
                each.process.kill()
                each.process.join()
        self._workers = []

    def __enter__(self) -> Self:
        """Returns the workers."""
        return self

    def __exit__(self, *_: object) -> None:
        """End them."""
        self.close()

    def _events(self, waiting: deque[Task]) -> Iterator[Event]:
        """Yields what workers say next; a task whose worker died waits again."""
        spoken = wait([each.connection for each in self._workers])
        for number, worker in enumerate(self._workers):
            if worker.connection not in spoken:
                continue
            try:
                said = worker.connection.recv()
            except (EOFError, OSError):
                given_up = self._died(worker, waiting)
                self._workers[number] = self._started()
                if given_up is not None:
                    yield given_up
                continue
            worker.began = True
            if isinstance(said, StreamfilterError):
                raise said
            if isinstance(said, Entry | GivenUp):
                worker.task = None
            if said is not None:
                yield said

    def _died(self, worker: _Worker, waiting: deque[Task]) -> GivenUp | None:
        worker.process.join()
        worker.connection.close()
        how = _how(worker.process.exitcode or 0)
        if not worker.began:
            self._early_deaths += 1
            if self._early_deaths >= MOST_DEATHS * self._number:
                raise WorkersFailed(f"workers end before they begin ({how})")
        task = worker.task
        if task is None:
            return None
        self._deaths[task.name] = self._deaths.get(task.name, 0) + 1
        if self._deaths[task.name] < MOST_DEATHS:
            waiting.appendleft(task)
            return None
        return GivenUp(task, f"{MOST_DEATHS} workers ended while they did it, the last {how}")

    def _started(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=work, args=(theirs, self._judging, self._folder, os.getpid()), daemon=True
        )
        process.start()
        theirs.close()
        return _Worker(process, ours)

    @staticmethod
    def _give(worker: _Worker, task: Task, limit: int | None) -> None:
        worker.task = task
        try:
            worker.connection.send((task, limit))
        except OSError:  # it died: its connection says so next
            return


def work(connection: Connection, judging: Judging, folder: Path, driver: int) -> None:
    """Do the tasks that the driver sends, until it closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver hears it, and ends its workers
    warnings.showwarning = lambda message, *_, **__: say(str(message))  # without our own line
    try:
        filter_ = judging.filter()
    except StreamfilterError as error:
        _say(connection, WorkersFailed(str(error)))
        return
    _say(connection, None)
    with filter_:
        while True:
            try:
                task, limit = connection.recv()
            except (EOFError, OSError):
                return
            said = attempt(
                filter_,
                task,
                folder,
                judging=judging,
                limit=limit,
                driver_there=lambda: os.getppid() == driver,
                progress=lambda done, rejected: _say(connection, Advanced(done, rejected)),
            )
            if not _say(connection, said):
                return


def _say(connection: Connection, said: Any) -> bool:
    """Tell the driver; returns whether it is there."""
    try:
        connection.send(said)
    except OSError:
        return False
    return True


def _how(exit_code: int) -> str:
    """Returns how a process ended, in words."""
    if exit_code < 0:
        return f"by {signal.Signals(-exit_code).name}"
    return f"with exit code {exit_code}"
