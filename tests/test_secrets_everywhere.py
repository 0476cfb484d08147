"""A secret stands in every setting that takes text, in turn, and is looked for at every exit."""

import importlib
import json
import re
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
import structlog
from prometheus_client import CollectorRegistry, Counter

from streamfilter import cli, config, doctor, logs, pages
from streamfilter.config import Settings
from streamfilter.errors import ConfigurationInvalid, Reason, TransportFailed
from streamfilter.headers import rejected_message
from streamfilter.records import Message, Origin, Rejected
from streamfilter.redaction import HIDDEN, SECRETS
from streamfilter.service.http import application

SECRET = 'S3CR"ET\\0123456789'
PLAIN = "Secret-0123456789"
MARK = re.compile("S3CR.{0,8}ET.{0,8}0123|0123456789", re.IGNORECASE)
ORIGIN = Origin("t", 0, 1)


def text_settings(
    schema: Mapping[str, Any], defined: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Every key below which a text may stand, with a TOML value that holds a reference."""
    for name, part in schema.get("properties", {}).items():
        for key, value in _texts(part, defined):
            yield f"{name}{key}", value


def _texts(part: Mapping[str, Any], defined: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    kinds = part.get("anyOf", [part])
    if len(kinds) > 1 and any(kind.get("type") == "string" for kind in kinds):
        kinds = [{"type": "string"}]
    for kind in kinds:
        if "$ref" in kind:
            below = defined[kind["$ref"].rpartition("/")[2]]
            if "properties" in below:
                yield from ((f".{key}", value) for key, value in text_settings(below, defined))
            else:
                yield "", '"${S}"'
        elif kind.get("type") == "string":
            yield "", '"${S}"'
        elif kind.get("type") == "array":
            for key, value in _texts(kind.get("items", {}), defined):
                yield "", f"[{{{key[1:]} = {value}}}]" if key else f"[{value}]"
        elif isinstance(more := kind.get("additionalProperties"), dict):
            yield from ((f".any{key}", value) for key, value in _texts(more, defined))


SCHEMA = Settings.model_json_schema()
KEYS = sorted(set(text_settings(SCHEMA, SCHEMA["$defs"])))
# What makes a URL of a text that is one, and what else its section needs.
URLS = {
    "schemas.registry.url": "https://h.org/reg?token=${S}",
    "schemas.publish.url": "https://h.org/${S}",
    "webhook.url": "https://h.org/${S}",
    "traces.endpoint": "http://me:${S}@h.org",
}
BESIDE: dict[str, dict[str, object]] = {
    "metrics.user": {"password": "pw"},
    "metrics.password": {"user": "ops"},
    "metrics.certificate_file": {"key_file": "x"},
    "metrics.key_file": {"certificate_file": "x"},
    "metrics.host": {"allow_open": True},
    "webhook.url": {"secret": "a-secret-of-a-webhook"},
}


def overrides_of(key: str, value: str) -> list[str]:
    """``--set`` of a key, and of what its section needs."""
    section = key.rpartition(".")[0]
    beside = [f"{section}.{k}={json.dumps(v)}" for k, v in BESIDE.get(key, {}).items()]
    return [*beside, f"{key}={json.dumps(URLS[key]) if key in URLS else value}"]


def test_the_walk_finds_the_settings_that_take_text() -> None:
    """One of each kind: a text, a list, a table of any keys, a path, a word of a few."""
    found = {key for key, _ in KEYS}
    assert found >= {
        "kafka.bootstrap", "alerts.topics", "kafka.settings.any", "traces.headers.any",
        "schemas.registry.url", "exposures.instruments.any.section", "engine.home", "logs.level",
        "outgoing.internal_networks", "surveys.any.rules",
    }  # fmt: skip
    assert len(found) > 60


def raised(words: str) -> Exception:
    """An exception with a traceback that quotes them."""
    try:
        raise TransportFailed(words)
    except TransportFailed as error:
        return error


def exits(words: str) -> Iterator[tuple[str, str]]:
    """All that leaves the process where a library quotes these words."""
    rejected = Rejected(Message(ORIGIN, b"x"), Reason.SCHEMA_UNAVAILABLE, words)
    yield "rejected", rejected.detail
    yield "headers", str(rejected_message(rejected)[1])
    registry = CollectorRegistry()
    Counter("seen", "Topics", ["topic"], registry=registry).labels(words).inc()
    for path in ("/healthz", "/readyz", "/metrics"):
        app = application(registry, healthy=lambda: words, ready=lambda: words)
        environ = {"PATH_INFO": path, "QUERY_STRING": "", "REQUEST_METHOD": "GET"}
        body = b"".join(app(environ, lambda *_: print))
        assert body
        yield path, body.decode()


@pytest.mark.parametrize(("key", "value"), KEYS, ids=[key for key, _ in KEYS])
@pytest.mark.parametrize("form", ["json", "human"])
def test_a_secret_in_a_setting_comes_out_nowhere(
    key: str, value: str, form: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not where the setting is refused, nor where any part of the service quotes it."""
    try:
        settings = config.load(environment={"S": SECRET}, overrides=overrides_of(key, value))
    except ConfigurationInvalid as error:
        words = str(error)
    else:
        words = f"{settings!r}"
        assert MARK.search(words), "the secret is not in the settings"
        assert not MARK.search(config.show(settings))
    quoting = raised(words)
    for place, text in exits(words):
        assert not MARK.search(text), place
    logs.configure(form=form, level="debug")
    log = structlog.get_logger()
    log.warning("quoted", detail=words, many=[words, {"deep": Path(words)}], error=quoting)
    log.error("raised", exc_info=quoting)
    assert not MARK.search(capsys.readouterr().err)


def test_a_figure_shows_no_secret(tmp_path: Path) -> None:
    """Nor does a file of one that can be searched."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    SECRETS.learn(SECRET)
    figure = pages.blank(2.0, 2.0)
    figure.text(0.1, 0.5, f"of {SECRET}", parse_math=False)
    pages.save(figure, tmp_path / "page.svg")
    assert [f"of {HIDDEN}"] == [each.get_text() for each in figure.texts]
    assert not MARK.search((tmp_path / "page.svg").read_text())


def test_a_finding_of_the_doctor_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its texts is cleaned, whichever check wrote it."""
    quick = [each for each in doctor._CHECKS if each[0] not in ("kafka", "clock")]
    monkeypatch.setattr(doctor, "_CHECKS", quick)
    overrides = [
        "kafka.bootstrap=127.0.0.1:9", 'engine.name="${S}"', "metrics.port=0",
        'webhook={url="https://${S}.invalid/x", secret="${S}"}',
        'traces.endpoint="http://${S}.invalid"', 'exposures.topics=["${S}"]',
        'exposures.reference_folders=["/${S}"]', 'exposures.reference_hosts=["${S}.invalid"]',
    ]  # fmt: skip
    settings = config.load(environment={"S": PLAIN}, overrides=overrides)
    found = [*doctor.examine(settings)]
    assert any("${S}" in finding.subject for finding in found)
    assert PLAIN.lower() not in f"{found}".lower()


def test_spans_hold_no_secret() -> None:
    """Names of topics and groups may come from anywhere."""
    pytest.importorskip("opentelemetry.sdk", reason="OpenTelemetry is not installed")
    memory = importlib.import_module("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    otlp = importlib.import_module("streamfilter.traces.otlp")
    SECRETS.learn(SECRET)
    exporter = memory.InMemorySpanExporter()
    tracer = otlp.OtlpTracer(
        exporter, lambda *_: None, sample_ratio=1.0, max_per_s=10.0, max_waiting=10,
        attributes={"service.namespace": SECRET},
    )  # fmt: skip
    trace = tracer.begin(Message(Origin(SECRET, 0, 1), b"x"), 1.0)
    trace.attributes, trace.failure = {"streamfilter.rule": SECRET}, SECRET
    trace.finish(0.0)
    tracer.close(5.0)
    spans = [span.to_json() for span in exporter.get_finished_spans()]
    assert spans
    assert not MARK.search("".join(spans))


@pytest.mark.parametrize("error", [TransportFailed(SECRET), ValueError(SECRET)])
def test_a_command_that_fails_tells_no_secret(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not in the line of a failure of ours, nor in a traceback, nor in what a library prints."""

    @click.command()
    def failing() -> None:
        SECRETS.learn(SECRET)
        print(SECRET)
        print(SECRET, file=sys.stderr)
        raise error

    monkeypatch.setitem(cli._COMMANDS, "config", "failing:failing")
    monkeypatch.setitem(sys.modules, "failing", types.SimpleNamespace(failing=failing))
    with pytest.raises(SystemExit) as ended:
        cli.main(["config"])
    assert 1 == ended.value.code
    said = capsys.readouterr()
    assert 2 == said.err.count(HIDDEN)
    assert not MARK.search(said.out + said.err)
