"""The ledger of an output: a line of JSON for each finished task, and one driver at a time."""

import fcntl
import json
import os
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TextIO

from streamfilter.archive.input_files import InputFile
from streamfilter.archive.outputs import OutputUnwritable
from streamfilter.archive.tasks import Piece, Task
from streamfilter.errors import ConfigurationInvalid, plain_words

FILE = "ledger.jsonl"
_LOCK = ".driver"


@dataclass(frozen=True, slots=True)
class Entry:
    """One finished task."""

    task: Mapping[str, Any]
    files: Mapping[str, int]
    """Rows of each file, by its path below the output's folder."""
    rows: int
    """Packets that were read."""
    annotated: int
    rejected: Mapping[str, int]
    """Packets by reason."""
    refused: int
    """Files, or members of archives, that are no packets."""
    cut: bool
    """Whether ``--limit`` ended it: then it is done again."""
    seconds: float

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """As ``Task.pieces``."""
        part, parts = self.task["part"], self.task["parts"]
        return tuple((InputFile(**each), part, parts) for each in self.task["files"])


class Ledger:
    """The ledger of one output, which this process alone writes.

    Parameters
    ----------
    folder
        Of the output; made where it is missing.
    head
        What decides the output: ``digest`` and what it is of.
    resume
        Whether an output that was begun is gone on with.
    run
        Names this run to workers on other machines (``run_at``).

    Raises
    ------
    ConfigurationInvalid
        Another driver is at work there, the output was begun and ``resume`` is not given, or it was
        begun with something else.
    OutputUnwritable
        The folder cannot be written.
    """

    def __init__(self, folder: Path, head: Mapping[str, Any], *, resume: bool, run: str) -> None:
        self._path = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(folder / _LOCK, run)
        except OSError as error:
            raise OutputUnwritable(f"{folder}: {plain_words(error)}") from error
        with ExitStack() as failing:
            failing.callback(self._lock.close)
            try:
                self.entries = self._begun(head, resume=resume)
                self._file = failing.enter_context(self._path.open("a", encoding="utf-8"))
                if self._path.stat().st_size == 0:
                    self._write({"begun": dict(head)})
            except OSError as error:
                raise OutputUnwritable(f"{self._path}: {plain_words(error)}") from error
            failing.pop_all()

    def add(self, entry: Entry) -> None:
        """Write a task's line, onto the disk; raises OutputUnwritable."""
        names = Entry.__dataclass_fields__
        try:
            self._write({name: getattr(entry, name) for name in names})
        except OSError as error:
            raise OutputUnwritable(f"{self._path}: {plain_words(error)}") from error
        self.entries.append(entry)

    @property
    def done(self) -> frozenset[Piece]:
        """Pieces of the input that need not be done again."""
        return frozenset(piece for each in self.entries for piece in each.pieces)

    @property
    def files(self) -> frozenset[str]:
        """Files of the output that are whole."""
        return frozenset(name for each in self.entries for name in each.files)

    def left(self, tasks: list[Task]) -> list[Task]:
        """Returns the tasks, or the rest of their files, that are not done.

        Raises
        ------
        ConfigurationInvalid
            A file is not what it was when it was annotated.
        """
        done = self.done
        before = {file.path: file for file, _, _ in done}
        left = []
        for task in tasks:
            for file in task.files:
                if before.get(file.path, file) != file:
                    raise ConfigurationInvalid(
                        f"{file.path} is not the file that was annotated before (another size or "
                        "time): annotate into another folder (--out)"
                    )
            pairs = zip(task.files, task.pieces, strict=True)
            files = tuple(file for file, piece in pairs if piece not in done)
            if files:
                left.append(Task(task.kind, files, task.part, task.parts, task.rows))
        return left

    def close(self) -> None:
        """Let another driver go on; workers that are still at work finish nothing more."""
        self._file.close()
        self._lock.truncate(0)
        self._lock.close()

    def __enter__(self) -> Self:
        """Returns the ledger."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _begun(self, head: Mapping[str, Any], *, resume: bool) -> list[Entry]:
        """Returns the entries of earlier runs that hold; a line cut short is taken away."""
        if not self._path.exists():
            return []
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            os.truncate(self._path, len(whole))
        lines = [json.loads(line) for line in whole.splitlines()]
        if not lines:
            return []
        if not resume:
            raise ConfigurationInvalid(
                f"{self._path.parent} holds the annotations of {len(lines) - 1} tasks: go on with "
                "--resume, or name another folder (--out)"
            )
        if (found := lines[0]["begun"]["digest"]) != head["digest"]:
            raise ConfigurationInvalid(
                f"{self._path.parent} was begun with other settings, network, columns or version "
                f"(digest {found}, now {head['digest']}; {FILE} names them): take the same, or "
                "another folder (--out)"
            )
        entries = [Entry(**line) for line in lines[1:]]
        return [each for each in entries if not each.cut]

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def run_at(folder: Path) -> str:
    """Returns the run that writes into an output, or did when it was killed; empty: none does.

    Raises
    ------
    FileNotFoundError
        No run ever did, as far as this machine knows.
    """
    _, _, run = (folder / _LOCK).read_text(encoding="utf-8").partition("\n")
    return run.strip()


def _locked(path: Path, run: str) -> TextIO:
    """Returns the opened lock, which the system releases when this process ends.

    Raises
    ------
    ConfigurationInvalid
        Another process has it.
    """
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        who = file.readline().strip() or "unknown"
        file.close()
        raise ConfigurationInvalid(
            f"another annotate writes into {path.parent} ({who}): wait for it, or name another "
            "folder (--out)"
        ) from None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n{run}\n")
    file.flush()
    return file
