"""Real packets, their Alerts, and what fastavro reads of them."""

import copy
import io
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import fastavro
import pytest

from streamfilter.alerts.decode import Decoder
from streamfilter.alerts.surveys import Surveys
from streamfilter.errors import Reason
from streamfilter.limits import Limits
from streamfilter.records import Alert, Message, Origin, Rejected
from streamfilter.schemas.finder import SchemaFinder
from streamfilter.schemas.sources import PackageSource


@cache
def decoder() -> Decoder:
    """A decoder that knows what the package of LSST knows."""
    pytest.importorskip("lsst.alert", reason="needs the extra streamfilter[lsst]")
    return Decoder(SchemaFinder([PackageSource()], Limits()), Surveys.load(), Limits())


def decoded(value: bytes) -> Alert | Rejected:
    """The result of decoding a message."""
    return decoder().decode(Message(Origin("t", 0, 0), value))


def alert_of(value: bytes) -> Alert:
    """The Alert of a message that has one."""
    alert = decoded(value)
    assert isinstance(alert, Alert), alert
    return alert


def reason_of(value: bytes) -> Reason:
    """Why a message has no Alert."""
    rejected = decoded(value)
    assert isinstance(rejected, Rejected), rejected
    return rejected.reason


@cache
def lsst_schema(schema_id: int) -> Any:
    """The writer schema of an LSST version, parsed."""
    definition = PackageSource().by_id(schema_id)
    if definition is None:
        pytest.skip(f"lsst-alert-packet has no schema {schema_id}")
    return fastavro.parse_schema(definition)


def record_of(value: bytes) -> tuple[Any, dict[str, Any]]:
    """The writer schema and the whole record, as fastavro reads them."""
    if value.startswith(b"Obj"):
        reader: Any = fastavro.reader(io.BytesIO(value))
        return reader.writer_schema, next(reader)
    schema = lsst_schema(int.from_bytes(value[1:5], "big"))
    record = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None)
    return schema, record  # type: ignore[return-value]


def encoded(schema_id: int, record: dict[str, Any]) -> bytes:
    """A record in the Confluent form."""
    buffer = io.BytesIO(b"\x00" + schema_id.to_bytes(4, "big"))
    buffer.seek(5)
    fastavro.schemaless_writer(buffer, lsst_schema(schema_id), record)
    return buffer.getvalue()


def container(schema: Any, record: dict[str, Any]) -> bytes:
    """A record in a container."""
    buffer = io.BytesIO()
    fastavro.writer(buffer, schema, [record])
    return buffer.getvalue()


def packets(samples: Path) -> Iterator[Path]:
    """Every sample packet that is whole."""
    for survey in ("ztf", "lsst", "winter", "decam", "pgir"):
        found = sorted(path for path in (samples / survey).iterdir() if path.suffix != ".json")
        assert found, f"no packets of {survey}"
        yield from found


@cache
def packet(path: Path) -> bytes:
    """A sample's bytes."""
    return path.read_bytes()


def changed(schema: Any, field: str, **change: Any) -> Any:
    """The schema with another definition of one top field."""
    schema = {k: v for k, v in copy.deepcopy(schema).items() if not k.startswith("__")}
    schema["fields"] = [f | change if f["name"] == field else f for f in schema["fields"]]
    return schema


def nested(schema: Any, field: str, changes: dict[str, Any]) -> Any:
    """The record that a top field is, with other types of some of its fields."""
    kind = next(f["type"] for f in schema["fields"] if f["name"] == field)
    fields = [
        {"name": f["name"], "type": changes.get(f["name"], f["type"])} for f in kind["fields"]
    ]
    return kind | {"fields": fields}
