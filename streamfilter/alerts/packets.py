"""Reads alerts from files: containers of one or many, single packets, folders and archives."""

import bz2
import gzip
import io
import json
import lzma
import mmap
import shutil
import tarfile
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

import fastavro
import structlog

from streamfilter.errors import MessageRejected, plain_words
from streamfilter.limits import Limits
from streamfilter.schemas.binary import long
from streamfilter.schemas.codecs import codec_of, decompress
from streamfilter.schemas.foreign_forms import foreign_form
from streamfilter.schemas.wire import (
    CONTAINER_MAGIC,
    SINGLE_OBJECT_MAGIC,
    SYNC_BYTES,
    ContainerHeader,
    malformed,
    read_container_header,
    read_long,
)

# Largest piece in memory: a packet, a block of records, or a member of an archive.
MAX_BYTES = 64 * 2**20
_COPIED_BYTES = 2**20
# Openers by first bytes; only opening shows whether an archive or a single file is inside.
_COMPRESSED: Mapping[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open,
}  # fmt: skip
_TAR_MAGIC, _TAR_MAGIC_AT = b"ustar", 257
# Endings that make a file a packet even where its first bytes are damaged.
_SUFFIXES = tuple(
    suffix + packed for suffix in (".avro", ".bin", ".ocf") for packed in ("", ".gz", ".bz2", ".xz")
)
_FITS_MAGIC = b"SIMPLE  ="
_PARQUET_MAGIC = b"PAR1"
_BROKEN_ARCHIVE = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError)

log = structlog.get_logger()

Skipped = Callable[[str, str], None]
"""Called with each file, member or block that is skipped, and why."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One alert as a message, as the survey would have sent it."""

    source: str
    """Path of the file, or ``archive:member``."""
    index: int
    """Position of the record in its file, from 0; members of an archive that share a name are
    counted as one."""
    value: bytes


def _log_skipped(source: str, reason: str) -> None:
    log.warning("file skipped", file=source, reason=reason)


def read_packets(
    paths: Iterable[Path],
    *,
    max_bytes: int = MAX_BYTES,
    skipped: Skipped = _log_skipped,
    part: int = 0,
    parts: int = 1,
) -> Iterator[Packet]:
    """Yields the packets of files, folders (sorted, with all below) and tar archives, in order.

    Files and archives may be compressed by gzip, bzip2 or xz.

    Containers of many records are split into containers of one; the bytes of the records do not
    change. A damaged container yields its intact records, then its header with the damaged rest as
    one packet, which a filter rejects with its reason.

    Parameters
    ----------
    paths
        Files are recognised by their first bytes; ``.avro`` and ``.bin`` also by name.
    max_bytes
        Larger packets, blocks and archive members are skipped.
    skipped
        Called for each skipped file; writes a log line by default.
    part, parts
        Only the part-th of so many parts, which together are the whole: of archives some members,
        of which others are not read; of other files every n-th packet.

    Raises
    ------
    OSError
        One of the paths cannot be read.
    """
    reader = _Reader(max_bytes, skipped, part, parts)
    for file in files_of(paths):
        yield from reader.file(file)


def packets_in(
    content: bytes,
    source: str,
    *,
    max_bytes: int = MAX_BYTES,
    skipped: Skipped = _log_skipped,
) -> Iterator[Packet]:
    """Yields the packets in the bytes of one file, as ``read_packets`` does of a path.

    Parameters
    ----------
    source
        What names the bytes in ``Packet.source`` and to ``skipped``.
    """
    yield from _Reader(max_bytes, skipped).content(source, content)


def read_opened(
    source: str,
    opened: Callable[[], IO[bytes]],
    *,
    max_bytes: int = MAX_BYTES,
    skipped: Skipped = _log_skipped,
    part: int = 0,
    parts: int = 1,
) -> Iterator[Packet]:
    """Yields the packets of one file that is elsewhere, as ``read_packets`` does of a path.

    Archives are read from beginning to end; other files are copied to a temporary one first, so
    that no more than a piece is in memory.

    Parameters
    ----------
    source
        What names the file in ``Packet.source`` and to ``skipped``.
    opened
        Opens it, at its beginning; its errors are handed on, but of archives' those that tell of
        damage.
    part, parts
        As of ``read_packets``.
    """
    yield from _Reader(max_bytes, skipped, part, parts).opened(source, opened)


