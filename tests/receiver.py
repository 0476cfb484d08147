"""A receiver of calls over HTTPS on this machine, with a certificate of its own."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue

import trustme


@dataclass
class Call:
    """One received request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Keeps the requests; ``answer`` writes the answer, by default an empty 200."""

    port: int = 0
    ca_file: Path = Path()
    scheme: str = "https"
    calls: "Queue[Call]" = field(default_factory=Queue)
    statuses: list[int] = field(default_factory=list)
    """Answered first, in this order."""
    answer: "Callable[[BaseHTTPRequestHandler], None] | None" = None
    released: threading.Event = field(default_factory=threading.Event)
    """Set at the end, so that an ``answer`` may wait for it."""

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"


@contextmanager
def receiving(folder: Path, *, tls: bool = True) -> Iterator[Receiver]:
    """A running receiver; its authority's certificate lies in the folder."""
    receiver = Receiver(ca_file=folder / "ca.pem", scheme="https" if tls else "http")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self._take()

        def do_GET(self) -> None:
            self._take()

        def _take(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            receiver.calls.put(Call(self.command, self.path, dict(self.headers.items()), body))
            if receiver.answer is not None:
                return receiver.answer(self)
            self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
            self.send_header("Content-Length", "0")
            return self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Requests are kept, not printed."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Ignore clients that hang up: some tests do this on purpose."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(receiver.ca_file)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield receiver
    receiver.released.set()
    server.shutdown()
    server.server_close()
    thread.join()
