"""Alerts in files come out one by one, with the bytes that they had."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import fastavro
import pytest
import structlog

from streamfilter.alerts.packets import Packet, read_opened, read_packets

SCHEMA = fastavro.parse_schema(
    {
        "type": "record", "name": "alert",
        "fields": [{"name": "id", "type": "long"}, {"name": "stamp", "type": "bytes"}],
    }
)  # fmt: skip
ALERTS = [{"id": number, "stamp": bytes([number]) * 300} for number in range(10)]


def container(codec: str = "null", *, alerts: int = 10, in_a_block: int = 1) -> bytes:
    """An object container file; a block ends when it has enough bytes."""
    file = io.BytesIO()
    fastavro.writer(file, SCHEMA, ALERTS[:alerts], codec, sync_interval=300 * in_a_block)
    return file.getvalue()


def alerts_in(packets: list[Packet]) -> list[object]:
    """The records of packets that hold exactly one each."""
    return [record for each in packets for record in [*fastavro.reader(io.BytesIO(each.value))]]


class Left(list[tuple[str, str]]):
    """Collects what was skipped: file name and reason."""

    def __call__(self, source: str, reason: str) -> None:
        self.append((source.rpartition("/")[2], reason))


def read_one(path: Path, data: bytes, *, max_bytes: int = 10**6) -> tuple[list[Packet], Left]:
    path.write_bytes(data)
    left = Left()
    return list(read_packets([path], max_bytes=max_bytes, skipped=left)), left


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz", "snappy"])
@pytest.mark.parametrize("in_a_block", [1, 4, 100])
def test_a_container_of_many_is_split_into_containers_of_one(
    tmp_path: Path, codec: str, in_a_block: int
) -> None:
    """Every record comes once, in its order, in the codec and with the header of its file."""
    data = container(codec, in_a_block=in_a_block)
    found, left = read_one(tmp_path / "many.avro", data)
    assert ([(str(tmp_path / "many.avro"), n) for n in range(10)], []) == (
        [(each.source, each.index) for each in found], left,
    )  # fmt: skip
    assert ALERTS == alerts_in(found)
    assert {codec} == {fastavro.reader(io.BytesIO(each.value)).codec for each in found}


def test_the_bytes_of_a_record_are_not_touched(tmp_path: Path) -> None:
    """Each packet ends with its record as it stood in the file, and the sync marker."""
    data = container(in_a_block=100)
    found, _ = read_one(tmp_path / "many.avro", data)
    records = b"".join(each.value[-16 - 303 : -16] for each in found)
    assert records == data[-16 - len(records) : -16]


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_a_container_of_one_is_not_changed(tmp_path: Path, codec: str) -> None:
    """The packet is the file."""
    data = container(codec, alerts=1)
    assert [data] == [each.value for each in read_one(tmp_path / "one.avro", data)[0]]


@pytest.mark.parametrize("lost", [1, 17, 40])
def test_a_damaged_container_of_one_comes_as_it_is(tmp_path: Path, lost: int) -> None:
    """A truncated file is for the filter to reject, so it is not left out."""
    data = container(alerts=1)[:-lost]
    assert [data] == [each.value for each in read_one(tmp_path / "cut.avro", data)[0]]


@pytest.mark.parametrize("size", [4, 20, 100])
def test_a_damaged_header_comes_as_it_is(tmp_path: Path, size: int) -> None:
    """A file that ends inside its schema is one packet."""
    data = container()[:size]
    assert [data] == [each.value for each in read_one(tmp_path / "cut", data)[0]]


def test_of_a_container_that_is_cut_the_intact_records_come_and_then_the_rest(
    tmp_path: Path,
) -> None:
    """The rest follows the header, as the filter would have found it."""
    data = container()
    found, _ = read_one(tmp_path / "cut.avro", data[:-400])
    assert ALERTS[:8] == alerts_in(found[:8])
    head = container(alerts=0)[:-16]
    assert (9, head) == (len(found), found[8].value[: len(head)])


def test_a_block_with_a_damaged_record_comes_as_it_is_and_the_next_follow(tmp_path: Path) -> None:
    """What cannot be split is left to the filter; why it cannot is logged."""
    data = bytearray(container(in_a_block=5))
    data[data.index(bytes([2]) * 300) - 2] = 0xFF  # the length of the third stamp
    with structlog.testing.capture_logs() as log:
        found, _ = read_one(tmp_path / "bad.avro", bytes(data))
    assert [("block of records not split", 5)] == [(e["event"], e["records"]) for e in log]
    assert bytes([4]) * 300 in found[0].value
    assert ALERTS[5:] == alerts_in(found[1:])


@pytest.mark.parametrize("value", [b"\x00\x00\x00\x03\xe8rest", b"\xc3\x01" + b"x" * 20])
def test_a_single_packet_is_known_by_its_first_bytes(tmp_path: Path, value: bytes) -> None:
    """The Confluent form and single-object encoding need no name."""
    assert [Packet(str(tmp_path / "p"), 0, value)] == read_one(tmp_path / "p", value)[0]


@pytest.mark.parametrize("value", [b"", b"damaged"])
def test_a_damaged_packet_is_known_by_its_name(tmp_path: Path, value: bytes) -> None:
    """The filter rejects it with its reason."""
    assert [value] == [each.value for each in read_one(tmp_path / "p.avro", value)[0]]


@pytest.mark.parametrize(
    "value", [b"", b"{}", gzip.compress(b"SIMPLE  = T" * 100, mtime=0), b"BZh9"]
)
def test_other_files_are_skipped_with_a_reason(tmp_path: Path, value: bytes) -> None:
    """Tables, frames and notes beside the alerts are no alerts."""
    found, left = read_one(tmp_path / "other", value)
    assert ([], ["other"]) == (found, [name for name, _ in left])


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_file_need_not_be_an_archive(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    """ELAsTiCC's alerts are single files in gzip."""
    found, left = read_one(tmp_path / "many.avro.gz", pack(container()))
    assert (ALERTS, []) == (alerts_in(found), left)
    found, left = read_one(tmp_path / "one.bin.xz", pack(b"\0\0\0\3\xe8rest"))
    assert ([b"\0\0\0\3\xe8rest"], []) == ([each.value for each in found], left)
    found, left = read_one(tmp_path / "damaged.avro.bz2", pack(b"damaged"))
    assert ([b"damaged"], []) == ([each.value for each in found], left)


