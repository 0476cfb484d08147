"""Alerts in files: containers of one or many, single packets, folders and archives of these."""

import bz2
import gzip
import io
import json
import lzma
import mmap
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import fastavro
import structlog

from streamfilter.errors import MessageRejected, told
from streamfilter.limits import Limits
from streamfilter.schemas.binary import long
from streamfilter.schemas.codecs import codec_of, decompress
from streamfilter.schemas.wire import (
    CONTAINER_MAGIC,
    SINGLE_OBJECT_MAGIC,
    SYNC_BYTES,
    ContainerHeader,
    malformed,
    read_container_header,
    read_long,
)

# What is held in memory at once: a packet, a block of records, a member of an archive.
MAX_BYTES = 64 * 2**20
# By their first bytes; what is in them, an archive or one file, shows when it is opened.
_COMPRESSED: Mapping[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open,
}  # fmt: skip
_TAR_MAGIC, _TAR_MAGIC_AT = b"ustar", 257
# Packets whose first bytes are damaged are known by these alone.
_SUFFIXES = tuple(
    suffix + packed for suffix in (".avro", ".bin", ".ocf") for packed in ("", ".gz", ".bz2", ".xz")
)
_FITS_MAGIC = b"SIMPLE  ="
_BROKEN_ARCHIVE = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError)

log = structlog.get_logger()

Skipped = Callable[[str, str], None]
"""Told of each file, member or block that is left out, and why."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One message as a survey would have sent it."""

    source: str
    """The file's path; ``archive:member`` in an archive."""
    index: int
    """Of the record in its file, from 0."""
    value: bytes


def _log_skipped(source: str, reason: str) -> None:
    log.warning("file skipped", file=source, reason=reason)


def read_packets(
    paths: Iterable[Path], *, max_bytes: int = MAX_BYTES, skipped: Skipped = _log_skipped
) -> Iterator[Packet]:
    """Every packet in files, folders (sorted, with all below) and tar archives, in this order.

    Files and archives may be compressed by gzip, bzip2 or xz.

    Containers of many records are split into containers of one; the bytes of the records stay
    as they are. Of a damaged container the intact records come first, then the header with the
    damaged rest as one packet, which a filter rejects with its reason.

    Parameters
    ----------
    paths
        Files are known by their first bytes; ``.avro`` and ``.bin`` by name if those are damaged.
    max_bytes
        Larger packets, blocks and archive members are skipped.
    skipped
        By default a log line.

    Raises
    ------
    OSError
        A path that was named cannot be read.
    """
    reader = _Reader(max_bytes, skipped)
    for path in paths:
        if path.is_dir():
            for file in sorted(each for each in path.rglob("*") if each.is_file()):
                if not any(part.startswith(".") for part in file.relative_to(path).parts):
                    yield from reader.file(file)
        else:
            yield from reader.file(path)


@dataclass(frozen=True, slots=True)
class _Reader:
    max_bytes: int
    skipped: Skipped

    def file(self, path: Path) -> Iterator[Packet]:
        with path.open("rb") as file:
            head = file.read(tarfile.BLOCKSIZE)
            tar = head[_TAR_MAGIC_AT:].startswith(_TAR_MAGIC)
            if tar or head.startswith(tuple(_COMPRESSED)):
                yield from self._archive(path, head)
            elif not head:
                yield from self._packets(str(path), b"")
            else:
                # Slices of the map are bytes: a file of many alerts is not read as a whole.
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                    yield from self._packets(str(path), cast("bytes", mapped))

    def _archive(self, path: Path, head: bytes) -> Iterator[Packet]:
        found = False
        try:
            with tarfile.open(path, "r|*") as archive:
                for member in archive:
                    found = True
                    yield from self._member(path, archive, member)
            if not found:
                self.skipped(str(path), "an archive of no files, or nothing but zeros")
            return
        except _BROKEN_ARCHIVE as error:
            why = told(error)
        if found or not head.startswith(tuple(_COMPRESSED)):
            self.skipped(str(path), f"an archive that is damaged from here on: {why}")
        else:
            with path.open("rb") as file:
                yield from self._compressed(str(path), file, head)

    def _compressed(self, source: str, file: IO[bytes], head: bytes) -> Iterator[Packet]:
        """Of one file that is no archive."""
        opener = next(opener for magic, opener in _COMPRESSED.items() if head.startswith(magic))
        try:
            with opener(file) as unpacked:
                data = unpacked.read(self.max_bytes + 1)
        except _BROKEN_ARCHIVE as error:
            self.skipped(source, f"damaged: {told(error)}; expected alerts in gzip, bzip2 or xz")
            return
        if len(data) > self.max_bytes:
            self.skipped(source, f"over {self.max_bytes} bytes when it is unpacked")
        else:
            yield from self._packets(source, data)

    def _member(
        self, path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo
    ) -> Iterator[Packet]:
        name = f"{path}:{member.name}"
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
        else:
            self.skipped(source, f"not an alert: first bytes {data[:4].hex(' ') or '(none)'}")

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
        """A container for each record of a block; the block as it is where that cannot be."""
        whole = [head + counted + block + header.sync]
        if count == 1:
            return whole
        try:
            body = decompress(block, header.codec, Limits(max_message_bytes=self.max_bytes))
            records = _records(body, count, json.loads(header.metadata["avro.schema"]))
        except Exception as error:  # fastavro raises nearly anything on damaged records
            # The filter will say of it that it is no single record, which is not what is wrong.
            log.warning(
                "block of records not split", file=source, records=count,
                reason=error.detail if isinstance(error, MessageRejected) else told(error)[:200],
            )  # fmt: skip
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


def _block(data: bytes, header: ContainerHeader, start: int) -> tuple[int, int, int]:
    """Of a block: the number of records, where they begin, and where the next block begins."""
    count, position = read_long(data, start)
    size, body = read_long(data, position)
    end = body + size
    if count < 0 or size < 0 or data[end : end + SYNC_BYTES] != header.sync:
        raise malformed("a damaged block", start)
    return count, body, end + SYNC_BYTES


def _records(body: bytes, count: int, definition: object) -> list[bytes]:
    """The encoded records that stand one after another in a block."""
    schema = fastavro.parse_schema(cast("dict[str, object]", definition))
    stream, found = io.BytesIO(body), list[bytes]()
    for _ in range(count):
        start = stream.tell()
        fastavro.schemaless_reader(stream, schema, None)
        found.append(body[start : stream.tell()])
    if stream.tell() != len(body):
        raise ValueError(f"{len(body) - stream.tell()} bytes after the last record")
    return found
