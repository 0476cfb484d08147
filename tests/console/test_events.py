"""What an open page is sent."""

import http.client
import json
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from card_factories import card

pytest.importorskip("starlette", reason="no starlette: install the extra console")
pytest.importorskip("uvicorn", reason="no uvicorn: install the extra console")

from live_site import running

from streamfilter.config import Settings
from streamfilter.console.assembly import Console
from streamfilter.console.cards import Card, Facts


@pytest.fixture
def console() -> Iterator[Console]:
    """With a broker that is not there."""
    made = Console(
        Settings.model_validate({"kafka": {"bootstrap": "127.0.0.1:1"}, "console": {"port": 0}}),
        say=print,
    )
    with running(made):
        yield made


def event_of(answer: http.client.HTTPResponse, name: str) -> dict[str, Any]:
    """The data of the next event of a name."""
    while line := answer.readline().decode():
        if line == f"event: {name}\n":
            while not (line := answer.readline().decode()).startswith("data: "):
                pass
            found: dict[str, Any] = json.loads(line.removeprefix("data: "))
            return found
    raise AssertionError(f"no event {name}")


def follow(console: Console, kind: str) -> http.client.HTTPResponse:
    answer: http.client.HTTPResponse = urllib.request.urlopen(
        f"{console.url}events?kind={kind}", timeout=20
    )
    return answer


def before(console: Console, made: Card) -> http.client.HTTPResponse:
    """The card is there when somebody comes."""
    console.ring.add(made)
    return follow(console, "live")


def after(console: Console, made: Card) -> http.client.HTTPResponse:
    """It comes later."""
    answer = follow(console, "live")
    event_of(answer, "state")
    console.ring.add(made)
    event_of(answer, "cards")
    return answer


@pytest.mark.parametrize("come", [before, after])
def test_a_card_is_told_its_score_once_its_packet_was_read(
    console: Console, come: Callable[[Console, Card], http.client.HTTPResponse]
) -> None:
    """Score, detector and filter stand in the alert itself, which may be read later."""
    made = card(7)
    with come(console, made) as answer:
        event_of(answer, "state")
        console.ring.learn(made.place, Facts(score=0.93, score_name="drb", detector="5"))
        told = event_of(answer, "numbers")
    (numbers,) = told.values()
    assert "drb 0.93" in numbers


@pytest.mark.parametrize("kind", ["page", "review", "card"])
def test_a_page_that_shows_no_new_cards_follows_the_connection(console: Console, kind: str) -> None:
    """It says so as soon as it is lost."""
    with follow(console, kind) as answer:
        state = event_of(answer, "state")
    assert not state["connected"]
