"""Secrets are hunted: a marker stands wherever one can be configured, and must come out nowhere."""

import base64
import json
import os
import re
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import secure_node
import tomli_w
import trustme
from filter_process import FilterProcess
from kafka_node import KafkaUnavailable
from secure_node import PASSWORD, SecureNode

MARKER = "marker"
PATIENCE_S = 60.0
TOPICS = ("alerts", "streamfilter.annotations", "streamfilter.rejected")
SECRETS: dict[str, dict[str, object]] = {
    "kafka.settings": {
        "sasl.password": "marker-sasl",
        "ssl.key.password": "marker-key",
        "ssl.keystore.password": "marker-keystore",
        "sasl.oauthbearer.client.secret": "marker-client",
        "sasl.oauthbearer.config": "marker-config",
        "ssl.key.pem": "marker-pem",
    },
    "kafka.consumer": {"sasl.password": "marker-consumer"},
    "kafka.producer": {"sasl.password": "marker-producer"},
    "schemas.registry": {"url": "http://me:marker-registry-url@127.0.0.1:9"},
    "schemas.registry.settings": {
        "ssl.key.password": "marker-registry-key",
        "bearer.auth.token": "marker-registry-token",
        "proxy": "http://me:marker-proxy@127.0.0.1:9",
    },
    "schemas.publish": {"url": "http://me:marker-publish-url@127.0.0.1:9"},
    "schemas.publish.settings": {"basic.auth.user.info": "me:marker-publish"},
    "webhook": {
        "url": "https://127.0.0.1:9/services/marker-path?token=marker-query",
        "secret": "marker-webhook-that-is-long-enough",
    },
    "exposures.s3": {"key": "marker-s3-key", "secret": "marker-s3", "token": "marker-s3-token"},
    "metrics": {"user": "ops", "password": "marker-metrics"},
    "traces": {"endpoint": "http://me:marker-traces@127.0.0.1:9/v1/traces"},
    "traces.headers": {"Authorization": "Bearer marker-bearer", "X-Team": "marker-team"},
}


def written(tables: Mapping[str, Mapping[str, object]]) -> str:
    """TOML of tables by their dotted names."""
    return "".join(f"[{name}]\n{tomli_w.dumps(table)}\n" for name, table in tables.items())


