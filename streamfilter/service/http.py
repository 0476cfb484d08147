"""The HTTP endpoint of a worker: ``/metrics``, ``/healthz`` and ``/readyz``."""

import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol, cast
from wsgiref.simple_server import WSGIRequestHandler, make_server

import structlog
from prometheus_client import CollectorRegistry, Metric, make_wsgi_app

from streamfilter.config import Listening, address_of
from streamfilter.errors import ConfigurationInvalid, plain_words
from streamfilter.metrics.exposition import WithoutCreated
from streamfilter.metrics.process import HttpMetrics
from streamfilter.redaction import clean
from streamfilter.service.connections import (
    TOTAL_S,
    BoundedServer,
    BoundedServerOfIPv6,
    Connections,
)
from streamfilter.service.logins import Logins

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

Check = Callable[[], str | None]
"""Returns None while all is well, else what is wrong in a few words."""

log = structlog.get_logger(__name__)

# How long closing takes at most.
_CLOSING_S = 0.1


class _Quiet(WSGIRequestHandler):
    timeout = TOTAL_S  # of each read; ``Connections`` bounds all of them together

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: probes every few seconds are ordinary."""


class _Collects(Protocol):
    def collect(self) -> Iterable[Metric]: ...


class _Cleaned:
    """A registry whose labels hold no secret: names of topics may come from anywhere."""

    def __init__(self, registry: _Collects) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """Collect every metric, as the page shows it."""
        for metric in self._registry.collect():
            if any(_unclean(sample.labels) for sample in metric.samples):
                shown = Metric(metric.name, metric.documentation, metric.type, metric.unit)
                shown.samples = [
                    sample._replace(labels={k: clean(v) for k, v in sample.labels.items()})
                    for sample in metric.samples
                ]
                yield shown
            else:
                yield metric

    def restricted_registry(self, names: Iterable[str]) -> "_Cleaned":
        """Returns the part of the registry that a query asks for."""
        restrict = cast("CollectorRegistry", self._registry).restricted_registry
        return _Cleaned(cast("_Collects", restrict(names)))


def _unclean(labels: Mapping[str, str]) -> bool:
    return any(clean(value) != value for value in labels.values())


def application(
    registry: CollectorRegistry, *, healthy: Check, ready: Check, logins: Logins | None = None
) -> "WSGIApplication":
    """The WSGI application of a worker; a failing check answers 503 and says why.

    With logins, all but the two checks ask for basic authentication: orchestrators have none.
    """
    page = cast("CollectorRegistry", _Cleaned(WithoutCreated(registry)))
    shown: WSGIApplication = make_wsgi_app(page)
    rendering = threading.Lock()

    def answer(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        checks = {"/healthz": healthy, "/readyz": ready}
        path = environ.get("PATH_INFO", "")
        plain = [("Content-Type", "text/plain; charset=utf-8")]
        if path not in checks and logins is not None:
            given = environ.get("HTTP_AUTHORIZATION", "")
            refusal = logins.refusal(given, environ.get("REMOTE_ADDR", ""))
            if refusal is not None:
                start(refusal.status, [*plain, *refusal.headers.items()])
                return [b"metrics.user and metrics.password are needed\n"]
        if path == "/metrics":
            with rendering:  # one at a time: it takes CPU time from the stream and the probes
                return shown(environ, start)
        if path not in checks:
            status, text = "404 Not Found", "try /metrics, /healthz or /readyz"
        else:
            wrong = checks[path]()
            status, text = ("503 Service Unavailable", clean(wrong)) if wrong else ("200 OK", "ok")
        start(status, plain)
        return [f"{text}\n".encode()]

    return answer


class Endpoint:
    """The HTTP server of a worker, on a thread of its own.

    Parameters
    ----------
    metrics
        Counts wrong passwords, and connections that were closed.

    Raises
    ------
    ConfigurationInvalid
        The address cannot be listened on, or the certificate cannot be used.
    """

    def __init__(
        self,
        listening: Listening,
        registry: CollectorRegistry,
        *,
        healthy: Check,
        ready: Check,
        metrics: HttpMetrics | None = None,
    ) -> None:
        metrics = metrics or HttpMetrics(CollectorRegistry())
        user, password = listening.user, listening.password
        self._logins = Logins(user, password, metrics.logins_refused.inc)
        app = application(registry, healthy=healthy, ready=ready, logins=self._logins)
        context = certificate(listening)
        host, port = listening.host, listening.port
        server = BoundedServerOfIPv6 if ":" in host else BoundedServer
        try:
            self._server = make_server(host, port, app, server_class=server, handler_class=_Quiet)
        except OSError as error:
            raise ConfigurationInvalid(
                f"metrics.host/port: cannot listen on {listening.address}: {error.strerror}; "
                "choose another port (0: any free one)"
            ) from error
        self._server.connections = Connections(
            lambda why: metrics.connections_closed.labels(why).inc()
        )
        self._scheme = "http" if context is None else "https"
        if context is not None:
            # The handshake waits for the client: on its thread, not where clients are accepted.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_CLOSING_S,), name="http", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Root of the endpoint, such as ``http://127.0.0.1:9464``."""
        host, port = self._server.server_address[:2]
        return f"{self._scheme}://{address_of(str(host), port)}"

    def close(self) -> None:
        """Stop listening."""
        self._logins.close()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def certificate(listening: Listening, section: str = "metrics") -> ssl.SSLContext | None:
    """Returns the TLS context, with Python's defaults; None without a certificate.

    Parameters
    ----------
    section
        Of the settings, for the message.

    Raises
    ------
    ConfigurationInvalid
        Certificate or key cannot be used.
    """
    if listening.certificate_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(listening.certificate_file, listening.key_file, password=_no_word)
    except (OSError, ValueError) as error:
        raise ConfigurationInvalid(
            f"{section}.certificate_file/key_file: {listening.certificate_file}, "
            f"{listening.key_file}: {plain_words(error)}; "
            "expected PEM, the key without a passphrase"
        ) from error
    return context


def _no_word() -> str:
    """Refuses a key with a passphrase, for which OpenSSL would ask on the terminal."""
    raise ValueError("the key has a passphrase")
