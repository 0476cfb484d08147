"""References to object stores, against moto's server on this machine."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from reference_factories import CONTENT, reading, refer, refused

from streamfilter.errors import CallFailed, ConfigurationInvalid, Reason
from streamfilter.exposures.references import References
from streamfilter.exposures.references.s3 import S3

pytest.importorskip("s3fs", reason="s3 needs the extra 's3'")
SETTINGS = {"key": "test", "secret": "test", "client_kwargs": {"region_name": "eu-west-1"}}


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """URL of a store with ``survey/night/x.fits`` and ``other/x.fits``."""
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    files = S3FileSystem(endpoint_url=url, skip_instance_cache=True, **SETTINGS)
    for path in ("survey/night/x.fits", "other/x.fits"):
        files.mkdir(path.partition("/")[0])
        files.pipe_file(path, CONTENT)
    yield url
    server.stop()


def make(store: str, *buckets: str, **settings: Any) -> References:
    place = S3(buckets, {**SETTINGS, "endpoint_url": store, **settings}, 10.0)
    return reading("s3", place)


def test_an_announced_object_is_read(store: str) -> None:
    """From a bucket, or below a prefix of one."""
    for bucket in ("survey", "survey/night", "survey/night/"):
        assert CONTENT == make(store, bucket).fetch(refer("s3://survey/night/x.fits"))


def test_another_size_or_sha256_is_rejected(store: str) -> None:
    """What was announced is what is judged, and no more is read."""
    reference = refer("s3://survey/night/x.fits")
    for other in (
        replace(reference, sha256="0" * 64),
        replace(reference, size=len(CONTENT) + 1),
        replace(reference, size=100),
    ):
        assert Reason.REFERENCE_DIFFERS == refused(make(store, "survey"), other)[0]


@pytest.mark.parametrize(
    "uri",
    [
        "s3://other/x.fits",
        "s3://survey/nights/x.fits",
        "s3://survey/night/../../other/x.fits",
        "s3://survey/night",
        "s3:survey/night/x.fits",
        "s3://",
    ],
)
def test_other_buckets_and_prefixes_are_refused(store: str, uri: str) -> None:
    """Though the store has them."""
    reason, _ = refused(make(store, "survey/night/"), refer(uri))
    assert reason in (Reason.REFERENCE_REFUSED, Reason.REFERENCE_MISSING)
    if "night/" in uri or "night" not in uri:
        assert Reason.REFERENCE_REFUSED == reason


def test_a_missing_object_is_rejected(store: str) -> None:
    """So is one in a bucket that is not there."""
    references = make(store, "survey", "nowhere")
    for uri in ("s3://survey/none.fits", "s3://nowhere/x.fits"):
        assert Reason.REFERENCE_MISSING == refused(references, refer(uri))[0]


def test_a_store_that_is_away_is_asked_again_later() -> None:
    """It is no reason to reject yet."""
    with pytest.raises(CallFailed, match="the store does not give "):
        make("http://127.0.0.1:9", "survey").fetch(refer("s3://survey/x.fits"))


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start, not at the first message."""
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ConfigurationInvalid, match=r"\[s3\]"):
        S3(["survey"], {}, 10.0)
