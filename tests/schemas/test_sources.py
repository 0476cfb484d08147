"""Sources of writer schemas: folders, the package of LSST, a registry on the loopback."""

import base64
import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from streamfilter.errors import ConfigurationInvalid, MessageRejected, Reason, SchemaUnavailable
from streamfilter.files import write_whole
from streamfilter.limits import Limits
from streamfilter.schemas.definition import parse_definition
from streamfilter.schemas.registry_client import TimedCalls
from streamfilter.schemas.sources import (
    FolderSource,
    PackageSource,
    RegistrySource,
    crc_64_avro,
)

POINT = {"type": "record", "name": "s.point", "fields": [{"name": "x", "type": "long"}]}
ALERT: dict[str, Any] = {
    "type": "record",
    "name": "alert",
    "namespace": "s",
    "fields": [{"name": "p", "type": "s.point"}, {"name": "q", "type": ["null", "point"]}],
}
WHOLE = {"type": "record", "name": "t.alert", "fields": [{"name": "x", "type": "long"}]}


class Registry(ThreadingHTTPServer):
    """A registry in memory; answers by path, and counts the questions."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, tuple[int, object]] = {}
        self.asked: list[str] = []
        self.encoding = "identity"
        self.login = ""

    def settings(self) -> dict[str, Any]:
        """What a client needs."""
        return {"url": f"http://127.0.0.1:{self.server_port}", "max.retries": 0, "timeout": 5}

    def source(self, cache: Path, **more: Any) -> RegistrySource:
        """A source that asks this registry."""
        return RegistrySource(self.settings(), cache, more.pop("limits", Limits()), **more)


class Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        if self.headers.get("Authorization", "") != self.server.login:
            self.send_error(401)
            return
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        status, answer = self.server.answers.get(path, (404, {"error_code": 40403, "message": ""}))
        body = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Encoding", self.server.encoding)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_file_named_by_its_id_is_found(tmp_path: Path) -> None:
    """1000.avsc is schema 1000."""
    (tmp_path / "1000.avsc").write_text(json.dumps(WHOLE))
    assert (WHOLE, None) == (FolderSource(tmp_path).by_id(1000), FolderSource(tmp_path).by_id(1))


def test_a_tree_of_versions_is_found_and_joined(tmp_path: Path) -> None:
    """12/3/*.avsc is schema 1203; types are written out where they are first used."""
    for name, schema in (("a", ALERT), ("p", POINT)):
        write_whole(tmp_path / "12" / "3" / f"{name}.avsc", json.dumps(schema).encode())
    found = FolderSource(tmp_path).by_id(1203)
    assert found is not None
    assert ("s.point", ["null", "point"]) == (
        found["fields"][0]["type"]["name"],
        found["fields"][1]["type"],
    )
    assert "s.alert" == parse_definition(found).name


def test_a_schema_is_found_by_its_fingerprint(tmp_path: Path) -> None:
    """The name of the file does not matter."""
    (tmp_path / "anything.avsc").write_text(json.dumps(WHOLE))
    assert WHOLE == FolderSource(tmp_path).by_fingerprint(crc_64_avro(WHOLE))


def test_the_fingerprint_is_that_of_the_java_library() -> None:
    """Apache Avro's own test data has this number for the null type."""
    assert 7195948357588979594 == crc_64_avro({"type": "null"})


def test_the_fingerprint_is_that_of_the_canonical_form() -> None:
    """Documentation does not change it."""
    assert crc_64_avro(WHOLE) == crc_64_avro({**WHOLE, "doc": "words"})


@pytest.mark.parametrize("text", ["{", '"long"', "[1, 2]"])
def test_a_damaged_file_is_trouble_and_names_the_file(tmp_path: Path, text: str) -> None:
    """The schema is not unknown: its file must be mended."""
    (tmp_path / "7.avsc").write_text(text)
    with pytest.raises(SchemaUnavailable, match=r"7\.avsc"):
        FolderSource(tmp_path).by_id(7)


def test_a_missing_folder_is_a_wrong_configuration(tmp_path: Path) -> None:
    """The service does not start with it."""
    with pytest.raises(ConfigurationInvalid, match="no such folder"):
        FolderSource(tmp_path / "nowhere")


@pytest.mark.parametrize("schema_id", [700, 703, 800, 900, 1000, 1100, 1101])
def test_the_package_has_lsst_schemas_under_lsst_ids(schema_id: int) -> None:
    """The id is 100 * major + minor."""
    pytest.importorskip("lsst.alert", reason="needs the extra streamfilter[lsst]")
    found = PackageSource().by_id(schema_id)
    assert found is not None
    assert f"lsst.v{schema_id // 100}_{schema_id % 100}.alert" == parse_definition(found).name


def test_the_package_does_not_know_other_ids() -> None:
    """There is no LSST schema 99.99."""
    assert PackageSource().by_id(9999) is None


def test_a_registry_is_asked_once_for_ever(registry: Registry, tmp_path: Path) -> None:
    """The second source, on the same cache, needs no registry."""
    registry.answers["/schemas/ids/7"] = (200, {"schema": json.dumps(WHOLE)})
    assert WHOLE == registry.source(tmp_path).by_id(7)
    assert WHOLE == registry.source(tmp_path).by_id(7)
    assert ["/schemas/ids/7"] == registry.asked


def test_a_damaged_cache_is_fetched_again(registry: Registry, tmp_path: Path) -> None:
    """A cut file on disk does no harm."""
    registry.answers["/schemas/ids/7"] = (200, {"schema": json.dumps(WHOLE)})
    registry.source(tmp_path).by_id(7)
    next(tmp_path.rglob("7.avsc")).write_text("{")
    assert WHOLE == registry.source(tmp_path).by_id(7)


def test_references_are_followed(registry: Registry, tmp_path: Path) -> None:
    """A schema of several subjects becomes one definition."""
    reference = {"name": "s.point", "subject": "point", "version": 3}
    answer = {"schema": json.dumps(ALERT), "references": [reference]}
    registry.answers["/schemas/ids/8"] = (200, answer)
    point = {"subject": "point", "id": 1, "version": 3, "schema": json.dumps(POINT)}
    registry.answers["/subjects/point/versions/3"] = (200, point)
    found = registry.source(tmp_path).by_id(8)
    assert found is not None
    assert "s.alert" == parse_definition(found).name


def test_an_unknown_id_is_not_asked_again_for_a_while(registry: Registry, tmp_path: Path) -> None:
    """Thirty seconds later it may have been registered."""
    now = [0.0]
    source = registry.source(tmp_path, clock=lambda: now[0])
    assert [None, None] == [source.by_id(9), source.by_id(9)]
    now[0] = 31.0
    registry.answers["/schemas/ids/9"] = (200, {"schema": json.dumps(WHOLE)})
    assert (WHOLE, 2) == (source.by_id(9), len(registry.asked))


@pytest.mark.parametrize(
    ("status", "answer"),
    [(500, {"error_code": 50001}), (401, "denied"), (404, "<html>"), (200, "<html>")],
)
def test_trouble_is_not_an_unknown_id(
    registry: Registry, tmp_path: Path, status: int, answer: object
) -> None:
    """Only a registry's own 404 says that an id is unknown."""
    registry.answers["/schemas/ids/7"] = (status, answer)
    with pytest.raises(SchemaUnavailable, match=r"127\.0\.0\.1"):
        registry.source(tmp_path).by_id(7)


def test_a_registry_that_is_not_there_is_trouble(registry: Registry, tmp_path: Path) -> None:
    """A refused connection says nothing about the schema."""
    source = RegistrySource(
        {**registry.settings(), "url": "http://127.0.0.1:9"}, tmp_path, Limits()
    )
    with pytest.raises(SchemaUnavailable):
        source.by_id(7)


def test_a_large_schema_is_rejected(registry: Registry, tmp_path: Path) -> None:
    """The limit on schema bytes holds for registries."""
    registry.answers["/schemas/ids/7"] = (200, {"schema": json.dumps(WHOLE)})
    with pytest.raises(MessageRejected) as caught:
        registry.source(tmp_path, limits=Limits(max_schema_bytes=20)).by_id(7)
    assert Reason.SCHEMA_MALFORMED == caught.value.reason


def test_a_schema_of_another_kind_is_rejected(registry: Registry, tmp_path: Path) -> None:
    """Registries also keep JSON and Protobuf schemas."""
    registry.answers["/schemas/ids/7"] = (200, {"schema": "{}", "schemaType": "JSON"})
    with pytest.raises(MessageRejected, match="JSON"):
        registry.source(tmp_path).by_id(7)


def test_an_answer_without_end_is_not_read(registry: Registry, tmp_path: Path) -> None:
    """What a registry sends is bounded before it is in memory."""
    registry.answers["/schemas/ids/7"] = (200, "[" + " " * 2**17 + "]")
    with pytest.raises(SchemaUnavailable, match="over 56384 bytes"):
        registry.source(tmp_path, limits=Limits(max_schema_bytes=10_000)).by_id(7)


def test_an_answer_that_nests_without_end_is_trouble(registry: Registry, tmp_path: Path) -> None:
    """The stack is not the limit; within a string it is the schema's own."""
    deep = "[" * 100_000 + "]" * 100_000
    registry.answers["/schemas/ids/7"] = (200, deep)
    with pytest.raises(SchemaUnavailable, match="nested too deeply"):
        registry.source(tmp_path).by_id(7)
    registry.answers["/schemas/ids/8"] = (200, {"schema": deep})
    with pytest.raises(MessageRejected, match="no JSON"):
        registry.source(tmp_path).by_id(8)
    union = {**WHOLE, "fields": [{"name": "x", "type": json.loads("[" * 800 + "]" * 800)}]}
    registry.answers["/schemas/ids/9"] = (200, {"schema": json.dumps(union)})
    with pytest.raises(MessageRejected, match="nests without an end"):
        registry.source(tmp_path).by_id(9)


def test_a_compressed_answer_is_not_unpacked(registry: Registry, tmp_path: Path) -> None:
    """Nobody asked for compression, and the answer could unpack to any size."""
    registry.answers["/schemas/ids/7"] = (200, {"schema": json.dumps(WHOLE)})
    registry.encoding = "gzip"
    with pytest.raises(SchemaUnavailable, match="compressed answer"):
        registry.source(tmp_path).by_id(7)


def test_an_answer_that_drips_is_given_up(tmp_path: Path) -> None:
    """Each byte comes in time; the whole does not. Open questions are bounded."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while not ended.wait(0.02):
                    connection.sendall(b"X-More: yes\r\n")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        settings = {"url": f"http://127.0.0.1:{server.getsockname()[1]}", "max.retries": 0}
        source = RegistrySource(settings, tmp_path, Limits(), calls=TimedCalls(0.3, 1))
        for words in ("within 0.3 s", "earlier questions"):
            with pytest.raises(SchemaUnavailable, match=words):
                source.by_id(7)
        ended.set()
        thread.join()


@pytest.fixture
def guarded(registry: Registry, tmp_path: Path) -> dict[str, Any]:
    """Settings of the registry behind TLS and a password."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    registry.socket = context.wrap_socket(registry.socket, server_side=True)
    registry.login = f"Basic {base64.b64encode(b'me:marker-right').decode()}"
    registry.answers["/schemas/ids/7"] = (200, {"schema": json.dumps(WHOLE)})
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return {
        **registry.settings(),
        "url": f"https://127.0.0.1:{registry.server_port}",
        "ssl.ca.location": str(tmp_path / "ca.pem"),
        "basic.auth.user.info": "me:marker-right",
    }


def test_a_registry_is_asked_over_tls_with_a_password(
    guarded: dict[str, Any], tmp_path: Path
) -> None:
    """Confluent's own registries require this."""
    assert WHOLE == RegistrySource(guarded, tmp_path / "cache", Limits()).by_id(7)


def test_a_password_may_stand_in_the_url(guarded: dict[str, Any], tmp_path: Path) -> None:
    """The client takes it there too; nothing shows it."""
    del guarded["basic.auth.user.info"]
    guarded["url"] = guarded["url"].replace("//", "//me:marker-right@")
    assert WHOLE == RegistrySource(guarded, tmp_path / "cache", Limits()).by_id(7)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"basic.auth.user.info": "me:marker-wrong"}, "401"),
        ({"ssl.ca.location": "FOLDER/other.pem"}, "certificate verify failed"),
    ],
)
def test_a_registry_that_does_not_let_us_in_is_trouble(
    guarded: dict[str, Any], tmp_path: Path, change: dict[str, str], words: str
) -> None:
    """The message has the error, but not the password."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    changed = {key: value.replace("FOLDER", str(tmp_path)) for key, value in change.items()}
    source = RegistrySource({**guarded, **changed}, tmp_path / "cache", Limits())
    with pytest.raises(SchemaUnavailable, match=words) as caught:
        source.by_id(7)
    assert "marker" not in str(caught.value)


def test_wrong_registry_settings_are_a_wrong_configuration(tmp_path: Path) -> None:
    """The client's own words are passed on."""
    with pytest.raises(ConfigurationInvalid, match=r"no\.such\.key"):
        RegistrySource({"url": "http://127.0.0.1:9", "no.such.key": 1}, tmp_path, Limits())


def test_credentials_do_not_show_in_the_name(tmp_path: Path) -> None:
    """They are neither in messages nor in the path of the cache."""
    source = RegistrySource({"url": "http://me:secret@127.0.0.1:9"}, tmp_path, Limits())
    assert "http://127.0.0.1:9" == source.name