def test_a_compressed_file_is_bounded_when_it_is_unpacked(tmp_path: Path) -> None:
    """The size on the disk does not matter."""
    _, left = read_one(
        tmp_path / "x.avro.gz", gzip.compress(b"Obj\1" + bytes(10**6)), max_bytes=9999
    )
    assert [("x.avro.gz", "over 9999 bytes when it is unpacked")] == left


@pytest.mark.parametrize(
    "value", [b"SIMPLE  = T" * 100, gzip.compress(b"SIMPLE  = T" * 100, mtime=0)]
)
def test_an_image_is_called_one(tmp_path: Path, value: bytes) -> None:
    """Who gives one is told which command takes it."""
    found, left = read_one(tmp_path / "cut.fits.gz", value)
    assert ([], True) == (found, "streamfilter mask" in left[0][1])


def test_a_damaged_compressed_file_is_skipped_with_the_damage(tmp_path: Path) -> None:
    """Nobody can know what it contains."""
    found, left = read_one(tmp_path / "x.avro.gz", gzip.compress(container())[:-20])
    assert ([], True) == (found, left[0][1].startswith("damaged: "))


def test_what_is_too_large_is_skipped_and_the_next_follow(tmp_path: Path) -> None:
    """A block over the limit is named with its size; the file is not read as a whole."""
    file = io.BytesIO()
    alerts = [ALERTS[0], {"id": 1, "stamp": b"x" * 5000}, ALERTS[2]]
    fastavro.writer(file, SCHEMA, alerts, sync_interval=1)
    found, left = read_one(tmp_path / "big.avro", file.getvalue(), max_bytes=2000)
    assert [ALERTS[0], ALERTS[2]] == alerts_in(found)
    assert 1 == len(left)
    assert "over the limit of 2000" in left[0][1]
    found, left = read_one(tmp_path / "big.bin", b"\0" * 5000, max_bytes=2000)
    assert ([], [("big.bin", "5000 bytes, over the limit of 2000")]) == (found, left)


def test_folders_are_read_with_all_below_in_the_order_of_names(tmp_path: Path) -> None:
    """Hidden files are passed over."""
    for name in ("b/2.bin", "a.bin", "b/1.bin", ".hidden.bin", ".git/x.bin", "c.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\0\0\0\0\1" + name.encode())
    left = Left()
    names = [
        each.source.removeprefix(f"{tmp_path}/") for each in read_packets([tmp_path], skipped=left)
    ]
    assert ["a.bin", "b/1.bin", "b/2.bin", "c.txt"] == names


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_the_members_of_an_archive_come_in_its_order(tmp_path: Path, mode: str) -> None:
    """A night of ZTF is an archive of containers; anything else in it is skipped."""
    path = tmp_path / "night"
    members = {"n/2.avro": container(alerts=1), "n/1.avro": container(), "n/t.csv": b"a,b"}
    members["n/3.avro.gz"] = gzip.compress(container(alerts=1))
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    left = Left()
    found = list(read_packets([path], skipped=left))
    names = ["n/2.avro", *["n/1.avro"] * 10, "n/3.avro.gz"]
    assert [f"{path}:{name}" for name in names] == [each.source for each in found]
    assert [ALERTS[0], *ALERTS, ALERTS[0]] == alerts_in(found)
    assert 1 == len(left)


