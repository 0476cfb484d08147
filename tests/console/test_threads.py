"""A page whose threads have ended ends too: it would stand still and not say so."""

import threading

import pytest

pytest.importorskip("starlette", reason="no starlette: install the extra console")
pytest.importorskip("uvicorn", reason="no uvicorn: install the extra console")

from live_site import until

from streamfilter.config import Settings
from streamfilter.console.assembly import Console


def test_what_ends_a_thread_ends_the_page_and_is_raised() -> None:
    """Its supervisor starts it again."""
    settings = Settings.model_validate(
        {"kafka": {"bootstrap": "127.0.0.1:1"}, "console": {"port": 0}}
    )
    console = Console(settings, say=print)
    failures: list[Exception] = []

    def run() -> None:
        try:
            console.run()
        except ZeroDivisionError as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: console.server.started, "the page starts")
    console.failed(ZeroDivisionError())
    thread.join(30)
    assert 1 == len(failures)
