"""Referenced frames: only those announced, only from where it is allowed."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from streamfilter.errors import MessageRejected, Reason
from streamfilter.exposure_records import FrameReference
from streamfilter.frame_references import fetch

CONTENT = b"SIMPLE  = " * 288
MOST = 10_000


@pytest.fixture
def reference(tmp_path: Path) -> FrameReference:
    """A file in a folder ``night`` that may be read."""
    path = tmp_path / "night" / "a frame.fits"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return FrameReference(path.as_uri(), len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


def refused(reference: FrameReference, *folders: Path, most: int = MOST) -> tuple[Reason, str]:
    with pytest.raises(MessageRejected) as raised:
        fetch(reference, folders, most)
    return raised.value.reason, raised.value.detail


def test_an_announced_file_is_read(reference: FrameReference, tmp_path: Path) -> None:
    """Spaces are escaped in its URI."""
    assert "%20" in reference.uri
    assert CONTENT == fetch(reference, [tmp_path], MOST)


def test_another_size_or_sha256_is_rejected(reference: FrameReference, tmp_path: Path) -> None:
    """A frame that is still being written, or was replaced, is not judged."""
    differs = Reason.REFERENCE_DIFFERS
    for size in (len(CONTENT) - 1, len(CONTENT) + 1):
        assert differs == refused(replace(reference, size=size), tmp_path)[0]
    assert differs == refused(replace(reference, sha256="0" * 64), tmp_path)[0]


@pytest.mark.parametrize(
    "uri", ["https://127.0.0.1/x.fits", "s3://bucket/x", "ftp://h/x", "x.fits"]
)
def test_other_schemes_are_named_and_not_opened(uri: str, tmp_path: Path) -> None:
    """A message cannot make the service call an address."""
    reason, detail = refused(FrameReference(uri, 1, "0" * 64), tmp_path)
    assert Reason.REFERENCE_REFUSED == reason
    assert "is not supported yet; expected file:///path" in detail


@pytest.mark.parametrize(
    "uri", ["file://host/etc/passwd", "file:x", "file:///a/../b", "file:///%00"]
)
def test_paths_of_other_hosts_and_detours_are_refused(uri: str, tmp_path: Path) -> None:
    """Only absolute paths of this host."""
    assert Reason.REFERENCE_REFUSED == refused(FrameReference(uri, 1, "0" * 64), tmp_path)[0]


def test_files_outside_the_folders_are_not_even_looked_for(
    reference: FrameReference, tmp_path: Path
) -> None:
    """There or not, directly or through a link: the answer is the same."""
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "link.fits").symlink_to(tmp_path / "night" / "a frame.fits")
    for uri in (reference.uri, reference.uri + "x", (allowed / "link.fits").as_uri()):
        assert Reason.REFERENCE_REFUSED == refused(replace(reference, uri=uri), allowed)[0]
    assert "name one in exposures.reference_folders" in refused(reference)[1]


def test_what_is_missing_too_large_or_no_file_says_so(
    reference: FrameReference, tmp_path: Path
) -> None:
    """A pipe would be read without end."""
    assert Reason.REFERENCE_TOO_LARGE == refused(reference, tmp_path, most=100)[0]
    missing = replace(reference, uri=reference.uri + "x")
    assert Reason.REFERENCE_MISSING == refused(missing, tmp_path)[0]
    os.mkfifo(tmp_path / "pipe.fits")
    pipe = replace(reference, uri=(tmp_path / "pipe.fits").as_uri())
    assert Reason.REFERENCE_UNREACHABLE == refused(pipe, tmp_path)[0]
