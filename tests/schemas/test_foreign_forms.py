"""What is said of messages that are in none of the forms that are read."""

import gzip
from typing import Any

import pytest

from streamfilter.errors import MessageRejected
from streamfilter.limits import Limits
from streamfilter.schemas.finder import SchemaFinder


class Empty:
    """A source that has no schema."""

    name = "shelf"

    def by_id(self, schema_id: int) -> dict[str, Any] | None:
        return None

    def by_fingerprint(self, fingerprint: int) -> dict[str, Any] | None:
        return None


def said_of(value: bytes) -> str:
    """The detail of a value's rejection."""
    with pytest.raises(MessageRejected) as caught:
        SchemaFinder([Empty()], Limits()).open(value)
    return caught.value.detail


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"\x03\x00" + bytes(range(16)), "(AWS Glue's form)"),
        (gzip.compress(b"Obj\x01", mtime=0), "(gzip; let Kafka compress instead: compression.type"),
        (b"\x28\xb5\x2f\xfd\x04", "(zstd; let Kafka compress instead"),
        (b'{"candid": 1}', "(JSON)"),
        (b"<!DOCTYPE html>", "(XML or HTML)"),
        (b"SIMPLE  =                    T", "(a FITS file)"),
        (b"\x08\x34.02", "first bytes 08 34 2e 30; expected"),
    ],
)
def test_what_the_first_bytes_are_known_for_is_said(value: bytes, words: str) -> None:
    """So an operator knows which program to look at; what is unknown stays bytes."""
    assert words in said_of(value)


def test_a_bare_record_needs_a_header() -> None:
    """That is the only way in which one is read."""
    assert "a bare record with the Kafka header __value_schema_id" in said_of(b"\x08ZTF")


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (bytes(4), "unless apicurio.registry.as-confluent is true?"),
        (b"\xe8\x03\x00\x00", "; little-endian it would be 1000, expected is big-endian"),
        (b"\x00\x00\x03\xe8", "schema id 1000 is not known (shelf)"),
    ],
)
def test_an_odd_schema_id_is_explained(head: bytes, words: str) -> None:
    """Behind the sources that were asked; one that may be right is not."""
    assert said_of(b"\x00" + head + b"record").endswith(words)