def command(*arguments: str, **environment: str) -> str:
    """All that a command says, whether it succeeds or not."""
    done = subprocess.run(
        [sys.executable, "-m", "streamfilter", *arguments],
        capture_output=True, text=True, timeout=PATIENCE_S, env={**os.environ, **environment},
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert said, "nothing was said"
    assert not re.search("^Traceback", said, re.MULTILINE)
    return said


@pytest.fixture
def given(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[list[str], dict[str, str]]:
    """The secrets, given in one of the ways that there are: arguments and environment."""
    way, file = request.param, tmp_path / "site.toml"
    if way == "file":
        file.write_text(written(SECRETS))
        return ["--config", str(file)], {}
    if way == "environment":
        return [], {
            f"STREAMFILTER_{name.upper().replace('.', '__')}": toml_line(table)
            for name, table in SECRETS.items()
            if f"{name}.settings" not in SECRETS
        }
    if way == "--set":
        return [f"--set={name}={toml_line(table)}" for name, table in SECRETS.items()], {}
    references = {
        name: {key: f"${{S{i}_{j}}}" for j, key in enumerate(table)}
        for i, (name, table) in enumerate(SECRETS.items())
    }
    file.write_text(written(references))
    secrets = [list(table.values()) for table in SECRETS.values()]
    values = {f"S{i}_{j}": str(v) for i, t in enumerate(secrets) for j, v in enumerate(t)}
    return ["--config", str(file)], values


def toml_line(table: Mapping[str, object]) -> str:
    return "{" + ", ".join(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in table.items()) + "}"


@pytest.mark.process
@pytest.mark.parametrize("given", ["file", "environment", "--set", "reference"], indirect=True)
def test_settings_are_shown_without_their_secrets(
    given: tuple[list[str], dict[str, str]],
) -> None:
    """However they came in, `config show` can be pasted into a ticket."""
    arguments, environment = given
    said = command("config", "show", *arguments, **environment)
    assert 'group = "streamfilter"' in said
    assert MARKER not in said
    assert MARKER not in command("config", "check", *arguments, **environment)


@pytest.mark.process
@pytest.mark.parametrize("given", ["file", "--set"], indirect=True)
def test_a_wrong_setting_is_told_without_the_secrets_beside_it(
    given: tuple[list[str], dict[str, str]],
) -> None:
    """Neither a wrong key nor a value of the wrong type shows what stands there."""
    arguments, environment = given
    for wrong in (
        "kafka.settings.typo=[{a = 'marker-wrong'}]",
        "metrics.password=['marker-wrong']",
        "schemas.registry.settings={'basic.auth.user.info' = ['marker-wrong']}",
        "kafka.none={'sasl.password' = 'marker-wrong'}",
    ):
        said = command("config", "check", *arguments, "--set", wrong, **environment)
        assert MARKER not in said


@pytest.mark.process
@pytest.mark.parametrize(
    "arguments",
    [
        ("topics", "create", "t"),
        ("replay", str(Path(__file__)), "--topic", "t"),
    ],
)
def test_commands_take_passwords_from_the_environment(arguments: tuple[str, ...]) -> None:
    """So that they do not stand in the list of processes; nothing listens on port 9."""
    login = ["sasl.password=${PW}", "security.protocol=SASL_PLAINTEXT", "sasl.mechanism=no"]
    options = [f"--setting={each}" for each in login]
    said = command(*arguments, "--bootstrap", "127.0.0.1:9", *options, PW="marker-environment")
    assert MARKER not in said
    assert "PW" in command(*arguments, "--bootstrap", "127.0.0.1:9", *options)


class _Closed(BaseHTTPRequestHandler):
    """A registry that lets nobody in, and repeats what it was given."""

    asked: threading.Event

    def do_GET(self) -> None:
        self.asked.set()
        body = json.dumps({"error_code": 401, "message": "no"}).encode()
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureNode]:
    try:
        made = secure_node.start(tmp_path_factory.mktemp("secrets"))
    except KafkaUnavailable as why:
        pytest.skip(f"no Kafka: {why}")
    for name in TOPICS:
        made.broker.topic(name=name)
    made.grant()
    yield made
    made.node.remove()


@pytest.fixture
def site(secure: SecureNode, tmp_path: Path) -> Iterator[Path]:
    """A configuration with a secret in every place that a worker reaches."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "tls.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    _Closed.asked = threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Closed) as registry:
        threading.Thread(target=registry.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://me:marker-registry@127.0.0.1:{registry.server_port}"
        url += "/${PATH_SECRET}?token=${URL_SECRET}&literal=marker-literal"
        tables: dict[str, dict[str, object]] = {
            "kafka": {"bootstrap": secure.bootstrap},
            "kafka.settings": {**secure.client("${SASL}"), "debug": "all"},
            "schemas.registry": {"url": url},
            "schemas": {"wait_s": 3.0, "packages": False},
            "logs": {"level": "debug", "form": "json"},
            "metrics": {
                "user": "ops",
                "password": "${METRICS}",
                "port": 0,
                "certificate_file": str(tmp_path / "tls.pem"),
                "key_file": str(tmp_path / "tls.pem"),
            },
        }
        (tmp_path / "site.toml").write_text(written(tables))
        yield tmp_path / "site.toml"
        registry.shutdown()


def test_a_wrong_password_ends_a_worker_without_being_told(
    site: Path, secure: SecureNode, engine_home: Path
) -> None:
    """Not by streamfilter, nor by librdkafka at its most talkative."""
    said = command(
        "run", "--config", str(site),
        SASL="marker-wrong", METRICS="marker-metrics", STREAMFILTER_HOME=str(engine_home),
        PATH_SECRET="marker-path-of-url", URL_SECRET="marker-of-url",
    )  # fmt: skip
    assert "sasl.password" in said
    assert '"facility": "SASL' in said
    assert MARKER not in said


def test_the_doctor_tells_missing_rights_and_no_secret(
    site: Path, secure: SecureNode, engine_home: Path
) -> None:
    """A user may read and write what deploy/kafka-acls.sh gives, and nothing else."""
    secure.broker.topic(name="not-granted")
    said = command(
        "doctor", "--config", str(site), "--set", "outputs.clean=not-granted",
        SASL=PASSWORD, METRICS="marker-metrics", STREAMFILTER_HOME=str(engine_home),
        PATH_SECRET="marker-path-of-url", URL_SECRET="marker-of-url",
    )  # fmt: skip
    assert re.search(r"failed +topics +outputs.clean not-granted: .*authorization failed", said)
    assert re.search(r"ok +topics +alerts.topics alerts: .*may be read", said)
    shown = r"http://127\.0\.0\.1:\d+/\${PATH_SECRET}\?\(hidden\): "
    assert re.search(rf"failed +registry +schemas.registry {shown}", said)
    assert MARKER not in said


def page(url: str, login: str, context: ssl.SSLContext) -> str:
    """A page of the worker: its headers and what it says."""
    request = urllib.request.Request(url)
    request.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=5, context=context) as answer:
            return f"{answer.headers}{answer.read().decode()}"
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.headers}{error.read().decode()}"


def test_a_worker_at_work_tells_no_secret(
    site: Path, secure: SecureNode, engine_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over SCRAM, TLS and a registry that refuses it: not in the log, a page or a message."""
    monkeypatch.setenv("SASL", PASSWORD)
    monkeypatch.setenv("METRICS", "marker-metrics")
    monkeypatch.setenv("PATH_SECRET", "marker-path-of-url")
    monkeypatch.setenv("URL_SECRET", "marker-of-url")
    secure.broker.produce("alerts", [b"rubbish", b"\0\0\0\0\7body"])
    with FilterProcess(site.with_suffix(".log"), {}, engine_home, "--config", str(site)) as worker:
        assert _Closed.asked.wait(PATIENCE_S), worker.log.read_text()[-2000:]
        (url,) = [str(event["metrics"]) for event in worker.events() if "metrics" in event]
        trust = ssl.create_default_context(cafile=str(site.with_name("ca.pem")))
        root, login = url.removesuffix("/metrics"), "ops:marker-metrics"
        pages = [page(root + path, login, trust) for path in ("/healthz", "/readyz", "/", "/no")]
        pages += [page(url, login, trust), page(url, "ops:marker-wrong", trust)]
        end = time.monotonic() + PATIENCE_S
        while "schema_unavailable" not in worker.log.read_text() and time.monotonic() < end:
            time.sleep(0.1)
        worker.stop()
    assert "streamfilter_messages_total" in pages[4]
    rejected = secure.broker.read("streamfilter.rejected")
    assert rejected
    assert "schema_unavailable" in str(rejected)  # its detail quotes the registry's URL
    assert MARKER not in "".join(pages)
    assert MARKER not in worker.log.read_text()
    assert MARKER not in str(rejected)
