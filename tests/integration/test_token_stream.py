"""A worker that logs in with tokens of an identity provider on the loopback."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from filter_site import SETTLE_S, Site, answered, packets
from kafka_desk import Broker
from kafka_node import KafkaNode, KafkaUnavailable

from streamfilter.errors import TransportFailed
from streamfilter.kafka.inspection import Inspector

LIFE_S = 20.0  # librdkafka asks for the next token at four fifths of it, and again 10 s later
pytestmark = pytest.mark.kafka
KEY = b"ztf/2695378462115010012.avro"
_MORE = r"""
listeners=PLAINTEXT://127.0.0.1:${port},OAUTH://127.0.0.1:${third_port},CONTROLLER://127.0.0.1:${controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:${port},OAUTH://127.0.0.1:${third_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,OAUTH:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=OAUTHBEARER
listener.name.oauth.oauthbearer.sasl.jaas.config=\
    org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
    unsecuredLoginStringClaim_sub="broker";
"""


class Provider:
    """Gives unsecured tokens, or refuses; ``asked`` has when and what was answered."""

    def __init__(self) -> None:
        self.refuses = False
        self.asked: list[tuple[float, int]] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                status = 401 if provider.refuses else 200
                provider.asked.append((time.monotonic(), status))
                body = json.dumps(
                    {"error": "not now"} if provider.refuses else {"access_token": _token()}
                ).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def client(self) -> dict[str, str]:
        """librdkafka's settings, without the address."""
        return {
            "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "OAUTHBEARER",
            "sasl.oauthbearer.method": "oidc", "sasl.oauthbearer.client.id": "me",
            "sasl.oauthbearer.client.secret": "made-up",
            "sasl.oauthbearer.token.endpoint.url":
                f"http://127.0.0.1:{self._server.server_port}/token",
        }  # fmt: skip

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _token() -> str:
    now = time.time()
    claims = {"sub": "filter", "iat": now - 1, "exp": now + LIFE_S, "scope": "x"}
    coded = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in ({"alg": "none"}, claims)
    )
    return ".".join((*coded, ""))


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.close()


@pytest.fixture
def site(tmp_path: Path, engine_home: Path) -> Iterator[Site]:
    try:
        node = KafkaNode(tmp_path, more=_MORE)
        node.start()
    except KafkaUnavailable as why:
        pytest.skip(f"no Kafka: {why}")
    broker = Broker(node.bootstrap, node)
    topics = {name: broker.topic(stem=name) for name in ("annotations", "rejected")}
    with Site(broker, tmp_path, engine_home, broker.topic(stem="alerts"), topics) as made:
        yield made
    node.remove()


def logging_in(site: Site, provider: Provider) -> dict[str, str]:
    assert site.broker.node is not None
    properties = ", ".join(f'"{key}" = "{value}"' for key, value in provider.client().items())
    return {
        "kafka__bootstrap": f"127.0.0.1:{site.broker.node.third_port}",
        "kafka__settings": f"{{{properties}}}",
    }


def test_a_provider_that_refuses_one_renewal_stops_no_worker(
    site: Site, provider: Provider, samples: Path
) -> None:
    """Alerts that come meanwhile and afterwards are answered; a warning is logged."""
    worker = site.start(**logging_in(site, provider))
    provider.refuses = True
    end = time.monotonic() + SETTLE_S
    while 401 not in {status for _, status in provider.asked}:
        assert time.monotonic() < end, provider.asked
        time.sleep(0.2)
    provider.refuses, good = False, len(provider.asked)
    while len(provider.asked) == good:
        assert worker.process.poll() is None, worker.log.read_text()
        assert time.monotonic() < end, provider.asked
        time.sleep(0.2)
    site.broker.produce(site.alerts, [packets(samples)[KEY]], keys=[KEY])
    site.wait({KEY}, answered)
    assert {"warning"} == {e["level"] for e in worker.events() if e.get("event") == "no token"}
    assert 0 == worker.stop()


def test_a_refusal_at_the_start_ends_the_worker_with_words_that_fit(
    site: Site, provider: Provider
) -> None:
    """There is no password to check; the doctor says the same."""
    provider.refuses = True
    worker = site.launch(**logging_in(site, provider))
    assert 1 == worker.process.wait(SETTLE_S)
    said = worker.log.read_text()
    assert "check sasl.oauthbearer.token.endpoint.url" in said
    assert "sasl.password" not in said
    address = {"bootstrap.servers": logging_in(site, provider)["kafka__bootstrap"]}
    inspector = Inspector(address | provider.client(), timeout_s=6.0)
    with pytest.raises(TransportFailed, match="identity provider"):
        inspector.cluster()


def test_the_doctor_names_a_provider_that_does_not_answer(site: Site, provider: Provider) -> None:
    """No broker was asked, so the address of the brokers is not to blame first."""
    client = logging_in(site, provider)["kafka__bootstrap"], provider.client()
    provider.close()
    inspector = Inspector({"bootstrap.servers": client[0], **client[1]}, timeout_s=3.0)
    with pytest.raises(TransportFailed, match="identity provider"):
        inspector.cluster()
