"""What the doctor finds, on a real Kafka and with what is broken on purpose."""

import json
import shlex
import time
import uuid
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from click.testing import CliRunner
from exposure_factories import make_announced
from kafka_desk import Broker
from prometheus_client import CollectorRegistry
from receiver import receiving

from streamfilter import config
from streamfilter.cli import options, root
from streamfilter.doctor import Finding, State, clock, examine
from streamfilter.doctor.messages import SampledMessage
from streamfilter.exposures.announce import encode_exposure
from streamfilter.service.http import Endpoint
from streamfilter.simulate.visits import alerts

NOBODY = "127.0.0.1:9"
"""Where nobody listens."""


@pytest.fixture
def site(broker: Broker, tmp_path: Path, engine_home: Path) -> dict[str, str]:
    """Settings without any failure: topics on a real Kafka, engines in the cache."""
    names = ("alerts", "annotations", "rejected")
    topics = {name: broker.topic(stem=name, max_message_bytes="2000000") for name in names}
    (value,) = (alert.value for alert in alerts(1, 1, surveys=("ztf",)))
    broker.produce(topics["alerts"], [value])
    return {
        "kafka.bootstrap": broker.bootstrap,
        "kafka.group": f"group-{topics['alerts']}",
        "alerts.topics": f'["{topics["alerts"]}"]',
        "outputs.annotations": topics["annotations"],
        "outputs.rejected": topics["rejected"],
        "engine.home": str(engine_home),
        "engine.workers": "1",
        "metrics.port": "0",
    }


def found(site: dict[str, str], **changes: str) -> list[Finding]:
    """Returns all findings; in keys of ``changes``, ``__`` stands for a dot."""
    changed = site | {key.replace("__", "."): value for key, value in changes.items()}
    return list(examine(config.load(overrides=[f"{k}={v}" for k, v in changed.items()])))


def one(findings: list[Finding], check: str, subject: str = "") -> Finding:
    """Returns a check's only finding about a subject."""
    (finding,) = (f for f in findings if f.check == check and subject in f.subject)
    return finding


def failures(findings: list[Finding]) -> set[str]:
    """Returns the names of the checks that failed."""
    return {finding.check for finding in findings if finding.state is State.FAILED}


def test_where_all_is_well_nothing_fails_and_nothing_is_changed(
    site: dict[str, str], broker: Broker
) -> None:
    """The last alert is decoded and the network runs; no group and no message is made."""
    findings = found(site)
    assert set() == failures(findings)
    assert State.OK is one(findings, "message").state
    assert "not used yet" in one(findings, "group").found
    assert {"ok"} == {f.state for f in findings if f.check in ("brokers", "topics", "engine")}
    assert 1 == broker.size(site["alerts.topics"].strip('["]'))
    assert {} == broker.committed(site["kafka.group"], site["alerts.topics"].strip('["]'))
    assert 0 == broker.size(site["outputs.annotations"]) + broker.size(site["outputs.rejected"])


def test_a_wrong_password_is_told(site: dict[str, str], broker: Broker) -> None:
    """The mend names the settings; checks that need the broker are skipped."""
    if not broker.sasl_bootstrap:
        pytest.skip("STREAMFILTER_TEST_BOOTSTRAP names a broker of which no password is known")
    login = {
        "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN",
        "sasl.username": "filter", "sasl.password": "wrong",
    }  # fmt: skip
    text = ", ".join(f'"{key}" = "{value}"' for key, value in login.items())
    address = broker.sasl_bootstrap
    findings = found(site, kafka__bootstrap=address, kafka__settings=f"{{{text}}}")
    for side in ("kafka.bootstrap 127", "producer"):
        assert "sasl.password" in one(findings, "brokers", side).mend
    assert {"brokers"} == failures(findings)


