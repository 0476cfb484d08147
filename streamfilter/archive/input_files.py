"""The files of an archive, on this machine or in a store: which there are, and what is in them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from streamfilter.alerts.packets import Packet, files_of, read_opened, read_packets
from streamfilter.archive import stores
from streamfilter.library.inputs import paths_of

LIST_SUFFIX = ".list"
"""Ending of a file that names a path in each line."""
_PARQUET_MAGIC = b"PAR1"
_PARQUET_SUFFIXES = (".parquet", ".parq", ".pq")
_READ_BYTES = 2**20
"""Without it pyarrow reads a row group's stamps at once: over a GB of 100,000 alerts."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file as it was when the tasks were made."""

    path: str
    """Or the address."""
    size: int
    """In bytes; -1 where it could not be looked at."""
    modified_ns: int
    etag: str = ""
    """What a store says of the content."""

    @property
    def is_stored(self) -> bool:
        """Whether it is in a store, where each reading costs."""
        return stores.is_address(self.path)

    @property
    def is_parquet(self) -> bool:
        """Whether it is one: by its first bytes, in a store by its name."""
        if self.is_stored:
            return self.path.endswith(_PARQUET_SUFFIXES)
        try:
            with Path(self.path).open("rb") as opened:
                return opened.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC
        except OSError:  # its task says why it cannot be read
            return False

    def packets(
        self, skipped: Callable[[str, str], None], part: int = 0, parts: int = 1
    ) -> Iterator[Packet]:
        """Yields its packets, or those of a part, as ``read_packets`` does.

        Raises
        ------
        OSError
            It cannot be read.
        StoreUnavailable
            Its store does not answer now.
        """
        if not self.is_stored:
            return read_packets([Path(self.path)], skipped=skipped, part=part, parts=parts)
        return read_opened(
            self.path,
            lambda: stores.opened(self.path, in_order=True),
            skipped=skipped,
            part=part,
            parts=parts,
        )

    def parquet(self) -> pq.ParquetFile:
        """Returns it as Parquet, to be closed; raises as ``packets``, and ArrowException."""
        if not self.is_stored:
            return pq.ParquetFile(self.path, buffer_size=_READ_BYTES)
        file = stores.opened(self.path, in_order=False)
        return pq.ParquetFile(file, buffer_size=_READ_BYTES)


def input_files(paths: Iterable[str]) -> list[InputFile]:
    """Returns the files in paths, addresses, folders, patterns and lists, each once, in order.

    Raises
    ------
    FileNotFoundError
        A path, or a pattern's files, are not there.
    ConfigurationInvalid, StoreUnavailable
        An address cannot be used, or its store does not answer.
    """
    found: dict[str, InputFile] = {}
    for path in _listed(paths):
        for file in _files(path):
            found.setdefault(file.path, file)
    return list(found.values())


def _listed(paths: Iterable[str]) -> Iterator[str]:
    for path in map(stores.without_scheme, paths):
        if path.endswith(LIST_SUFFIX):
            lines = _text(path).splitlines()
            yield from (stores.without_scheme(each.strip()) for each in lines if each.strip())
        else:
            yield path


def _text(path: str) -> str:
    if not stores.is_address(path):
        return Path(path).read_text(encoding="utf-8")
    with stores.opened(path, in_order=True) as file:
        return file.read().decode()


def _files(path: str) -> Iterator[InputFile]:
    if stores.is_address(path):
        yield from (InputFile(*each) for each in stores.files_at(path))
    else:
        yield from (_looked_at(str(file.resolve())) for file in files_of(paths_of(path)))


def _looked_at(name: str) -> InputFile:
    try:
        found = Path(name).stat()
    except OSError:  # its task says why it cannot be read
        return InputFile(name, -1, 0)
    return InputFile(name, found.st_size, found.st_mtime_ns)
