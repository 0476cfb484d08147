"""Archives by address, against moto's object store on this machine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archive_desk import annotate, packed, rows
from arrow_factories import fink_like

from streamfilter.archive import stores
from streamfilter.archive.annotator import Judging, annotate_task, attempt
from streamfilter.archive.events import GivenUp
from streamfilter.archive.input_files import InputFile, input_files
from streamfilter.archive.ledger import Entry, Ledger
from streamfilter.archive.tasks import Kind, Task, tasks_of
from streamfilter.errors import ConfigurationInvalid
from streamfilter.library.filter import Filter

pytest.importorskip("s3fs", reason="s3 needs the extra 's3'")

KEYS = {
    "night=1/a.avro": "ztf/2695378462115010012.avro",
    "night=1/b.bin": "lsst/170587117053804617.bin",
    "night=1/.hidden.bin": "lsst/170587117053804617.bin",
}
PACKED = 6


@pytest.fixture(scope="module")
def environment() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patched:
        yield patched


@pytest.fixture(scope="module")
def store(
    environment: pytest.MonkeyPatch, samples: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """The store's files: two packets, a tar archive and Parquet with stamps, in three folders."""
    import fsspec
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        environment.setenv(name, value)
    folder = tmp_path_factory.mktemp("archive")
    ztf = sorted((samples / "ztf").iterdir())
    files = fsspec.filesystem("s3", use_listings_cache=False)
    files.mkdir("archive")
    for key, name in KEYS.items():
        files.pipe_file(f"archive/{key}", (samples / name).read_bytes())
    files.put_file(str(packed(ztf[:PACKED], folder / "x.tar.gz")), "archive/night=2/x.tar.gz")
    fink = fink_like(ztf[:PACKED], folder / "x.parquet", row_group=4)
    files.put_file(str(fink), "archive/night=3/x.parquet")
    yield files
    server.stop()


@pytest.fixture(scope="module")
def quick(engine_home: Path) -> Iterator[Filter]:
    overrides = [f"engine.home={engine_home}"]
    with Filter(engine="stampmask", overrides=overrides) as made:
        yield made


async def unreachable(*_: object, **__: object) -> dict[str, Any]:
    raise ConnectionRefusedError("refused")


def annotated_nothing(task: Task) -> Entry:
    """A ledger's line of a task that is done."""
    return Entry(
        task=task.as_json(), files={}, rows=0, annotated=0, rejected={}, refused=0, cut=False,
        seconds=0.0,
    )  # fmt: skip


def names(*addresses: str) -> list[str]:
    return [each.path for each in input_files(addresses)]


def test_files_in_a_store_are_listed(store: Any, tmp_path: Path) -> None:
    """Of a folder, a pattern, one name, or a list of these; each once, none that is hidden."""
    first = ["s3://archive/night=1/a.avro", "s3://archive/night=1/b.bin"]
    rest = ["s3://archive/night=2/x.tar.gz", "s3://archive/night=3/x.parquet"]
    assert first == names("s3://archive/night=1", "s3://archive/night=1/a.avro")
    assert first + rest == names("s3://archive/night=*/")
    assert first + rest == names("s3://archive")
    assert first[:1] == names("s3://archive/*/*.avro")
    (tmp_path / "nights.list").write_text("s3://archive/night=2\n\ns3://archive/night=1/b.bin\n")
    assert [rest[0], first[1]] == names(str(tmp_path / "nights.list"))
    (found,) = input_files(["s3://archive/night=1/b.bin"])
    assert found.size == store.info("archive/night=1/b.bin")["size"]
    assert found.etag in store.info("archive/night=1/b.bin")["ETag"]
    with pytest.raises(FileNotFoundError, match="matches s3://archive/nothing"):
        names("s3://archive/nothing*")
    with pytest.raises(FileNotFoundError, match="no file or folder s3://archive/nothing"):
        names("s3://archive/nothing")


def test_addresses_of_this_machine_are_paths(samples: Path) -> None:
    """So a file that is given in both ways is read once."""
    path = next((samples / "ztf").iterdir()).resolve()
    assert [str(path)] == names(f"file://{path}", str(path))


