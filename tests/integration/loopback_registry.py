"""A schema registry on loopback that can hang, fail, talk nonsense, deny, go and come back."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Registry(ThreadingHTTPServer):
    """Answers questions for ids, as its ``mode`` says: well, failing, nonsense, hanging, gone.

    ``guids`` gives to the GUIDs that it also knows their ids.
    """

    daemon_threads = True

    def __init__(self, schemas: Mapping[int, dict[str, Any]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.schemas = dict(schemas)
        self.guids: dict[str, int] = {}
        self.mode = "well"
        self.asked: list[str] = []
        self.closing = threading.Event()

    def verify_request(self, request: object, client_address: object) -> bool:
        """Whether there is anybody to answer."""
        return self.mode != "gone"

    def settings(self) -> dict[str, str]:
        """Of a worker that asks this registry alone."""
        return {
            "schemas__registry__url": f"http://127.0.0.1:{self.server_port}",
            "schemas__registry__settings": '{timeout = 1, "max.retries" = 0}',
            "schemas__packages": "false",
        }


class _Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        if self.server.mode == "hanging":
            self.server.closing.wait(30)
            return
        name = path.rpartition("/")[2]
        by_guid = path.startswith("/schemas/guids/")
        schema_id = self.server.guids.get(name, -1) if by_guid else int(name)
        schema = self.server.schemas.get(schema_id)
        if self.server.mode == "failing":
            self._answer(503, {"error_code": 50301, "message": "later"})
        elif self.server.mode == "nonsense":
            self._answer(200, ["as a proxy", "in the way", "may answer"])
        elif schema is None:
            self._answer(404, {"error_code": 40403, "message": "Schema not found"})
        else:
            self._answer(200, {"schema": json.dumps(schema)})

    def _answer(self, status: int, answer: object) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(schemas: Mapping[int, dict[str, Any]]) -> Iterator[Registry]:
    """A registry with these schemas, until the end of the block."""
    with Registry(schemas) as registry:
        thread = threading.Thread(target=registry.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield registry
        finally:
            registry.closing.set()
            registry.shutdown()
            thread.join()