def test_a_broker_that_is_down_is_told(site: dict[str, str]) -> None:
    """Other checks go on."""
    findings = found(site, kafka__bootstrap=NOBODY)
    assert {"brokers"} == failures(findings)
    assert "the broker is up" in one(findings, "brokers", "producer").mend
    assert State.OK is one(findings, "engine", "onnxruntime").state


def test_missing_topics_are_told(site: dict[str, str]) -> None:
    """Each finding has the command that makes the topic; a pattern may match topics later."""
    findings = found(site, outputs__rejected="no-such", alerts__topics='["none", "^none_.*"]')
    for name in ("no-such", "alerts.topics none"):
        missing = one(findings, "topics", name)
        assert (State.FAILED, "streamfilter topics create") == (
            missing.state, missing.mend,
        )  # fmt: skip
    assert State.WARNING is one(findings, "topics", "^none_.*").state


def test_a_survey_that_comes_and_has_no_topic_is_told(site: dict[str, str], broker: Broker) -> None:
    """With the command for it; surveys of which nothing comes need none."""
    stem = broker.topic(stem="notes")
    changed = site | {"outputs.annotations": stem + "-{survey}"}
    lacking = one(found(changed), "topics", f"{stem}-ztf")
    assert State.FAILED is lacking.state
    assert "streamfilter topics create --survey ztf" == lacking.mend
    broker.topic(name=f"{stem}-ztf")
    findings = found(changed)
    assert State.OK is one(findings, "topics", f"{stem}-ztf").state
    others = one(findings, "topics", f"outputs.annotations {stem}-{{survey}}")
    assert State.NOT_APPLICABLE is others.state
    assert "none of decam, lsst, pgir, winter: an alert of theirs would be rejected" == others.found
    assert set() == failures(findings)


def test_where_no_survey_has_a_topic_it_is_told(site: dict[str, str], broker: Broker) -> None:
    """Also before the first alert."""
    quiet = broker.topic(stem="quiet")
    changes = {"outputs__annotations": "none-{survey}", "alerts__topics": f'["{quiet}"]'}
    finding = one(found(site, **changes), "topics", "outputs.annotations")
    assert (State.FAILED, "streamfilter topics create") == (finding.state, finding.mend)
    assert "none of decam, lsst, pgir, winter, ztf" == finding.found


def test_a_topic_that_takes_less_than_comes_is_told(site: dict[str, str], broker: Broker) -> None:
    """The finding has the number to set."""
    small = broker.topic(stem="small", max_message_bytes="20000")
    finding = one(found(site, outputs__enriched=small), "size", small)
    assert State.FAILED is finding.state
    command = f"streamfilter topics alter {small} --property max.message.bytes=2000000"
    assert command == finding.mend


def test_a_message_that_would_be_rejected_is_told(site: dict[str, str], broker: Broker) -> None:
    """The operator knows it before the night."""
    topic = broker.topic(stem="rubbish")
    broker.produce(topic, [b"rubbish"])
    finding = one(found(site, alerts__topics=f'["{topic}"]'), "message", topic)
    assert State.WARNING is finding.state
    assert "wire_form_unknown" in finding.found
    assert f"streamfilter inspect --topic {topic} --at 0:0" == finding.mend


def test_a_registry_that_is_down_is_told(site: dict[str, str]) -> None:
    """The finding does not show the password."""
    url = f"http://me:marker@{NOBODY}"
    findings = found(site, schemas__registry__url=url, schemas__publish__url=url)
    for key in ("schemas.registry", "schemas.publish"):
        finding = one(findings, "registry", key)
        assert (State.FAILED, True) == (finding.state, "see that it is up" in finding.mend)
    assert "marker" not in str(findings)


