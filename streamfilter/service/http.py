"""What a worker says over HTTP: ``/metrics``, ``/healthz`` and ``/readyz``."""

import base64
import hmac
import ssl
import sys
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app

from streamfilter.config import Metrics as Listening
from streamfilter.errors import ConfigurationInvalid, told

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

Check = Callable[[], str | None]
"""None while all is well, else what is wrong in a few words."""

log = structlog.get_logger(__name__)

# A Prometheus, an orchestrator and some people; each takes a thread.
_MOST_CLIENTS = 64
# How long closing takes at most.
_CLOSING_S = 0.1


class _Server(ThreadingMixIn, WSGIServer):
    """One slow reader does not hold up the health check, nor do very many."""

    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        self._room = threading.BoundedSemaphore(_MOST_CLIENTS)
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve on a thread of its own, where there is room."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve, and make room."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that breaks off, or speaks no TLS, is no event."""
        log.debug("http client failed", detail=repr(sys.exception()))


class _Quiet(WSGIRequestHandler):
    timeout = 10  # seconds; a client that sends nothing does not keep its thread

    def log_message(self, format: str, *args: object) -> None:
        """Probes every few seconds are no events."""


def application(
    registry: CollectorRegistry, *, healthy: Check, ready: Check, user: str = "", password: str = ""
) -> "WSGIApplication":
    """The WSGI application of a worker; a failing check answers 503 and says why.

    With a user, all but the two checks ask for basic authentication: orchestrators have none.
    """
    metrics: WSGIApplication = make_wsgi_app(registry)
    expected = b"Basic " + base64.b64encode(f"{user}:{password}".encode())

    def answer(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        checks = {"/healthz": healthy, "/readyz": ready}
        path = environ.get("PATH_INFO", "")
        given = environ.get("HTTP_AUTHORIZATION", "").encode("latin-1", "replace")
        if path not in checks and user and not hmac.compare_digest(expected, given):
            challenge = [("WWW-Authenticate", 'Basic realm="streamfilter", charset="UTF-8"')]
            start("401 Unauthorized", [("Content-Type", "text/plain; charset=utf-8"), *challenge])
            return [b"metrics.user and metrics.password are needed\n"]
        if path == "/metrics":
            return metrics(environ, start)
        if path not in checks:
            status, text = "404 Not Found", "try /metrics, /healthz or /readyz"
        else:
            wrong = checks[path]()
            status, text = ("503 Service Unavailable", wrong) if wrong else ("200 OK", "ok")
        start(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{text}\n".encode()]

    return answer


class Endpoint:
    """The HTTP server of a worker, on a thread of its own.

    Raises
    ------
    ConfigurationInvalid
        The address cannot be listened on, or the certificate cannot be used.
    """

    def __init__(
        self, listening: Listening, registry: CollectorRegistry, *, healthy: Check, ready: Check
    ) -> None:
        app = application(
            registry,
            healthy=healthy,
            ready=ready,
            user=listening.user,
            password=listening.password,
        )
        context = certificate(listening)
        host, port = listening.host, listening.port
        try:
            self._server = make_server(host, port, app, server_class=_Server, handler_class=_Quiet)
        except OSError as error:
            raise ConfigurationInvalid(
                f"metrics.host/port: cannot listen on {host}:{port}: {error.strerror}; "
                "choose another port (0: any free one)"
            ) from error
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
        return f"{self._scheme}://{host!s}:{port}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def certificate(listening: Listening) -> ssl.SSLContext | None:
    """TLS as Python's defaults have it; None without a certificate.

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
            f"metrics.certificate_file/key_file: {listening.certificate_file}, "
            f"{listening.key_file}: {told(error)}; expected PEM, the key without a passphrase"
        ) from error
    return context


def _no_word() -> str:
    """A key with a passphrase would be asked for on the terminal."""
    raise ValueError("the key has a passphrase")
