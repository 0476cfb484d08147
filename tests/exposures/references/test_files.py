"""Referenced frames: only those announced, only from where it is allowed."""

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from reference_factories import CONTENT, MOST, reading, refer, refused

from streamfilter.errors import CallFailed, MessageRejected, Reason
from streamfilter.exposures.records import FrameReference
from streamfilter.exposures.references.files import Files


@pytest.fixture
def reference(tmp_path: Path) -> FrameReference:
    """A file in a folder ``night`` that may be read."""
    path = tmp_path / "night" / "a frame.fits"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return refer(path.as_uri())


def fetch(reference: FrameReference, *folders: Path) -> bytes:
    return reading("file", Files(folders)).fetch(reference)


def why_not(reference: FrameReference, *folders: Path) -> tuple[Reason, str]:
    return refused(reading("file", Files(folders)), reference)


def test_an_announced_file_is_read(reference: FrameReference, tmp_path: Path) -> None:
    """Spaces are escaped in its URI."""
    assert "%20" in reference.uri
    assert CONTENT == fetch(reference, tmp_path)


def test_another_size_or_sha256_is_rejected(reference: FrameReference, tmp_path: Path) -> None:
    """A frame that is still being written, or was replaced, is not judged."""
    differs = Reason.REFERENCE_DIFFERS
    for size in (len(CONTENT) - 1, len(CONTENT) + 1):
        assert differs == why_not(replace(reference, size=size), tmp_path)[0]
    assert differs == why_not(replace(reference, sha256="0" * 64), tmp_path)[0]


@pytest.mark.parametrize(
    "uri", ["https://127.0.0.1/x.fits", "s3://bucket/x", "ftp://h/x", "x.fits"]
)
def test_other_schemes_are_named_and_not_opened(uri: str, tmp_path: Path) -> None:
    """A message cannot make the service call an address."""
    reason, detail = why_not(FrameReference(uri, 1, "0" * 64), tmp_path)
    assert Reason.REFERENCE_REFUSED == reason
    assert "allowed here: file" in detail


@pytest.mark.parametrize(
    "uri", ["file://host/etc/passwd", "file:x", "file:///a/../b", "file:///%00"]
)
def test_paths_of_other_hosts_and_detours_are_why_not(uri: str, tmp_path: Path) -> None:
    """Only absolute paths of this host."""
    assert Reason.REFERENCE_REFUSED == why_not(FrameReference(uri, 1, "0" * 64), tmp_path)[0]


def test_files_outside_the_folders_are_not_even_looked_for(
    reference: FrameReference, tmp_path: Path
) -> None:
    """There or not, directly or through a link: the answer is the same."""
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "link.fits").symlink_to(tmp_path / "night" / "a frame.fits")
    for uri in (reference.uri, reference.uri + "x", (allowed / "link.fits").as_uri()):
        assert Reason.REFERENCE_REFUSED == why_not(replace(reference, uri=uri), allowed)[0]
    assert "name one in exposures.reference_folders" in why_not(reference)[1]


def test_what_is_missing_too_large_or_no_file_says_so(
    reference: FrameReference, tmp_path: Path
) -> None:
    """A pipe would be read without end."""
    assert Reason.REFERENCE_TOO_LARGE == why_not(replace(reference, size=MOST + 1), tmp_path)[0]
    missing = replace(reference, uri=reference.uri + "x")
    assert Reason.REFERENCE_MISSING == why_not(missing, tmp_path)[0]
    os.mkfifo(tmp_path / "pipe.fits")
    pipe = replace(reference, uri=(tmp_path / "pipe.fits").as_uri())
    assert Reason.REFERENCE_UNREACHABLE == why_not(pipe, tmp_path)[0]


SECRET = b"not for the stream"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that may not be read, with a file that has the name of the frame."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "a frame.fits").write_bytes(SECRET)
    return folder


def read(reference: FrameReference, folder: Path) -> bytes:
    """What comes of a file; nothing where it is refused."""
    try:
        return Files([folder]).read(reference.uri, 100)
    except (MessageRejected, CallFailed):
        return b""


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_file_that_is_swapped_between_look_and_open_is_not_read(
    reference: FrameReference, outside: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link takes its place, or that of a folder above it, right after it was looked at."""
    night = outside.with_name("night")
    inner = night / "inner"
    inner.mkdir()
    (night / "a frame.fits").rename(inner / "a frame.fits")
    reference = replace(reference, uri=(inner / "a frame.fits").as_uri())
    swapped, target = {
        "file": (inner / "a frame.fits", outside / "a frame.fits"),
        "folder": (inner, outside),
    }[what]
    real = Path.resolve

    def resolve(path: Path, strict: bool = False) -> Path:
        found = real(path, strict)
        if path.name == "a frame.fits" and not swapped.is_symlink():
            swapped.rename(outside / "gone")
            swapped.symlink_to(target)
        return found

    monkeypatch.setattr(Path, "resolve", resolve)
    assert b"" == read(reference, night)
    assert swapped.is_symlink()


def test_a_file_that_is_swapped_all_the_time_is_never_the_wrong_one(
    reference: FrameReference, outside: Path
) -> None:
    """Whatever the moment, what was opened is what was looked at."""
    night, spare = outside.with_name("night"), outside.with_name("spare")
    spare.mkdir()
    frame = night / "a frame.fits"
    ended = threading.Event()

    def swap() -> None:
        while not ended.is_set():
            (spare / "link").symlink_to(outside / "a frame.fits")
            (spare / "link").replace(frame)
            (spare / "file").write_bytes(CONTENT)
            (spare / "file").replace(frame)

    swapping = threading.Thread(target=swap)
    swapping.start()
    found, end_s = set(), time.monotonic() + 2.0
    try:
        while time.monotonic() < end_s:
            found.add(read(reference, night))
    finally:
        ended.set()
        swapping.join()
    assert {b"", CONTENT[:100]} >= found


def test_a_link_within_the_folders_is_followed(reference: FrameReference, tmp_path: Path) -> None:
    """Archives have links to the night that is the last."""
    (tmp_path / "last").symlink_to(tmp_path / "night")
    (tmp_path / "night" / "link.fits").symlink_to("a frame.fits")
    linked = replace(reference, uri=(tmp_path / "last" / "link.fits").as_uri())
    assert CONTENT == fetch(linked, tmp_path)
    (tmp_path / "link-to-all").symlink_to(tmp_path)
    linked = replace(reference, uri=(tmp_path / "link-to-all/night/a frame.fits").as_uri())
    assert CONTENT == fetch(linked, tmp_path / "link-to-all")
