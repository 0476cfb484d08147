"""The demo's alerts on the live page, over the embedded broker."""

import os
import re
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="no starlette: install the extra console")
pytest.importorskip("uvicorn", reason="no uvicorn: install the extra console")

from live_site import until

from streamfilter.cli.demo_page import live_page, reader_is_here, stay
from streamfilter.console.assembly import topics_shown
from streamfilter.demo.alerts import run
from streamfilter.demo.site import open_broker, page_settings


def text_of(url: str) -> str:
    """A page of the console."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read().decode(errors="replace"))


def test_the_demo_is_shown_with_stamps(tmp_path: Path, engine_home: Path) -> None:
    """Also once its worker has ended: the broker keeps what the page reads."""
    with open_broker() as broker:
        shown = page_settings(broker.bootstrap, engine_home)
        with live_page(shown, wanted=True, say=print) as url:
            tally, _ = run(
                broker.bootstrap, count=20, rate_per_s=20, seed=3, out=tmp_path, home=engine_home,
                say=print, progress=lambda tally: None,
            )  # fmt: skip
            cards = until(lambda: re.findall(r'src="/(card/\S+\.png)"', text_of(url)))
            assert text_of(f"{url}{cards[0]}").startswith("\ufffdPNG")
            assert "clean" in text_of(f"{url}rates")
    assert [] == tally.errors()


def test_the_page_shows_both_halves_of_the_demo() -> None:
    """Exposures come over the same broker as alerts."""
    kinds = topics_shown(page_settings("127.0.0.1:1", None))
    assert {"annotations", "rejected", "labels", "exposures"} == set(kinds.values())


def test_a_page_can_be_left_out() -> None:
    """Nothing listens then."""
    said: list[str] = []
    with live_page(page_settings("127.0.0.1:1", None), wanted=False, say=said.append) as url:
        assert ("", []) == (url, said)


@pytest.mark.parametrize(("ci", "terminal", "here"), [
    ("", True, True), ("1", True, False), ("", False, False),
])  # fmt: skip
def test_only_a_reader_at_a_terminal_is_waited_for(
    ci: str, terminal: bool, here: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that runs the demo goes on by itself."""
    monkeypatch.setenv("CI", ci)
    parent, child = os.openpty()
    name = Path(os.ttyname(child) if terminal else os.devnull)
    with name.open() as typed, name.open("w") as printed:
        monkeypatch.setattr("sys.stdin", typed)
        monkeypatch.setattr("sys.stdout", printed)
        assert here == reader_is_here()
        os.write(parent, b"\n")
        stay("http://127.0.0.1:1/")  # returns: Enter was pressed, or nobody is waited for
    os.close(parent)
    os.close(child)
