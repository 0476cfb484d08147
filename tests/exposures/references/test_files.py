"""Referenced frames: only those announced, only from where it is allowed."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from reference_factories import CONTENT, MOST, reading, refer, refused

from streamfilter.errors import Reason
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