def answer_404(ahead_s: float) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answers as a registry without schemas, whose clock is ahead."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        body = json.dumps({"error_code": 40403, "message": "Schema not found"}).encode()
        date = formatdate(time.time() + ahead_s, usegmt=True)
        handler.send_response_only(404)
        for name, value in (("Date", date), ("Content-Length", str(len(body)))):
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@pytest.mark.parametrize(("ahead_s", "state"), [(0, "ok"), (9, "warning"), (-99, "failed")])
def test_the_clock_is_held_against_the_registrys(
    site: dict[str, str], tmp_path: Path, ahead_s: int, state: str
) -> None:
    """The registry's answers have dates, also the answer that it has no schema."""
    with receiving(tmp_path, tls=False) as registry:
        registry.answer = answer_404(ahead_s)
        findings = found(site, schemas__registry__url=registry.url)
    assert State.OK is one(findings, "registry", "schemas.registry").state
    assert state == one(findings, "clock", "schemas.registry").state


def test_a_message_from_the_future_says_that_a_clock_is_wrong() -> None:
    """It may be the clock of this machine, the broker or the producer."""
    ahead = SampledMessage("alerts", int(1000 * (time.time() + 100)), "broker", None)
    assert State.FAILED is clock.against_message(ahead).state
    assert State.OK is clock.against_message(SampledMessage("alerts", 1, "broker", None)).state


def test_an_engine_that_is_not_whole_is_told(site: dict[str, str], tmp_path: Path) -> None:
    """An empty cache and a damaged file; nothing is fetched."""
    findings = found(site, engine__home=str(tmp_path))
    assert "no file" in one(findings, "engine").found
    assert not list(tmp_path.iterdir())
    file = tmp_path / "engines" / "maximask-1.4.1" / "maximask.onnx"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"damaged")
    finding = one(found(site, engine__home=str(tmp_path)), "engine")
    assert (State.FAILED, True) == (finding.state, "is damaged" in finding.found)
    assert "streamfilter engines fetch maximask" in finding.mend


def test_exposures_are_looked_at_where_they_are_watched(
    site: dict[str, str], broker: Broker
) -> None:
    """Their group, topics and one message are checked; without exposures, nothing is reported."""
    topic = broker.topic(stem="exposures", max_message_bytes="4000000")
    broker.produce(topic, [encode_exposure(make_announced(), b"SIMPLE  =")])
    findings = found(
        site,
        exposures__topics=f'["{topic}"]',
        outputs__tracking=broker.topic(stem="tracking"),
        traces__endpoint=f"http://{NOBODY}/v1/traces",
    )
    assert State.OK is one(findings, "message", topic).state
    assert State.OK is one(findings, "group", "exposures.group").state
    assert State.OK is one(findings, "topics", "outputs.tracking").state
    assert "4,000,000" in one(findings, "size", "outputs.rejected").expected
    assert {"maximask", "maxitrack"} == {
        f.subject.split()[0] for f in findings if f.check == "engine"
    }
    assert State.WARNING is one(findings, "traces").state
    said = [each for each in findings if each.state is not State.NOT_APPLICABLE]
    assert "contaminants" not in str(said)


def test_further_engines_are_run_too(site: dict[str, str]) -> None:
    """A worker would not start without them."""
    findings = found(site, engine__also='[{name="stampmask"}]')
    assert {"maximask", "stampmask"} == {
        f.subject.split()[0] for f in findings if f.check == "engine"
    }
    assert set() == failures(findings)
    findings = found(site, engine__also='[{name="stampmask", runtime="none"}]')
    assert {"configuration", "engine"} == failures(findings)


def test_a_runtime_that_is_not_here_is_told(site: dict[str, str]) -> None:
    """A worker would not start with it."""
    findings = found(site, engine__runtime="none")
    assert {"configuration", "engine"} == failures(findings)


def test_beside_a_worker_its_port_is_no_failure(site: dict[str, str]) -> None:
    """A port in use by another program is a failure."""
    listening = config.load(overrides=["metrics.port=0"]).metrics
    endpoint = Endpoint(listening, CollectorRegistry(), healthy=lambda: None, ready=lambda: None)
    port = endpoint.url.rpartition(":")[2]
    beside = one(found(site, metrics__port=port, kafka__bootstrap=NOBODY), "metrics")
    endpoint.close()
    assert (State.OK, True) == (beside.state, "a worker answers" in beside.found)
    kafka = site["kafka.bootstrap"].rpartition(":")[2]
    assert State.FAILED is one(found(site, metrics__port=kafka), "metrics").state