def files_of(paths: Iterable[Path]) -> Iterator[Path]:
    """The files in these paths, in order; hidden ones of folders are left out."""
    for path in paths:
        if path.is_dir():
            for file in sorted(each for each in path.rglob("*") if each.is_file()):
                if not any(part.startswith(".") for part in file.relative_to(path).parts):
                    yield file
        else:
            yield path


@dataclass(frozen=True, slots=True)
class _Reader:
    max_bytes: int
    skipped: Skipped
    part: int = 0
    parts: int = 1

    def file(self, path: Path) -> Iterator[Packet]:
        with path.open("rb") as file:
            head = file.read(tarfile.BLOCKSIZE)
            if _may_be_archive(head):
                yield from self._archive(str(path), lambda: path.open("rb"), head)
            else:
                yield from self._of_part(self._mapped(str(path), file, head))

    def opened(self, source: str, opened: Callable[[], IO[bytes]]) -> Iterator[Packet]:
        with opened() as file, tempfile.TemporaryFile() as copy:
            head = file.read(tarfile.BLOCKSIZE)
            if not _may_be_archive(head):
                copy.write(head)
                shutil.copyfileobj(file, copy, _COPIED_BYTES)
                copy.flush()
                yield from self._of_part(self._mapped(source, copy, head))
                return
        yield from self._archive(source, opened, head)

    def _mapped(self, source: str, file: IO[bytes], head: bytes) -> Iterator[Packet]:
        if not head:
            yield from self._packets(source, b"")
            return
        # Slices of the map are bytes: a file of many alerts is not read as a whole.
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            yield from self._packets(source, cast("bytes", mapped))

    def content(self, source: str, data: bytes) -> Iterator[Packet]:
        head = data[: tarfile.BLOCKSIZE]
        if _may_be_archive(head):
            yield from self._archive(source, lambda: io.BytesIO(data), head)
        else:
            yield from self._packets(source, data)

    def _archive(
        self, source: str, opened: Callable[[], IO[bytes]], head: bytes
    ) -> Iterator[Packet]:
        found, before = False, Counter[str]()
        try:
            with opened() as file, tarfile.open(fileobj=file, mode="r|*") as archive:
                for member in archive:
                    found = True
                    archive.members.clear()  # type: ignore[attr-defined]  # it would keep them all
                    # By the name: those that share one are counted together.
                    if zlib.crc32(member.name.encode(errors="replace")) % self.parts != self.part:
                        continue
                    for packet in self._member(source, archive, member):
                        # Members may share a name: what was appended later is a packet, too.
                        yield replace(packet, index=before[packet.source])
                        before[packet.source] += 1
            if not found:
                self.skipped(source, "an archive of no files, or nothing but zeros")
            return
        except _BROKEN_ARCHIVE as error:
            why = plain_words(error)
        if found or not head.startswith(tuple(_COMPRESSED)):
            self.skipped(source, f"an archive that is damaged from here on: {why}")
        else:
            with opened() as file:
                yield from self._of_part(self._compressed(source, file, head))

    def _of_part(self, packets: Iterable[Packet]) -> Iterator[Packet]:
        return (each for n, each in enumerate(packets) if n % self.parts == self.part)

    def _compressed(self, source: str, file: IO[bytes], head: bytes) -> Iterator[Packet]:
        """Yields the packets of one compressed file that is no archive."""
        opener = next(opener for magic, opener in _COMPRESSED.items() if head.startswith(magic))
        try:
            with opener(file) as unpacked:
                data = unpacked.read(self.max_bytes + 1)
        except _BROKEN_ARCHIVE as error:
            self.skipped(
                source, f"damaged: {plain_words(error)}; expected alerts in gzip, bzip2 or xz"
            )
            return
        if len(data) > self.max_bytes:
            self.skipped(source, f"over {self.max_bytes} bytes when it is unpacked")
        else:
            yield from self._packets(source, data)

    def _member(
        self, source: str, archive: tarfile.TarFile, member: tarfile.TarInfo
    ) -> Iterator[Packet]:
        name = f"{source}:{member.name}"
        if not member.isfile() or Path(member.name).name.startswith("."):
            return
        if member.size > self.max_bytes:
            self.skipped(name, self._too_large(member.size))
            return
        file = archive.extractfile(member)
        data = file.read() if file is not None else b""
        if data.startswith(tuple(_COMPRESSED)):
            yield from self._compressed(name, io.BytesIO(data), data)
        else:
            yield from self._packets(name, data)

    def _packets(self, source: str, data: bytes) -> Iterator[Packet]:
        if data[: len(CONTAINER_MAGIC)] == CONTAINER_MAGIC:
            yield from self._container(source, data)
        elif data[:1] == b"\0" or data[:2] == SINGLE_OBJECT_MAGIC or source.endswith(_SUFFIXES):
            yield from self._whole(source, 0, data[: self.max_bytes + 1], len(data))
        elif data[: len(_FITS_MAGIC)] == _FITS_MAGIC:
            self.skipped(source, "a FITS image, not an alert: see `streamfilter mask` and `track`")
        elif data[: len(_PARQUET_MAGIC)] == _PARQUET_MAGIC:
            self.skipped(source, "Parquet: see `streamfilter annotate` and `Filter.judge_batches`")
        else:
            first = data[:4].hex(" ") or "(none)"
            seems = foreign_form(data[: tarfile.BLOCKSIZE])
            self.skipped(source, f"not an alert: first bytes {first}{seems}")

    def _container(self, source: str, data: bytes) -> Iterator[Packet]:
        index = start = 0
        head = b""
        try:
            header = read_container_header(data, Limits())
            head, start = data[: header.end], header.end
            while start < len(data):
                count, body, end = _block(data, header, start)
                if end - start > self.max_bytes:
                    self.skipped(source, f"block at byte {start}: {self._too_large(end - start)}")
                else:
                    block = data[start:body], data[body : end - SYNC_BYTES]
                    for value in self._split(source, header, head, count, *block):
                        yield Packet(source, index, value)
                        index += 1
                start = end
        except MessageRejected:
            rest = head + data[start : start + self.max_bytes + 1]
            yield from self._whole(source, index, rest, len(head) + len(data) - start)
        else:
            if index == 0 and len(data) <= self.max_bytes:
                yield Packet(source, 0, data[:])

    def _split(
        self,
        source: str,
        header: ContainerHeader,
        head: bytes,
        count: int,
        counted: bytes,
        block: bytes,
    ) -> list[bytes]:
        """Returns a container per record of a block; a single one where splitting fails."""
        whole = [head + counted + block + header.sync]
        if count == 1:
            return whole
        try:
            body = decompress(block, header.codec, Limits(max_message_bytes=self.max_bytes))
            records = _records(body, count, json.loads(header.metadata["avro.schema"]))
        except Exception as error:  # fastavro raises nearly anything on damaged records
            # The filter will reject the block for holding several records, not for the damage.
            words = error.detail if isinstance(error, MessageRejected) else plain_words(error)
            reason = words[:200]
            log.warning("block of records not split", file=source, records=count, reason=reason)
            return whole
        compress = codec_of(header.codec).compress
        blocks = [compress(record) for record in records]
        return [head + long(1) + long(len(each)) + each + header.sync for each in blocks]

    def _whole(self, source: str, index: int, value: bytes, size: int) -> Iterator[Packet]:
        if size > self.max_bytes:
            self.skipped(source, self._too_large(size))
        else:
            yield Packet(source, index, value)

    def _too_large(self, size: int) -> str:
        return f"{size} bytes, over the limit of {self.max_bytes}"


def _may_be_archive(head: bytes) -> bool:
    """Whether a file that begins so is a tar archive, or compressed: one file or an archive."""
    tar = head[_TAR_MAGIC_AT:].startswith(_TAR_MAGIC)
    return tar or head.startswith(tuple(_COMPRESSED))


def _block(data: bytes, header: ContainerHeader, start: int) -> tuple[int, int, int]:
    """Returns a block's number of records, their first byte, and the first byte after it."""
    count, position = read_long(data, start)
    size, body = read_long(data, position)
    end = body + size
    if count < 0 or size < 0 or data[end : end + SYNC_BYTES] != header.sync:
        raise malformed("a damaged block", start)
    return count, body, end + SYNC_BYTES


def _records(body: bytes, count: int, definition: object) -> list[bytes]:
    """Returns the encoded records of a block, one by one."""
    schema = fastavro.parse_schema(cast("dict[str, object]", definition))
    stream, found = io.BytesIO(body), list[bytes]()
    for _ in range(count):
        start = stream.tell()
        fastavro.schemaless_reader(stream, schema, None)
        found.append(body[start : stream.tell()])
    if stream.tell() != len(body):
        raise ValueError(f"{len(body) - stream.tell()} bytes after the last record")
    return found