def test_an_archive_in_a_store_is_annotated(
    store: Any, quick: Filter, samples: Path, engine_home: Path, tmp_path: Path
) -> None:
    """Packets, a tar archive in gzip and Parquet: what is written of the same files here."""
    out = tmp_path / "out"
    settings = ("--set", "engine.name=stampmask", "--set", f"engine.home={engine_home}")
    done = annotate("s3://archive/night=*/", "--out", out, "--workers", "1", *settings)
    assert done.exit_code == 0, done.output
    assert "audit: all there, once each" in done.output
    found = {(row["source"], row["index"]): row for row in rows(out)}
    assert 2 + 2 * PACKED == len(found)
    here = [samples / name for name in list(KEYS.values())[:2]]
    here += sorted((samples / "ztf").iterdir())[:PACKED]
    expected = {row["alert_id"]: row for row in quick.table(here).to_pylist()}
    for (source, _), row in found.items():
        assert source.startswith("s3://archive/night=")
        same = expected[row["alert_id"]]
        assert same["verdict"] == row["verdict"]
        assert row["cr_core"] == pytest.approx(same["cr_core"], rel=1e-3, abs=1e-6)


def test_a_container_of_many_alerts_is_split(store: Any, samples: Path, tmp_path: Path) -> None:
    """It is copied to this machine, and no more than a piece is in memory."""
    one = (samples / "ztf" / "2695378462115010012.avro").read_bytes()
    store.mkdir("many")
    store.pipe_file("many/empty.avro", b"")
    store.pipe_file("many/one.avro", one)
    store.pipe_file("many/notes.txt", b"not a packet")
    skipped = list[str]()
    found = [
        packet
        for file in input_files(["s3://many"])
        for packet in file.packets(lambda source, reason: skipped.append(source))
    ]
    assert ["s3://many/empty.avro", "s3://many/one.avro"] == [each.source for each in found]
    assert one == found[1].value
    assert ["s3://many/notes.txt"] == skipped


def test_what_a_store_does_not_give_is_not_done(
    store: Any, quick: Filter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that breaks is no cut archive: the task is given up, for ``--resume``."""
    tasks = tasks_of(input_files(["s3://archive/night=2", "s3://archive/night=3"]))
    assert [Kind.PARQUET, Kind.PARQUET, Kind.PACKETS] == [each.kind for each in tasks]

    def broken(self: Any, size: int = -1) -> bytes:
        raise ConnectionResetError("reset by peer")

    monkeypatch.setattr("s3fs.core.S3File.read", broken)
    for task in tasks:
        said = attempt(
            quick, task, tmp_path, judging=Judging(), limit=None, driver_there=lambda: True,
            progress=lambda annotated, rejected: None,
        )  # fmt: skip
        assert isinstance(said, GivenUp)
        assert f"{task.files[0].path}: the store does not give it" in said.why
    assert [] == [file for file in tmp_path.rglob("*part*") if file.is_file()]


def test_an_object_that_is_gone_stands_in_the_rejects(
    store: Any, quick: Filter, tmp_path: Path
) -> None:
    """As a file of this machine that cannot be read."""
    (task,) = tasks_of([InputFile("s3://archive/gone.avro", 10, 0, "x")])
    done = annotate_task(quick, task, tmp_path)
    assert (0, 1) == (done.rows, done.refused)
    (row,) = rows(tmp_path, "rejects")
    assert ("s3://archive/gone.avro", "unreadable") == (row["source"], row["rejected"])


def test_another_content_is_another_input(store: Any, tmp_path: Path) -> None:
    """Of the same size: the store's ETag tells."""
    store.mkdir("changing")
    store.pipe_file("changing/a.bin", b"one")
    (before,) = tasks_of(input_files(["s3://changing"]))
    store.pipe_file("changing/a.bin", b"two")
    (after,) = tasks_of(input_files(["s3://changing"]))
    assert before.name != after.name
    with Ledger(tmp_path, {"digest": "x"}, resume=False, run="now") as ledger:
        ledger.add(annotated_nothing(before))
        assert [] == ledger.left([before])
    with (
        Ledger(tmp_path, {"digest": "x"}, resume=True, run="then") as ledger,
        pytest.raises(ConfigurationInvalid, match=r"s3://changing/a\.bin is not the file"),
    ):
        ledger.left([after])


def test_addresses_that_cannot_be_used_are_told(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown scheme, a secret in the address, an output in a store, a store that is away."""
    with pytest.raises(ConfigurationInvalid, match="expected an address such as s3://"):
        names("nothing://archive/x")
    with pytest.raises(ConfigurationInvalid, match="would stand in the ledger") as told:
        names("ftp://me:hidden@host/x")
    assert "hidden" not in str(told.value)
    out = annotate("s3://archive", "--out", "s3://annotations/2023")
    assert (2, True) == (out.exit_code, "renames nothing at once" in " ".join(out.output.split()))
    monkeypatch.setattr("s3fs.core.S3FileSystem._call_s3", unreachable)
    with pytest.raises(stores.StoreUnavailable, match="s3://archive/x: the store does not give"):
        names("s3://archive/x")
