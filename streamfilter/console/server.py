"""Listens and answers until it is stopped; uvicorn is imported here alone."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from streamfilter.config import Console, address_of
from streamfilter.console.guard import Application
from streamfilter.errors import ConfigurationInvalid
from streamfilter.service.http import certificate

# Connections at a time; each open page holds one, and asks for pictures over some more.
_MOST_CONNECTIONS = 256
# Pages that follow hold their connection: at a stop they are not waited for longer.
_STOP_S = 2


class _Unsignalled(uvicorn.Server):
    """A server that leaves signals to the command: its own way ends the process at once."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield


class Server:
    """The HTTP server.

    Raises
    ------
    ConfigurationInvalid
        The address cannot be listened on, or the certificate cannot be used.
    """

    def __init__(self, application: Application, listening: Console) -> None:
        settings = uvicorn.Config(
            application,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_keep_alive=10,
            timeout_graceful_shutdown=_STOP_S,
        )
        settings.load()
        settings.ssl = certificate(listening, "console")
        self._server = _Unsignalled(settings)
        family = socket.AF_INET6 if ":" in listening.host else socket.AF_INET
        try:
            self._socket = socket.create_server(
                (listening.host, listening.port), family=family, backlog=128
            )
        except OSError as error:
            raise ConfigurationInvalid(
                f"console.host/port: cannot listen on {listening.address}: {error.strerror}; "
                "choose another port (0: any free one)"
            ) from error
        scheme = "http" if settings.ssl is None else "https"
        host, port = self._socket.getsockname()[:2]
        self.url = f"{scheme}://{address_of(host, port)}/"
        """Address of the first page."""

    @property
    def started(self) -> bool:
        """Whether it answers."""
        return self._server.started

    def run(self) -> None:
        """Answer until ``stop`` is called."""
        self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """End ``run``; from any thread."""
        self._server.should_exit = True
