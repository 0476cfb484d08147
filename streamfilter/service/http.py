"""What a worker says over HTTP: ``/metrics``, ``/healthz`` and ``/readyz``."""

import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from streamfilter.errors import ConfigurationInvalid

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

Check = Callable[[], str | None]
"""None while all is well, else what is wrong in a few words."""


class _Server(ThreadingMixIn, WSGIServer):
    """One slow reader does not hold up the health check."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    timeout = 10  # seconds; a client that sends nothing does not keep its thread

    def log_message(self, format: str, *args: object) -> None:
        """Probes every few seconds are no events."""


def application(registry: CollectorRegistry, *, healthy: Check, ready: Check) -> "WSGIApplication":
    """The WSGI application of a worker; a failing check answers 503 and says why."""
    metrics: WSGIApplication = make_wsgi_app(registry)

    def answer(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        checks = {"/healthz": healthy, "/readyz": ready}
        path = environ.get("PATH_INFO", "")
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
        The address cannot be listened on.
    """

    def __init__(
        self, host: str, port: int, registry: CollectorRegistry, *, healthy: Check, ready: Check
    ) -> None:
        app = application(registry, healthy=healthy, ready=ready)
        try:
            self._server = make_server(host, port, app, server_class=_Server, handler_class=_Quiet)
        except OSError as error:
            raise ConfigurationInvalid(
                f"metrics.host/port: cannot listen on {host}:{port}: {error.strerror}; "
                "choose another port (0: any free one)"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Root of the endpoint, such as ``http://127.0.0.1:9464``."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