def test_members_that_share_a_name_are_told_apart(tmp_path: Path) -> None:
    """An archive that was appended to may hold a name twice: all its packets come, as if of one."""
    members = [("a.avro", container(alerts=2)), ("b.avro", container(alerts=1))]
    path = tmp_path / "night.tar"
    with tarfile.open(path, "w") as archive:
        for name, data in [*members, members[0]]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    places = [(each.source.rpartition(":")[2], each.index) for each in read_packets([path])]
    expected = [("a.avro", 0), ("a.avro", 1), ("b.avro", 0), ("a.avro", 2), ("a.avro", 3)]
    assert expected == places


def test_parquet_is_called_so(tmp_path: Path) -> None:
    """With who reads it."""
    _, left = read_one(tmp_path / "fink.parquet", b"PAR1 and more")
    ((_, reason),) = left
    assert reason.startswith("Parquet: see `streamfilter annotate`")


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_parts_of_a_file_are_the_whole(tmp_path: Path, mode: str) -> None:
    """Each packet is in one of them, with its own number, also where a name stands twice."""
    archive, many, single = tmp_path / "night", tmp_path / "many.avro", tmp_path / "a.avro.gz"
    names = [f"{number}.avro" for number in range(12)]
    with tarfile.open(archive, mode) as tar:  # type: ignore[call-overload]
        for name in [*names, *names[:6], "notes.txt"]:
            data = b"notes" if name == "notes.txt" else container(alerts=2)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    many.write_bytes(container())
    single.write_bytes(gzip.compress(container()))
    for path, count in ((archive, 36), (many, 10), (single, 10)):
        left, found = Left(), list[list[Packet]]()
        for part in range(3):
            found.append(list(read_packets([path], skipped=left, part=part, parts=3)))
        places = [(each.source, each.index) for some in found for each in some]
        expected = {(each.source, each.index) for each in read_packets([path], skipped=Left())}
        assert (count, expected) == (len(places), set(places))
        assert all(found)
        assert (1 if path == archive else 0) == len(left)


def test_the_members_of_an_archive_are_not_kept(tmp_path: Path) -> None:
    """A night has half a million: what tarfile knows of each is half a kilobyte."""
    path, count = tmp_path / "night.tar", 2_000
    with tarfile.open(path, "w") as archive:
        for number in range(count):
            archive.addfile(tarfile.TarInfo(f"{number}.avro"), io.BytesIO())
    tracemalloc.start()
    try:
        assert count == sum(1 for _ in read_packets([path]))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 300 * count


def test_a_cut_archive_gives_what_is_whole_and_says_so(tmp_path: Path) -> None:
    """Members before the damage are kept."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as archive:
        for number in range(20):
            data = b"\0\0\0\0\1" + os.urandom(3000)
            member = tarfile.TarInfo(f"{number}.bin")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    found, left = read_one(tmp_path / "cut.tar.gz", whole.getvalue()[:-20000])
    assert 10 < len(found) < 20
    assert ["cut.tar.gz"] == [name for name, _ in left]


def test_a_file_of_nothing_is_named(tmp_path: Path) -> None:
    """Zeros look like an archive of no files."""
    found, left = read_one(tmp_path / "zeros.avro.gz", gzip.compress(bytes(2000)))
    assert ([], ["zeros.avro.gz"]) == (found, [name for name, _ in left])


def test_every_sample_packet_is_one_packet_with_its_own_bytes(samples: Path) -> None:
    """Real packets of all surveys, also the damaged ones, pass unchanged."""
    for folder in ("ztf", "lsst", "winter", "decam", "pgir", "broken"):
        left = Left()
        found = list(read_packets([samples / folder], skipped=left))
        files = sorted(p for p in (samples / folder).iterdir() if p.suffix in {".avro", ".bin"})
        assert files
        assert [str(path) for path in files] == [each.source for each in found]
        assert [path.read_bytes() for path in files] == [each.value for each in found]
        assert {name for name, _ in left} <= {"manifest.json"}


@pytest.mark.parametrize("packed", ["", "gz", "tar"])
def test_a_file_that_is_elsewhere_gives_the_same_packets(tmp_path: Path, packed: str) -> None:
    """It is opened by a function, and may be a container, a compressed file or an archive."""
    data, path = container(in_a_block=4), tmp_path / "many.avro"
    if packed == "tar":
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as archive:
            member = tarfile.TarInfo("many.avro")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        data = file.getvalue()
    elif packed:
        data = gzip.compress(data)
    expected, _ = read_one(path, data)
    assert 10 == len(expected)
    assert expected == list(read_opened(str(path), lambda: io.BytesIO(data)))
