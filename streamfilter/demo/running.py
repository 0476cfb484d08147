"""Runs a worker in a thread beside the demo, which sends to it and reads from it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from streamfilter.errors import StreamfilterError
from streamfilter.service.member import Member


@contextmanager
def running(worker: Member, name: str) -> Iterator[list[StreamfilterError]]:
    """Run a worker for as long as the block; yields a list that gets the error that ends it."""
    failures: list[StreamfilterError] = []

    def work() -> None:
        try:
            worker.run()
        except StreamfilterError as error:
            failures.append(error)

    thread = threading.Thread(target=work, name=name)
    thread.start()
    try:
        yield failures
    finally:
        worker.stop()
        thread.join()