def test_places_of_frames_are_looked_at(site: dict[str, str], tmp_path: Path) -> None:
    """A folder that is not mounted, a host that has no address that may be called."""
    findings = found(
        site,
        exposures__topics='["exposures"]',
        exposures__reference_folders=f'["{tmp_path}", "{tmp_path}/no"]',
        exposures__reference_hosts='["localhost", "*.example.org"]',
        webhook__url="https://127.0.0.1/x",
        webhook__secret="long-enough-for-a-test",
    )
    folders = {f.subject.rpartition(" ")[2]: f.state for f in findings if "folders" in f.subject}
    assert {str(tmp_path): "ok", f"{tmp_path}/no": "failed"} == folders
    for check, subject in (("references", "localhost"), ("webhook", "webhook.url")):
        refused = one(findings, check, subject)
        assert (State.FAILED, True) == (refused.state, "internal_networks" in refused.mend)


@pytest.mark.parametrize(("changes", "code"), [({}, 0), ({"outputs.rejected": "no-such"}, 1)])
def test_the_exit_code_says_whether_something_failed(
    site: dict[str, str], changes: dict[str, str], code: int
) -> None:
    """``--json`` gives programs the same findings."""
    changed = site | changes
    options = [f"--set={key}={value}" for key, value in changed.items()]
    done = CliRunner().invoke(root, ["doctor", "--json", *options])
    report = json.loads(done.stdout)
    assert (code, code == 1) == (done.exit_code, report["state"] == "failed")
    assert {"check", "subject", "state", "found", "expected", "mend", "took_s"} == set(
        report["checks"][0]
    )
    said = CliRunner().invoke(root, ["doctor", *options]).stdout
    assert (code == 1) == ("mend: streamfilter topics create --set" in said)


def pasted(findings: list[Finding]) -> list[str]:
    """Runs the commands among the mends; what they printed."""
    commands = dict.fromkeys(f.mend for f in findings if f.mend.startswith("streamfilter "))
    said = []
    for command in commands:
        done = CliRunner().invoke(root, shlex.split(command)[1:])
        assert (0, None) == (done.exit_code, done.exception), command
        said.append(done.stdout)
    return said


def test_the_mends_for_topics_can_be_pasted(
    site: dict[str, str], broker: Broker, tmp_path: Path
) -> None:
    """Two commands later nothing fails: what was missing is there, what was small takes all."""
    small = broker.topic(stem="small", max_message_bytes="20000")
    fresh = f"made-{uuid.uuid4().hex[:12]}"
    changed = site | {"outputs.enriched": small, "outputs.rejected": f"{fresh}-rejected"}
    file = tmp_path / "my site.toml"  # a space, as names have them
    lines = [f"{key} = {v if v.startswith('[') else json.dumps(v)}" for key, v in changed.items()]
    numbers = ("engine.workers", "metrics.port")
    file.write_text("\n".join(
        line.replace('"', "") if line.startswith(numbers) else line for line in lines
    ))  # fmt: skip
    given = shlex.join(["--config", str(file)])
    before = list(examine(config.load(file), given))
    assert {"topics", "size"} <= failures(before)
    pasted(before)
    assert set() == failures(list(examine(config.load(file), given)))


def test_a_mend_is_printed_without_the_secrets_of_the_command_line() -> None:
    """What was given is given again, but for a password."""
    given = ("kafka.bootstrap=a:1", 'kafka.settings."sasl.password"=hunter2')
    said = options.given(Path("site.toml"), given)
    assert "--config site.toml --set kafka.bootstrap=a:1" in said
    assert "hunter2" not in said
